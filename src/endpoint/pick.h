// Picking an endpoint and reserving it, in one step.
#pragma once

#include "base/macros.h"
#include "base/rand.h"
#include "endpoint/affinity.h"
#include "endpoint/reservation.h"

// Why an endpoint stands behind others whatever it costs; the worse, the later.
// X(enum, name in pages, text)
#define PICK_SKIP_TABLE(X)                                               \
    X(NONE, "none", "")                                                  \
    X(WARMING, "warming", "warming up: takes a growing share")           \
    X(KV_FULL, "kv_full", "KV cache full")                               \
    X(OVERLOADED, "overloaded", "refused lately")                        \
    X(FAILING, "failing", "failing")                                     \
    X(EJECTED, "ejected", "ejected for its errors or its slowness")      \
    X(UNHEALTHY, "unhealthy", "its health checks fail")                  \
    X(LEAVING, "leaving", "terminating, or it says that it goes")

enum pick_skip {
#define X(name, label, text) PICK_SKIP_##name,
    PICK_SKIP_TABLE(X)
#undef X
    PICK_SKIP_COUNT,
};
const char *pick_skip_name(enum pick_skip skip);

// The terms of one candidate's cost, for explanations, in tokens of prefill work: InferenceAware's
// cost is their sum divided by the weight.
struct pick_candidate {
    uint32_t endpoint_id;
    char text[48]; // address (cut)
    float cost;
    float ours_tokens;      // outstanding uncached tokens of our own requests
    float others_tokens;    // estimated for what others have waiting, faded with age
    float own_tokens;       // this request's, counted twice
    float running;          // decode interference term
    float kv_pressure;      // penalty as the KV cache fills
    float kv_utilisation;   // < 0 unknown
    uint32_t weight;
    uint32_t ours_requests;
    uint32_t age_ms;        // of the scraped data; UINT32_MAX = none
    enum pick_skip skip;    // why others came first; more than one reason: the worst
    bool tried;             // by this request before: behind all that were not
    bool avoided;           // there is such a reason, or it was tried
    bool kv_full;
    bool overloaded;        // the engine refused requests a moment ago
};

enum { PICK_TRACE_MAX = 8 };
struct pick_trace {
    enum pick_policy policy;
    uint32_t candidate_count; // all that were looked at
    bool held;                // the session's own endpoint was taken, whatever the costs
    uint32_t recorded;        // in candidates[]: the chosen one first, then the cheapest
    struct pick_candidate candidates[PICK_TRACE_MAX];
};

struct pick_request {
    enum pick_policy policy;
    uint64_t prompt_bytes; // text bytes of the prompt (json_scan.string_bytes), or body bytes
    const uint32_t *tried; // endpoint ids that this request failed on: last resort only
    size_t tried_count;
    // Rather none than one of whom anything speaks, or one that failed last and has to show that it
    // is back: for work that need not be done.
    bool only_well;
    uint64_t now_ms;
    struct rand_state *rng; // the worker's own: ties are broken differently in every worker
    // The session's own endpoint is taken while it is well and within its bound. NULL = none.
    const struct affinity *affinity;
    // The seam for the prefix index: how many of this prompt's tokens an endpoint has cached.
    // NULL = none.
    uint64_t (*cached_tokens)(const struct endpoint *endpoint, void *arg);
    void *cached_arg;
};

// Picks among the backend's endpoints and reserves. Inside an epoch section of the calling worker.
// 0; -ENOENT: the backend has no endpoint; -EBUSY: only endpoints that were tried are left (when
// `allow_tried` is false), or that are not well (when only those are wanted). `trace` may be NULL.
// *ret untouched on failure.
MUST_CHECK int pick_endpoint(struct backend_state *backend, const struct pick_request *request,
                             bool allow_tried, struct reservation *ret,
                             struct pick_trace *trace);

// What a pick would see now, without reserving or learning anything: the candidates, the one that
// would be chosen in front (of policies without a cost: one of those that could be). Inside an
// epoch section. 0 or -ENOENT.
MUST_CHECK int pick_preview(struct backend_state *backend, const struct pick_request *request,
                            struct pick_trace *ret_trace);
