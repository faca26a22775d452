// Prometheus metrics. Every worker counts in cells of its own; they are summed when somebody reads.
//
// One writer a cell: an addition is a plain load and store (relaxed atomics, no locked instruction).
// The names, types and texts in the tables below are all there is: the exposition and the table in
// docs/operations.md (`headrace metrics --docs`) come from them.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"
#include "base/strbuf.h"
#include "endpoint/endpoint.h"
#include "http/reject.h"
#include "snapshot/snapshot.h"

// Per worker. X(name, metric, type, labels, help); rows of one metric stand together, the help text
// of the first counts.
#define METRICS_WORKER_TABLE(X)                                                                   \
    X(CONNECTIONS, "headrace_connections_total", COUNTER, "", "Client connections accepted.")     \
    X(CONNECTIONS_OPEN, "headrace_connections_open", GAUGE, "", "Client connections open now.")   \
    X(ACCEPT_FAILURES, "headrace_accept_failures_total", COUNTER, "",                             \
      "Connections that could not be accepted for want of file descriptors or memory.")           \
    X(BYTES_IN, "headrace_client_received_bytes_total", COUNTER, "",                              \
      "Bytes received from clients.")                                                             \
    X(BYTES_OUT, "headrace_client_sent_bytes_total", COUNTER, "", "Bytes sent to clients.")       \
    X(RESPONSES_2XX, "headrace_responses_total", COUNTER, "code=\"2xx\"",                         \
      "Responses to clients by class of status; other = the client got none.")                    \
    X(RESPONSES_3XX, "headrace_responses_total", COUNTER, "code=\"3xx\"", "")                     \
    X(RESPONSES_4XX, "headrace_responses_total", COUNTER, "code=\"4xx\"", "")                     \
    X(RESPONSES_5XX, "headrace_responses_total", COUNTER, "code=\"5xx\"", "")                     \
    X(RESPONSES_OTHER, "headrace_responses_total", COUNTER, "code=\"other\"", "")                 \
    X(UPSTREAM_CONNECTS, "headrace_upstream_connects_total", COUNTER, "",                         \
      "Connections opened to endpoints.")                                                         \
    X(UPSTREAM_REUSES, "headrace_upstream_reuses_total", COUNTER, "",                             \
      "Requests sent over a connection that was open already.")                                   \
    X(UPSTREAM_BYTES_IN, "headrace_upstream_received_bytes_total", COUNTER, "",                   \
      "Bytes received from endpoints.")                                                           \
    X(RETRY_CONNECT_FAILURE, "headrace_retries_total", COUNTER, "reason=\"connect_failure\"",     \
      "Further attempts after one that failed before the first byte to the client, by what "      \
      "failed.")                                                                                  \
    X(RETRY_RESET, "headrace_retries_total", COUNTER, "reason=\"reset\"", "")                     \
    X(RETRY_OVERLOADED, "headrace_retries_total", COUNTER, "reason=\"overloaded\"", "")           \
    X(RETRY_SERVER_ERROR, "headrace_retries_total", COUNTER, "reason=\"server_error\"", "")       \
    X(RETRY_TIMEOUT, "headrace_retries_total", COUNTER, "reason=\"timeout\"", "")                 \
    X(RETRY_STALE, "headrace_retries_total", COUNTER, "reason=\"stale_connection\"", "")          \
    X(FALLBACKS, "headrace_fallbacks_total", COUNTER, "",                                         \
      "Attempts on a fallback of the rule.")                                                      \
    X(CLIENT_ABORTS, "headrace_client_aborts_total", COUNTER, "",                                 \
      "Requests whose client went away before the answer was complete.")                          \
    X(TIMEOUT_HEADER, "headrace_timeouts_total", COUNTER, "kind=\"header\"",                      \
      "Time limits that were reached, by kind.")                                                  \
    X(TIMEOUT_BODY, "headrace_timeouts_total", COUNTER, "kind=\"body\"", "")                      \
    X(TIMEOUT_CONNECT, "headrace_timeouts_total", COUNTER, "kind=\"connect\"", "")                \
    X(TIMEOUT_FIRST_TOKEN, "headrace_timeouts_total", COUNTER, "kind=\"first_token\"", "")        \
    X(TIMEOUT_BETWEEN_TOKENS, "headrace_timeouts_total", COUNTER, "kind=\"between_tokens\"", "")  \
    X(TIMEOUT_REQUEST, "headrace_timeouts_total", COUNTER, "kind=\"request\"", "")                \
    X(TIMEOUT_CLIENT, "headrace_timeouts_total", COUNTER, "kind=\"client_stalled\"", "")          \
    X(ACCESS_LOG_DROPPED, "headrace_access_log_dropped_total", COUNTER, "",                       \
      "Access log lines that were dropped because their reader was too slow.")

// Of the process; set by the thread that knows. X(name, metric, type, labels, help)
#define METRICS_PROCESS_TABLE(X)                                                                  \
    X(READY, "headrace_ready", GAUGE, "", "1 while the instance says that it is ready.")          \
    X(SNAPSHOT_GENERATION, "headrace_snapshot_generation", GAUGE, "",                             \
      "Number of the configuration that is served; counts up.")                                   \
    X(COMPILES, "headrace_compiles_total", COUNTER, "", "Compilations of the resources.")         \
    X(COMPILE_SECONDS, "headrace_compile_seconds_total", COUNTER, "", "Time spent compiling.")    \
    X(COMPILE_LAST_SECONDS, "headrace_compile_last_seconds", GAUGE, "",                           \
      "Duration of the last compilation.")                                                        \
    X(ENDPOINT_UPDATES, "headrace_endpoint_updates_total", COUNTER, "",                           \
      "Sets of endpoints that were applied (no compilation needed).")                             \
    X(STATUS_UPDATES, "headrace_status_updates_total", COUNTER, "",                               \
      "Changed statuses of resources.")                                                           \
    X(OBJECTS_AIROUTE, "headrace_objects", GAUGE, "kind=\"AIRoute\"",                             \
      "Objects that are known, by kind.")                                                         \
    X(OBJECTS_MODELBACKEND, "headrace_objects", GAUGE, "kind=\"ModelBackend\"", "")               \
    X(OBJECTS_SERVICE, "headrace_objects", GAUGE, "kind=\"Service\"", "")                         \
    X(OBJECTS_ENDPOINTSLICE, "headrace_objects", GAUGE, "kind=\"EndpointSlice\"", "")             \
    X(OBJECTS_POD, "headrace_objects", GAUGE, "kind=\"Pod\"", "")                                 \
    X(OBJECTS_INVALID, "headrace_objects_invalid", GAUGE, "",                                     \
      "AIRoutes and ModelBackends that are left out because they are not valid.")                 \
    X(OBJECTS_REJECTED, "headrace_objects_rejected_total", COUNTER, "",                           \
      "Objects that could not be read at all.")

// Per backend and worker. The outcome of a request is what its client got.
#define METRICS_BACKEND_TABLE(X)                                                                  \
    X(OK, "headrace_backend_requests_total", COUNTER, "outcome=\"ok\"",                           \
      "Requests that were sent to a backend, by outcome.")                                        \
    X(CLIENT_ERROR, "headrace_backend_requests_total", COUNTER, "outcome=\"client_error\"", "")   \
    X(SERVER_ERROR, "headrace_backend_requests_total", COUNTER, "outcome=\"server_error\"", "")   \
    X(OVERLOADED, "headrace_backend_requests_total", COUNTER, "outcome=\"overloaded\"", "")       \
    X(UNREACHABLE, "headrace_backend_requests_total", COUNTER, "outcome=\"unreachable\"", "")     \
    X(BROKEN, "headrace_backend_requests_total", COUNTER, "outcome=\"broken\"", "")               \
    X(TIMEOUT, "headrace_backend_requests_total", COUNTER, "outcome=\"timeout\"", "")             \
    X(CLIENT_ABORT, "headrace_backend_requests_total", COUNTER, "outcome=\"client_abort\"", "")   \
    X(PROMPT_TOKENS, "headrace_backend_prompt_tokens_total", COUNTER, "",                         \
      "Prompt tokens by the usage that the servers reported, cached ones included.")              \
    X(CACHED_TOKENS, "headrace_backend_cached_prompt_tokens_total", COUNTER, "",                  \
      "Prompt tokens that the servers took from their prefix cache.")                             \
    X(COMPLETION_TOKENS, "headrace_backend_completion_tokens_total", COUNTER, "",                 \
      "Completion tokens by the usage that the servers reported.")

// X(name, metric, help)
#define METRICS_HISTOGRAM_TABLE(X)                                                                \
    X(TTFT, "headrace_backend_time_to_first_token_seconds",                                       \
      "From the request's arrival to the first token (streams) sent on to the client.")           \
    X(ITL, "headrace_backend_inter_token_seconds", "Between two events of a stream.")             \
    X(DURATION, "headrace_backend_request_duration_seconds",                                      \
      "From the request's arrival to the end of the answer.")

#define METRICS_ENUM_(name, ...) METRIC_##name,
enum metric { METRICS_WORKER_TABLE(METRICS_ENUM_) METRIC_COUNT };
#undef METRICS_ENUM_
#define METRICS_ENUM_(name, ...) METRIC_PROCESS_##name,
enum metric_process { METRICS_PROCESS_TABLE(METRICS_ENUM_) METRIC_PROCESS_COUNT };
#undef METRICS_ENUM_
#define METRICS_ENUM_(name, ...) METRIC_BACKEND_##name,
enum metric_backend { METRICS_BACKEND_TABLE(METRICS_ENUM_) METRIC_BACKEND_COUNT };
#undef METRICS_ENUM_
#define METRICS_ENUM_(name, ...) METRIC_HISTOGRAM_##name,
enum metric_histogram { METRICS_HISTOGRAM_TABLE(METRICS_ENUM_) METRIC_HISTOGRAM_COUNT };
#undef METRICS_ENUM_

enum {
    METRICS_BUCKETS = 22,        // finite ones of a histogram
    METRICS_BACKEND_SLOTS = 2048, // of the table; half of it at most are used
    METRICS_BACKENDS_MAX = 1024, // further ones share the label "other"
    METRICS_ENDPOINTS_MAX = 2048, // endpoints in one exposition
    METRICS_FAULTS_MAX = 64,
    METRICS_KEY_MAX = 320,
};

typedef _Atomic uint64_t metrics_cell;

// One writer: load and store need not be one step.
static inline void metrics_cell_add(metrics_cell *cell, uint64_t n)
{
    atomic_store_explicit(cell, atomic_load_explicit(cell, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

struct metrics_histogram {
    metrics_cell buckets[METRICS_BUCKETS + 1]; // not cumulative; the last one is +Inf
    metrics_cell sum_ns;
};

// What one worker counts for one backend. Lives until metrics_free.
struct metrics_backend {
    char key[METRICS_KEY_MAX];
    uint64_t hash;
    metrics_cell cells[METRIC_BACKEND_COUNT];
    struct metrics_histogram histograms[METRIC_HISTOGRAM_COUNT];
};

struct metrics_worker {
    CACHE_ALIGNED metrics_cell cells[METRIC_COUNT];
    metrics_cell rejects[HTTP_REJECT_COUNT];
    metrics_cell faults[METRICS_FAULTS_MAX];
    unsigned backend_count;
    struct metrics_backend *other; // shared by those beyond the maximum
    // Open addressing, entries never leave: the worker stores with release, readers acquire.
    CACHE_ALIGNED _Atomic(struct metrics_backend *) backends[METRICS_BACKEND_SLOTS];
};

struct metrics;

// NULL: out of memory. No worker runs any more when it is freed.
struct metrics *metrics_new(unsigned workers);
void metrics_free(struct metrics *metrics);

// Before workers start: the labels of what metrics_fault counts (index 0 is not exposed).
void metrics_set_fault_labels(struct metrics *metrics, const char *(*label)(unsigned index),
                              unsigned count);

// index < workers. The worker's thread is the only one that counts in it.
struct metrics_worker *metrics_worker(struct metrics *metrics, unsigned index);

static inline void metrics_add(struct metrics_worker *worker, enum metric metric, uint64_t n)
{
    metrics_cell_add(&worker->cells[metric], n);
}

// For gauges.
static inline void metrics_sub(struct metrics_worker *worker, enum metric metric, uint64_t n)
{
    metrics_cell_add(&worker->cells[metric], 0 - n);
}

static inline void metrics_reject(struct metrics_worker *worker, enum http_reject reason)
{
    metrics_cell_add(&worker->rejects[reason], 1);
}

// A request that ended with this fault (an index of the labels given above).
static inline void metrics_fault(struct metrics_worker *worker, unsigned fault)
{
    if (fault < METRICS_FAULTS_MAX) {
        metrics_cell_add(&worker->faults[fault], 1);
    }
}

// The status that the client got; 0 = none.
static inline void metrics_response(struct metrics_worker *worker, unsigned status)
{
    unsigned klass = status / 100;
    enum metric metric = klass >= 2 && klass <= 5
                             ? (enum metric)(METRIC_RESPONSES_2XX + (klass - 2))
                             : METRIC_RESPONSES_OTHER;
    metrics_cell_add(&worker->cells[metric], 1);
}

// A further attempt after such a failure (one enum snap_retry_on bit).
void metrics_retry(struct metrics_worker *worker, uint32_t why);

// The worker's cells for a backend; look it up once a request. Never NULL.
struct metrics_backend *metrics_backend(struct metrics_worker *worker,
                                        const struct backend_state *backend);

static inline void metrics_backend_add(struct metrics_backend *backend, enum metric_backend metric,
                                       uint64_t n)
{
    metrics_cell_add(&backend->cells[metric], n);
}

void metrics_backend_observe(struct metrics_backend *backend, enum metric_histogram which,
                             uint64_t ns);

static inline void metrics_backend_ttft(struct metrics_backend *backend, uint64_t ns)
{
    metrics_backend_observe(backend, METRIC_HISTOGRAM_TTFT, ns);
}

static inline void metrics_backend_itl(struct metrics_backend *backend, uint64_t ns)
{
    metrics_backend_observe(backend, METRIC_HISTOGRAM_ITL, ns);
}

static inline void metrics_backend_duration(struct metrics_backend *backend, uint64_t ns)
{
    metrics_backend_observe(backend, METRIC_HISTOGRAM_DURATION, ns);
}

// Any thread.
void metrics_process_set(struct metrics *metrics, enum metric_process metric, double value);

// Sum over the workers. Any thread.
uint64_t metrics_read(const struct metrics *metrics, enum metric metric);

// The whole exposition in the text format 0.0.4. Takes the lock of `endpoints` (may be NULL) for the
// endpoints' gauges. Any thread but a worker.
void metrics_render(const struct metrics *metrics, struct endpoint_table *endpoints,
                    const char *version, struct strbuf *out);

// The Markdown table of docs/operations.md.
void metrics_render_docs(struct strbuf *out);
