// Live endpoint state: what Headrace knows about each pod address, beside the snapshot and across
// every swap of it.
//
// Threads: the table is changed by the control thread and walked by the control, scrape and admin
// threads under its lock. Workers never take the lock: they read a backend's endpoint set through
// its atomic pointer inside an epoch section (event/epoch.h) and pin what they pick with a
// reservation. All numbers that change are atomics.
#pragma once

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/list.h"
#include "base/map.h"
#include "base/slice.h"
#include "event/epoch.h"

enum engine {
    ENGINE_AUTO = 0, // not known yet: detected from the first exposition
    ENGINE_VLLM,
    ENGINE_SGLANG,
    ENGINE_TGI,
    ENGINE_TENSORRT_LLM,
    ENGINE_TRITON_TRTLLM,
    ENGINE_TRITON,
    ENGINE_LLAMACPP,
    ENGINE_LMDEPLOY,
    ENGINE_NIM,
    ENGINE_OLLAMA,
    ENGINE_GENERIC,
    ENGINE_COUNT,
};
const char *engine_name(enum engine engine); // as in the resource: "VLLM"

// The books of one endpoint in one word, so that pick and reserve can be one compare-and-swap:
// outstanding requests in the high 20 bits, outstanding uncached prompt tokens in the low 44.
enum { LOAD_TOKEN_BITS = 44 };
#define LOAD_ONE_REQUEST (UINT64_C(1) << LOAD_TOKEN_BITS)
#define LOAD_TOKEN_MASK (LOAD_ONE_REQUEST - 1)
static inline uint32_t load_requests(uint64_t load)
{
    return (uint32_t)(load >> LOAD_TOKEN_BITS);
}
static inline uint64_t load_tokens(uint64_t load)
{
    return load & LOAD_TOKEN_MASK;
}

// What the last scrape (or ORCA header) said. Written by one thread at a time under `seq`.
struct endpoint_sample {
    double waiting;        // requests queued in the engine
    double running;        // requests in the batch
    double kv_utilisation; // 0..1; negative = the engine does not say
    double kv_capacity_tokens;  // 0 = unknown
    double others_requests; // running + waiting that are not ours, at the time of the scrape
    double others_waiting;  // of these, still waiting
    uint64_t taken_ms;      // monotonic; 0 = never
};

struct endpoint {
    uint32_t id; // small and unique among the living: index for per-worker tables
    _Atomic uint32_t refs;
    struct sockaddr_storage address;
    socklen_t address_len;
    char text[64];      // "10.244.3.4:8000", "[fd00::1]:8000"
    char pod[128];      // pod name when known, else ""
    uint32_t weight;    // relative capacity, 1..; 1 unless the backend says otherwise
    uint64_t added_ms;

    CACHE_ALIGNED _Atomic uint64_t load;
    _Atomic bool removed;               // no longer in any set: close idle connections
    _Atomic uint64_t avoid_until_ms;    // after connection failures
    _Atomic uint32_t failures_in_row;

    CACHE_ALIGNED _Atomic uint32_t sample_seq; // odd while being written
    struct endpoint_sample sample;             // through endpoint_sample_read/_write only

    CACHE_ALIGNED _Atomic uint64_t picks;
    _Atomic uint64_t failures;
    _Atomic uint64_t scrapes;
    _Atomic uint64_t scrape_failures;
};

// Immutable list, replaced as a whole.
struct endpoint_set {
    size_t count;
    struct endpoint *items[];
};

enum pick_policy {
    PICK_INFERENCE_AWARE = 0,
    PICK_LEAST_REQUEST,
    PICK_ROUND_ROBIN,
    PICK_RANDOM,
};
const char *pick_policy_name(enum pick_policy policy);

// How to scrape a backend's endpoints. Copied; strings are bounded.
struct scrape_config {
    enum engine engine;
    char path[256];       // "" = the engine's default
    uint16_t port;        // 0 = the endpoint's own port
    uint32_t interval_ms; // shortest time between two scrapes of one endpoint
    uint32_t stale_after_ms;
    char map_waiting[128]; // Generic only: metric names ("" = none)
    char map_running[128];
    char map_kv[128];
};

enum { METRICS_FOUND_MAX = 256 };

// One backend (ModelBackend): its endpoints and what was learnt about it.
struct backend_state {
    struct list_node node; // of the table
    char *key;             // "namespace/name"
    _Atomic uint32_t refs;
    struct endpoint_table *table;
    _Atomic(struct endpoint_set *) set; // never NULL; release by the writer, acquire by readers
    _Atomic uint64_t round_robin;
    // Bytes of prompt text per prompt token × 1024, learnt from `usage`; starts at 4 bytes.
    _Atomic uint32_t bytes_per_token_q10;
    // Mean uncached prompt tokens of a request, for what others have waiting; 0 = unknown.
    _Atomic uint32_t mean_prompt_tokens;
    // Mean latency from send to first token (ms) for display and slow start later; 0 = unknown.
    _Atomic uint32_t mean_ttft_ms;
    _Atomic uint32_t detected_engine; // enum engine
    _Atomic uint32_t stale_after_ms;
    // Under the table's lock:
    struct scrape_config scrape;
    char metrics_found[METRICS_FOUND_MAX]; // comma-separated names that the last scrapes had
};

struct endpoint_table {
    pthread_mutex_t lock;
    struct epoch *epoch;
    struct map backends; // key → backend_state
    struct list_node backend_list;
    uint32_t next_id; // and a list of ids that are free again
    uint32_t *free_ids;
    size_t free_id_count;
    size_t free_id_cap;
    _Atomic uint64_t version; // raised at every change of a set or a configuration
};

MUST_CHECK int endpoint_table_new(struct endpoint_table **ret_table, struct epoch *epoch);
// No worker runs any more and every reference is gone.
void endpoint_table_free(struct endpoint_table *table);

// Finds or makes the state of a backend, with one reference for the caller. NULL: out of memory.
struct backend_state *endpoint_table_backend(struct endpoint_table *table, struct slice key);
// Control thread only (the last one gives the state and its endpoints to the epoch).
void backend_state_unref(struct backend_state *backend);
void backend_state_ref(struct backend_state *backend);

struct endpoint_spec {
    struct sockaddr_storage address;
    socklen_t address_len;
    struct slice pod;
    uint32_t weight;
};

// Replaces the set. Endpoints whose address stays keep their state; new ones start cold; those gone
// are marked removed and live on while somebody holds them. Duplicate addresses are merged.
// 0 or -ENOMEM (nothing changed). Control thread.
MUST_CHECK int backend_state_set_endpoints(struct backend_state *backend,
                                           const struct endpoint_spec *specs, size_t count);

// Sets how the endpoints are scraped and when data is stale. Control thread.
void backend_state_configure(struct backend_state *backend, const struct scrape_config *config);

// Parses "10.0.0.1" or "fd00::1" (no names) with a port into a spec's address. 0 or -EINVAL.
MUST_CHECK int endpoint_address_parse(struct slice ip, uint16_t port, struct endpoint_spec *spec);

// The current set, valid until the caller's epoch section ends.
static inline struct endpoint_set *backend_state_endpoints(struct backend_state *backend)
{
    // Acquire pairs with the release in backend_state_set_endpoints.
    return atomic_load_explicit(&backend->set, memory_order_acquire);
}

void endpoint_ref(struct endpoint *endpoint);
// Any thread. The last reference frees, through the owner's table, when it is safe.
void endpoint_unref(struct endpoint_table *table, struct endpoint *endpoint);

// Consistent copy of the last sample (retries while it is being written).
void endpoint_sample_read(const struct endpoint *endpoint, struct endpoint_sample *ret_sample);

// Stores waiting, running, kv… and derives others_*: what the engine reports beyond what we had
// outstanding. `ours` = our outstanding requests when the sample was taken (use the larger of
// before-send and after-receive, so that a race never invents load of others).
void endpoint_sample_write(struct endpoint *endpoint, double waiting, double running,
                           double kv_utilisation, double kv_capacity_tokens, uint32_t ours,
                           uint64_t now_ms);

// Outcome of an attempt. A failure (connect, reset) makes picks avoid the endpoint for a while that
// doubles with each one in a row (1 s … 30 s); any success clears it.
void endpoint_report_failure(struct endpoint *endpoint, uint64_t now_ms);
void endpoint_report_success(struct endpoint *endpoint);

// The engine said `prompt_tokens` for a request of which we saw `prompt_bytes`; moves the ratio
// (exponential mean; absurd values are ignored).
void backend_state_learn_tokens(struct backend_state *backend, uint64_t prompt_bytes,
                                uint64_t prompt_tokens);
