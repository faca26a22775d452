// What workers count for each route on each backend: the pair that a request took. A sum over one
// label gives the other's figures; requests that no route took are in the sums of metrics.h only.
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macros.h"
#include "base/slice.h"
#include "base/strbuf.h"
#include "observe/series.h"

// X(enum, metric, help): counters. docs/metrics.md is written from it.
#define TRAFFIC_TABLE(X)                                                                          \
    X(RETRIES, "headrace_backend_retries_total",                                                  \
      "Further attempts on a backend, after one there had failed")                                \
    X(HEDGES, "headrace_backend_hedges_total",                                                    \
      "Requests that were sent to a second endpoint while the first had not answered")            \
    X(HEDGES_WON, "headrace_backend_hedges_won_total",                                            \
      "Those of them that the second endpoint answered")                                          \
    X(FALLBACKS, "headrace_backend_fallbacks_total",                                              \
      "Requests that ended on the backend as a fallback")                                         \
    X(BYTES_IN, "headrace_backend_request_bytes_total",                                           \
      "Bytes of requests, as they came from clients")                                             \
    X(BYTES_OUT, "headrace_backend_response_bytes_total", "Bytes of answers, as clients got them") \
    X(PROMPT_TOKENS, "headrace_prompt_tokens_total", "Prompt tokens that the servers reported")   \
    X(COMPLETION_TOKENS, "headrace_completion_tokens_total",                                      \
      "Completion tokens that the servers reported")                                              \
    X(CACHED_TOKENS, "headrace_cached_prompt_tokens_total",                                       \
      "Prompt tokens that the servers had cached")

enum traffic_counter {
#define X(name, text, help) TRAFFIC_##name,
    TRAFFIC_TABLE(X)
#undef X
    TRAFFIC_COUNT,
};

// X(enum, metric, help): histograms of seconds.
#define TRAFFIC_LATENCY_TABLE(X)                                                                  \
    X(TTFT, "headrace_time_to_first_token_seconds",                                               \
      "From the request's arrival to its first token (first event or body byte)")                 \
    X(INTER_TOKEN, "headrace_inter_token_seconds", "Between two arrivals of events of a stream")  \
    X(DURATION, "headrace_request_duration_seconds",                                              \
      "From the request's arrival to the end of its answer")

enum traffic_latency {
#define X(name, text, help) TRAFFIC_LATENCY_##name,
    TRAFFIC_LATENCY_TABLE(X)
#undef X
    TRAFFIC_LATENCY_COUNT,
};

enum {
    METRIC_STATUS_CLASSES = 6, // [0] = nothing was sent
    METRIC_FAULTS_MAX = 48,
    METRIC_LATENCY_BUCKETS = 20,
    TRAFFIC_PAIRS_MAX = 2000,
    TRAFFIC_SLOTS = 4096, // a power of two, so that half of them stay empty
};

extern const char *const metric_status_classes[METRIC_STATUS_CLASSES];

// Upper bounds of the latency histograms, in nanoseconds; the last one is +Inf.
extern const uint64_t metric_latency_bounds[METRIC_LATENCY_BUCKETS];

struct metrics_latency {
    _Atomic uint64_t buckets[METRIC_LATENCY_BUCKETS + 1];
    _Atomic uint64_t sum_ns;
};

// One worker's cells of one pair. Made on first use, kept until the end (pairs that come and go
// under new names are few compared with what they cost).
struct traffic {
    struct traffic *next; // published with release; walked with acquire
    char *key;            // route and backend, one behind the other
    struct slice route;   // "namespace/name", in `key`
    struct slice backend; // "namespace/name", in `key`; empty: none could be had
    _Atomic uint64_t requests[METRIC_STATUS_CLASSES];
    _Atomic uint64_t outcomes[METRIC_FAULTS_MAX]; // enum fault of the proxy
    _Atomic uint64_t counters[TRAFFIC_COUNT];
    struct metrics_latency latencies[TRAFFIC_LATENCY_COUNT];
};

struct traffic_worker {
    _Atomic(struct traffic *) pairs;
    // The worker's own way to them, by hash of the key; and the last one asked for, since most
    // requests of a worker go to few.
    size_t count;
    struct traffic *index[TRAFFIC_SLOTS];
    struct traffic *recent;
};

void traffic_worker_fini(struct traffic_worker *worker);

// The worker's cells of a pair; beyond TRAFFIC_PAIRS_MAX those of "other" and "other". NULL when
// out of memory: this time nothing is counted.
struct traffic *traffic_of(struct traffic_worker *worker, struct slice route, struct slice backend);

// Single writer: a load and a store, no locked instruction.
static inline void metrics_cell_add(_Atomic uint64_t *cell, uint64_t n)
{
    atomic_store_explicit(cell, atomic_load_explicit(cell, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static inline void traffic_add(struct traffic *traffic, enum traffic_counter counter, uint64_t n)
{
    metrics_cell_add(&traffic->counters[counter], n);
}

void traffic_record(struct traffic *traffic, enum traffic_latency latency, uint64_t ns);

// The exposition: sums over the workers, which lie `stride` bytes apart.
void traffic_write(const struct traffic_worker *workers, size_t stride, unsigned count,
                   fault_label_fn *fault_label, struct strbuf *out);
