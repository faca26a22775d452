// Live endpoint state: what Headrace knows about each pod address, beside the snapshot and across
// every swap of it.
//
// Threads: the table is changed by the control thread and walked by the control, scrape and admin
// threads under its lock. Workers never take the lock: they read a backend's endpoint set through
// its atomic pointer inside an epoch section (event/epoch.h) and pin what they pick with a
// reservation. All numbers that change are atomics.
//
// Lifetime: nothing is ever freed outside endpoint_table_collect (control thread). Dropping a
// reference only counts down. An endpoint goes when it is in no set, every worker has passed an
// epoch since, nobody holds a reference and its books are empty (a reservation pins through the
// books); a backend when only the table refers to it.
#pragma once

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "base/engine.h"
#include "base/error.h"
#include "base/list.h"
#include "base/map.h"
#include "base/slice.h"
#include "endpoint/health.h"
#include "event/epoch.h"
#include "net/address_guard.h"
#include "tls/config.h"
#include "tls/fault.h"

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

// What every pick reads of a sample, derived once when it is written (pick_view_digest).
struct sample_digest {
    double load_prompts;      // InferenceAware: what it adds to the cost, in mean prompts
    double others_requests;   // LeastRequest: the same, in requests
    double kv_free_tokens;    // INFINITY when that cannot be told
    uint64_t taken_ms;        // as in the sample
    uint64_t tokens_reserved; // as in the sample
};
_Static_assert(offsetof(struct sample_digest, taken_ms) == 3 * sizeof(uint64_t),
               "endpoint_sample_digest reads three doubles and two integers");

// What the last scrape (or ORCA header) said. 8-byte members only: it is copied by words.
struct endpoint_sample {
    struct sample_digest digest; // first: it shares a cache line with the sequence number
    double waiting;        // requests queued in the engine
    double running;        // requests in the batch
    double kv_utilisation; // 0..1; negative = the engine does not say
    double kv_capacity_tokens;  // 0 = unknown
    double others_requests; // running + waiting that are not ours, at the time of the scrape
    double others_waiting;  // of these, still waiting
    uint64_t taken_ms;      // monotonic; 0 = never
    uint64_t tokens_reserved; // endpoint.tokens_reserved at that time
};
enum { ENDPOINT_SAMPLE_WORDS = sizeof(struct endpoint_sample) / sizeof(uint64_t) };

enum { ENDPOINT_PROBLEM_MAX = 256 };

struct endpoint {
    // Small and unique among the living: index for per-worker tables. It is given away again after
    // the endpoint was freed, so whoever keeps something under an id keeps a reference as well.
    uint32_t id;
    _Atomic uint32_t refs; // the table's own is one of them
    struct sockaddr_storage address;
    socklen_t address_len;
    char text[64];      // "10.244.3.4:8000", "[fd00::1]:8000"
    uint64_t stable_id; // of the address: the same in every process
    char pod[128];      // pod name when known, else ""
    uint64_t added_ms;
    // Why the last scrape and the last check failed; "" = they did not. The scraper's thread writes
    // them under the table's lock.
    char scrape_problem[ENDPOINT_PROBLEM_MAX];
    char check_problem[ENDPOINT_PROBLEM_MAX];
    // Control thread only: where it waits for its end.
    struct list_node gone_node;
    uint32_t in_sets; // how many have it, replaced ones that a worker may still read included

    // What a pick reads: one cache line. The rare words ride along with the busy ones.
    CACHE_ALIGNED _Atomic uint64_t load;
    _Atomic uint64_t tokens_reserved;     // ever; for what a sample cannot know yet
    _Atomic uint64_t picks;
    _Atomic uint64_t avoid_until_ms;      // after failures
    _Atomic uint64_t probe_until_ms;      // one request is trying it after failures
    _Atomic uint64_t overloaded_until_ms; // after the engine refused for want of room
    _Atomic uint32_t failures_in_row;
    _Atomic uint32_t health_flags; // enum health_flag; 0 = nothing to be minded
    _Atomic uint32_t weight; // relative capacity, 1..; 1 unless the backend says otherwise
    _Atomic bool removed;    // in no set any more: close idle connections

    CACHE_ALIGNED _Atomic uint32_t sample_seq; // odd while being written
    _Atomic uint64_t sample_words[ENDPOINT_SAMPLE_WORDS]; // endpoint_sample_* only

    struct endpoint_health health;

    CACHE_ALIGNED _Atomic uint64_t failures;
    _Atomic uint64_t overloads;
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

// In the clear or over TLS, for scrapes and checks.
enum endpoint_scheme {
    ENDPOINT_SCHEME_DEFAULT = 0, // as requests where they go to the same port, else in the clear
    ENDPOINT_SCHEME_HTTP,
    ENDPOINT_SCHEME_HTTPS, // as the backend's TLS configuration says
};

// How to scrape a backend's endpoints. Copied; strings are bounded.
struct scrape_config {
    enum engine engine;
    bool is_tls;          // the backend's servers speak TLS
    enum endpoint_scheme scheme;
    char path[256];       // "" = the engine's default
    uint16_t port;        // 0 = the endpoint's own port
    uint32_t interval_ms; // shortest time between two scrapes of one endpoint
    uint32_t stale_after_ms;
    char map_waiting[129]; // Generic only: metric names ("" = none)
    char map_running[129];
    char map_kv[129];
};

enum { METRICS_FOUND_MAX = 256 };

struct server_tls;

// One backend (ModelBackend): its endpoints and what was learnt about it.
struct backend_state {
    struct list_node node; // of the table
    char *key;             // "namespace/name"
    _Atomic uint32_t refs; // the table's own is one of them
    // Who follows it without keeping it in the table (the scraper): its memory waits for them.
    _Atomic uint32_t watchers;
    struct endpoint_table *table;
    _Atomic(struct endpoint_set *) set; // never NULL; release by the writer, acquire by readers
    _Atomic(struct health_config *) health; // the same
    _Atomic bool panic;   // so few are available that ejections and checks are ignored
    _Atomic bool judging; // somebody ejects or recounts: a lock that is only tried
    uint64_t compared_ms; // of health_watch alone: the last comparison of siblings
    bool told_panic;
    _Atomic uint64_t round_robin;
    _Atomic uint32_t retries; // second tries that wait for their first token (retry_budget.h)
    // Bytes of prompt text per prompt token × 1024, learnt from `usage`; starts at 4 bytes.
    _Atomic uint32_t bytes_per_token_q10;
    // Mean uncached prompt tokens of a request, for what others have waiting; 0 = unknown.
    _Atomic uint32_t mean_prompt_tokens;
    // Mean latency from send to first token (ms) for display and slow start later; 0 = unknown.
    _Atomic uint32_t mean_ttft_ms;
    _Atomic uint32_t detected_engine; // enum engine
    _Atomic uint32_t fresh_ms;       // up to this age scraped data counts in full
    _Atomic uint32_t stale_after_ms; // from this age on not at all
    struct list_node gone; // control thread: endpoints in no set that are still held
    // Under the table's lock:
    struct scrape_config scrape;
    struct server_tls *tls; // one reference. NULL: in the clear, or what it needs is missing
    char metrics_found[METRICS_FOUND_MAX]; // comma-separated names that the last scrapes had
};

struct endpoint_table {
    pthread_mutex_t lock;
    struct epoch *epoch;
    // What endpoints may be connected to; NULL: all. Set before other threads see the table.
    const struct address_guard *guard;
    struct map backends; // key → backend_state
    struct list_node backend_list;
    // Control thread: backends that left and are still watched, and endpoints of such that left.
    struct list_node left;
    struct list_node gone;
    _Atomic uint32_t endpoint_count; // all that are not freed
    uint32_t next_id; // and a list of ids that are free again
    uint32_t *free_ids;
    size_t free_id_count;
    size_t free_id_cap;
    _Atomic uint64_t version; // raised at every change of a set or a configuration
    // TLS handshakes of the scraper. Only its thread counts.
    _Atomic uint64_t scraper_handshakes[2]; // full ones, resumed ones
    _Atomic uint64_t scraper_tls_faults[TLS_FAULT_COUNT];
};

MUST_CHECK int endpoint_table_new(struct endpoint_table **ret_table, struct epoch *epoch);
// No worker and no scraper runs any more: frees all, whatever is still referred to. The epoch must
// still be there. NULL is fine.
void endpoint_table_free(struct endpoint_table *table);

// Frees what nobody holds any more: backends that only the table refers to, and endpoints that are
// in no set. Control thread; call it about once a second and after changes.
void endpoint_table_collect(struct endpoint_table *table);

// Finds or makes the state of a backend, with one reference for the caller. NULL: out of memory.
// Control thread.
struct backend_state *endpoint_table_backend(struct endpoint_table *table, struct slice key);
// Any thread that holds a reference, or the table's lock. unref only counts down.
void backend_state_ref(struct backend_state *backend);
void backend_state_unref(struct backend_state *backend);

// With the table's lock: the memory stays until unwatch, but the backend may leave the table any
// time, which raises `version`.
void backend_state_watch(struct backend_state *backend);
// Any thread.
void backend_state_unwatch(struct backend_state *backend);

struct endpoint_spec {
    struct sockaddr_storage address;
    socklen_t address_len;
    struct slice pod;
    uint32_t weight;
    bool terminating; // it goes, and serves because nobody else does
};

// Replaces the set. Endpoints whose address stays keep their state, unless the pod behind it is
// another one; new ones start cold; those gone are marked removed and live on while somebody holds
// them, and are taken back with their books when they return meanwhile. Of duplicate addresses the
// first counts. A weight of 0 is 1. 0 or -ENOMEM (nothing changed). Control thread.
MUST_CHECK int backend_state_set_endpoints(struct backend_state *backend,
                                           const struct endpoint_spec *specs, size_t count);

// Sets how the endpoints are scraped and when data is stale. Control thread.
void backend_state_configure(struct backend_state *backend, const struct scrape_config *config);

// Sets how the endpoints are scraped and checked over TLS; copied. NULL: not at all. 0 or -ENOMEM
// (nothing changed). Control thread.
MUST_CHECK int backend_state_secure(struct backend_state *backend,
                                    const struct tls_upstream *upstream);

// Sets how the endpoints are judged. 0 or -ENOMEM (nothing changed). Control thread.
MUST_CHECK int backend_state_judge_by(struct backend_state *backend,
                                      const struct health_config *config);

// Of the endpoints that are in no set any more and still held, these pods are terminating (and not
// merely not ready). Control thread.
void backend_state_mark_terminating(struct backend_state *backend,
                                    const struct endpoint_spec *specs, size_t count);

// Parses "10.0.0.1" or "fd00::1" (no names, no zone) with a port (not 0) into a spec's address; the
// rest of the spec stays. 0 or -EINVAL.
MUST_CHECK int endpoint_address_parse(struct slice ip, uint16_t port, struct endpoint_spec *spec);

// "10.0.0.1:8000", "[fd00::1]:8000".
void endpoint_address_format(const struct sockaddr_storage *address, char *buf, size_t size);

// The port in network byte order, of either family.
static inline in_port_t *endpoint_address_port(struct sockaddr_storage *address)
{
    return address->ss_family == AF_INET
               ? &((struct sockaddr_in *)(void *)address)->sin_port
               : &((struct sockaddr_in6 *)(void *)address)->sin6_port;
}

uint16_t endpoint_port(const struct endpoint *endpoint);

// Sets scrape_problem or check_problem of an endpoint; takes the lock when the text is another one.
// The scraper's thread.
void endpoint_problem_set(struct endpoint_table *table, char problem[ENDPOINT_PROBLEM_MAX],
                          const char *text);

// The current set, valid until the caller's epoch section ends.
static inline struct endpoint_set *backend_state_endpoints(struct backend_state *backend)
{
    // Acquire pairs with the release in backend_state_set_endpoints.
    return atomic_load_explicit(&backend->set, memory_order_acquire);
}

// Valid like the set, and with the table's lock.
static inline const struct health_config *backend_state_health(const struct backend_state *backend)
{
    // Acquire pairs with the release in backend_state_judge_by.
    return atomic_load_explicit(&backend->health, memory_order_acquire);
}

// Inside an epoch section with an endpoint of a set, with the table's lock, with a reservation, or
// with a reference already held.
void endpoint_ref(struct endpoint *endpoint);
// Any thread. Only counts down.
void endpoint_unref(struct endpoint_table *table, struct endpoint *endpoint);

// Consistent copy of the last sample (retries while it is being written).
void endpoint_sample_read(const struct endpoint *endpoint, struct endpoint_sample *ret_sample);

// Begin and end of a read without a lock: what lies in between counts when the end says true.
static inline uint32_t endpoint_sample_begin(const struct endpoint *endpoint)
{
    // Acquire: the words are read after. Partner: the release at the end of the write.
    return atomic_load_explicit(&endpoint->sample_seq, memory_order_acquire);
}
static inline uint64_t endpoint_sample_word(const struct endpoint *endpoint, size_t i)
{
    // Acquire: the second look at sample_seq comes after. Partner: the release stores of the words,
    // which come after sample_seq became odd.
    return atomic_load_explicit(&endpoint->sample_words[i], memory_order_acquire);
}
static inline bool endpoint_sample_end(const struct endpoint *endpoint, uint32_t begin)
{
    return (begin & 1) == 0 &&
           atomic_load_explicit(&endpoint->sample_seq, memory_order_relaxed) == begin;
}

// Only the digest. Word by word, so that it stays in registers.
static inline struct sample_digest endpoint_sample_digest(const struct endpoint *endpoint)
{
    struct sample_digest digest;
    uint64_t doubles[3];
    uint32_t begin;
    do {
        begin = endpoint_sample_begin(endpoint);
        doubles[0] = endpoint_sample_word(endpoint, 0);
        doubles[1] = endpoint_sample_word(endpoint, 1);
        doubles[2] = endpoint_sample_word(endpoint, 2);
        digest.taken_ms = endpoint_sample_word(endpoint, 3);
        digest.tokens_reserved = endpoint_sample_word(endpoint, 4);
    } while (UNLIKELY(!endpoint_sample_end(endpoint, begin)));
    memcpy(&digest, doubles, sizeof(doubles));
    return digest;
}

// Stores waiting, running, kv… and derives others_*: what the engine reports beyond what we had
// outstanding. NAN for waiting, running, utilisation or capacity: not said this time, what was
// known stays. `ours` = our outstanding requests when the sample was taken (use the larger of
// before-send and after-receive, so that a race never invents load of others). `tokens_reserved` =
// the endpoint's tokens_reserved before the sample was asked for. Any thread; of two writers at the
// same moment one is dropped.
void endpoint_sample_write(struct endpoint *endpoint, double waiting, double running,
                           double kv_utilisation, double kv_capacity_tokens, uint32_t ours,
                           uint64_t tokens_reserved, uint64_t now_ms);

// How much scraped data still counts by its age: 1 while fresh, then linearly down to 0 when stale.
struct sample_fading {
    uint64_t fresh_ms;
    uint64_t stale_ms;
    double per_ms;
};
static inline struct sample_fading sample_fading_of(const struct backend_state *backend)
{
    // Relaxed: tunables, each meaningful alone, so fresh > stale may be seen while both change.
    uint64_t fresh = atomic_load_explicit(&backend->fresh_ms, memory_order_relaxed);
    uint64_t stale = atomic_load_explicit(&backend->stale_after_ms, memory_order_relaxed);
    return (struct sample_fading){
        .fresh_ms = MIN_OF(fresh, stale),
        .stale_ms = stale,
        .per_ms = fresh < stale ? 1 / (double)(stale - fresh) : 0,
    };
}
static inline double sample_fading_share(const struct sample_fading *fading, uint64_t taken_ms,
                                         uint64_t now_ms)
{
    uint64_t age = now_ms > taken_ms ? now_ms - taken_ms : 0;
    if (taken_ms == 0 || age >= fading->stale_ms) {
        return 0;
    }
    return age <= fading->fresh_ms ? 1 : (double)(fading->stale_ms - age) * fading->per_ms;
}

double backend_state_sample_share(const struct backend_state *backend, uint64_t taken_ms,
                                  uint64_t now_ms);

// The short-term consequences of an attempt's outcome (health_report in endpoint/health.h is what
// the proxy calls). A failure (connect, reset, no token in time) makes picks avoid the
// endpoint for a while that doubles with each one in a row (1 s … 30 s; failures inside such a
// while are of the same burst and do not double it). After it one request at a time is let through,
// until a success clears all.
void endpoint_report_failure(struct endpoint *endpoint, uint64_t now_ms);
void endpoint_report_success(struct endpoint *endpoint);
// It answers, if only with a refusal: clears failures.
void endpoint_report_reached(struct endpoint *endpoint);

// The engine refused for want of room (503, or an error event that says so): avoided for 250 ms,
// growing to 2 s while it goes on. Not a failure: the pod is well. A success clears it.
void endpoint_report_overloaded(struct endpoint *endpoint, uint64_t now_ms);

// The engine said `prompt_tokens` for a request of which we saw `prompt_bytes`; moves the ratio
// (exponential mean; absurd values are ignored).
void backend_state_learn_tokens(struct backend_state *backend, uint64_t prompt_bytes,
                                uint64_t prompt_tokens);

// A request's time from send to first token: moves mean_ttft_ms.
void backend_state_learn_ttft(struct backend_state *backend, uint64_t ttft_ms);

// Prompt tokens that this many bytes are likely to be; at least 1, at most ENDPOINT_TOKENS_MAX.
enum { ENDPOINT_TOKENS_MAX = 1 << 24 };
uint64_t backend_state_estimate_tokens(const struct backend_state *backend, uint64_t prompt_bytes);
