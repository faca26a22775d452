#include "endpoint/pick.h"

#include <errno.h>

#include "endpoint/pick_ranking.h"

enum {
    // Each failed swap means that somebody else's succeeded, so this many rescans are only seen
    // with as many picks in the same microseconds; then a slightly stale choice is good enough.
    RESCAN_MAX = 64,
    PROBE_LEASE_MS = 1000,
    MEAN_PROMPT_SHARE = 32, // of a new prompt in the running mean: 1/32
};

const char *pick_skip_name(enum pick_skip skip)
{
    static const char *const names[PICK_SKIP_COUNT] = {
#define X(name, label, text) [PICK_SKIP_##name] = label,
        PICK_SKIP_TABLE(X)
#undef X
    };
    return names[skip];
}

const char *pick_policy_name(enum pick_policy policy)
{
    switch (policy) {
    case PICK_INFERENCE_AWARE:
        return "InferenceAware";
    case PICK_LEAST_REQUEST:
        return "LeastRequest";
    case PICK_ROUND_ROBIN:
        return "RoundRobin";
    case PICK_RANDOM:
        return "Random";
    }
    return "?";
}

// The point in [0, total) where this pick falls, on a line on which every endpoint is as long as
// its weight.
static uint64_t position(const struct pick_scan *scan, uint64_t total, bool equal)
{
    if (scan->request->policy == PICK_RANDOM) {
        return rand_below(scan->request->rng, total);
    }
    uint64_t turn =
        atomic_fetch_add_explicit(&scan->backend->round_robin, 1, memory_order_relaxed);
    if (equal) {
        return turn % total;
    }
    // Steps of the golden ratio: every weight gets its share, and gets it evenly spread in time.
    uint64_t fraction = turn * UINT64_C(0x9e3779b97f4a7c15);
    return (uint64_t)(((unsigned __int128)fraction * total) >> 64);
}

static bool choose_by_weight(const struct pick_scan *scan, const struct endpoint_set *set,
                             struct pick_view *chosen)
{
    unsigned tier = PICK_TIER_NONE;
    uint64_t total = 0, low = UINT64_MAX, high = 0;
    for (size_t i = 0; i < set->count; i++) {
        struct pick_view view;
        pick_view_fill(scan, set->items[i], &view);
        uint64_t weight = atomic_load_explicit(&set->items[i]->weight, memory_order_relaxed);
        if (view.tier < tier) {
            tier = view.tier;
            total = 0, low = UINT64_MAX, high = 0;
        }
        if (view.tier == tier) {
            total += weight;
            low = MIN_OF(low, weight);
            high = MAX_OF(high, weight);
        }
    }
    chosen->endpoint = NULL;
    if (total == 0) {
        return false;
    }
    bool equal = low == high;
    uint64_t at = position(scan, equal ? total / low : total, equal);
    for (size_t i = 0; i < set->count; i++) {
        struct pick_view view;
        pick_view_fill(scan, set->items[i], &view);
        if (view.tier > tier) {
            continue;
        }
        *chosen = view; // also the answer when tiers moved meanwhile and the line became shorter
        uint64_t length =
            equal ? 1 : atomic_load_explicit(&view.endpoint->weight, memory_order_relaxed);
        if (at < length) {
            break;
        }
        at -= length;
    }
    return chosen->endpoint != NULL;
}

// May it have the session? While it warms up, sessions by hash come to it one by one, each for
// good.
static bool takes_session(const struct affinity *affinity, const struct pick_view *view)
{
    if (affinity->by_hash && view->warmth < 1 &&
        (double)(affinity->hash & 0xfffff) * 0x1p-20 >= view->warmth) {
        return false;
    }
    return view->tier <= PICK_SKIP_WARMING;
}

// The endpoint to which the session belongs, or the next in the order of its draws that is well and
// not loaded beyond its bound. False: none is.
static bool choose_held(const struct pick_scan *scan, const struct endpoint_set *set,
                        struct pick_view *chosen)
{
    const struct affinity *affinity = scan->request->affinity;
    uint64_t requests = 0, weights = 0;
    double best = 0;
    for (size_t i = 0; i < set->count; i++) {
        const struct endpoint *endpoint = set->items[i];
        requests += load_requests(atomic_load_explicit(&endpoint->load, memory_order_relaxed));
        weights += atomic_load_explicit(&endpoint->weight, memory_order_relaxed);
    }
    for (size_t i = 0; i < set->count; i++) {
        struct pick_view view;
        struct endpoint *endpoint = set->items[i];
        if (!affinity->by_hash && endpoint != affinity->wanted) {
            continue;
        }
        pick_view_fill(scan, endpoint, &view);
        uint32_t weight = atomic_load_explicit(&endpoint->weight, memory_order_relaxed);
        double bound = affinity_bound(requests, (double)weight / (double)weights);
        double draw = affinity_draw(affinity->hash, endpoint, weight);
        if (takes_session(affinity, &view) && load_requests(view.load) < bound && draw > best) {
            best = draw;
            *chosen = view;
        }
    }
    return best > 0;
}

// After failures only one request at a time finds out whether the endpoint is back.
static bool probe_take(const struct pick_scan *scan, const struct pick_view *view)
{
    struct endpoint *endpoint = view->endpoint;
    if (LIKELY(atomic_load_explicit(&endpoint->failures_in_row, memory_order_relaxed) == 0) ||
        view->tier >= PICK_TIER_FAILING) {
        return true; // well, or the last resort anyway
    }
    uint64_t until = atomic_load_explicit(&endpoint->probe_until_ms, memory_order_relaxed);
    return until <= scan->request->now_ms &&
           atomic_compare_exchange_strong_explicit(
               &endpoint->probe_until_ms, &until, scan->request->now_ms + PROBE_LEASE_MS,
               memory_order_relaxed, memory_order_relaxed);
}

static void probe_give_back(const struct pick_view *view)
{
    if (UNLIKELY(atomic_load_explicit(&view->endpoint->failures_in_row,
                                      memory_order_relaxed) != 0)) {
        atomic_store_explicit(&view->endpoint->probe_until_ms, 0, memory_order_relaxed);
    }
}

// Enters the request in the chosen endpoint's books. False: they changed since the scan.
static bool reserve(const struct pick_view *view, bool exact)
{
    uint64_t add = LOAD_ONE_REQUEST + view->own_tokens;
    uint64_t seen = view->load;
    // Relaxed is enough: the books carry no other data, and the endpoint's memory is kept by the
    // epoch section now and by the books being not empty later.
    if (!exact) {
        atomic_fetch_add_explicit(&view->endpoint->load, add, memory_order_relaxed);
    } else if (!atomic_compare_exchange_strong_explicit(&view->endpoint->load, &seen, seen + add,
                                                        memory_order_relaxed,
                                                        memory_order_relaxed)) {
        return false;
    }
    atomic_fetch_add_explicit(&view->endpoint->tokens_reserved, view->own_tokens,
                              memory_order_relaxed);
    atomic_fetch_add_explicit(&view->endpoint->picks, 1, memory_order_relaxed);
    return true;
}

static bool policy_has_cost(enum pick_policy policy)
{
    return policy == PICK_INFERENCE_AWARE || policy == PICK_LEAST_REQUEST;
}

// Moves the backend's mean prompt and returns it.
static double mean_prompt_update(struct backend_state *backend, uint64_t tokens)
{
    // Relaxed, and an update may be lost to another worker's: it is a mean.
    int64_t mean = atomic_load_explicit(&backend->mean_prompt_tokens, memory_order_relaxed);
    int64_t next = mean == 0 ? (int64_t)tokens
                             : mean + ((int64_t)tokens - mean) / MEAN_PROMPT_SHARE;
    if (next != mean) {
        atomic_store_explicit(&backend->mean_prompt_tokens, (uint32_t)next, memory_order_relaxed);
    }
    return (double)next;
}

// All but the mean prompt, which a pick moves and a preview leaves alone.
static struct pick_scan scan_of(struct backend_state *backend, const struct pick_request *request)
{
    return (struct pick_scan){
        .backend = backend,
        .request = request,
        .prompt_tokens = backend_state_estimate_tokens(backend, request->prompt_bytes),
        .tie_seed = rand_u64(request->rng),
        .fading = sample_fading_of(backend),
        .panic = !request->only_well &&
                 atomic_load_explicit(&backend->panic, memory_order_relaxed),
    };
}

int pick_endpoint(struct backend_state *backend, const struct pick_request *request,
                  bool allow_tried, struct reservation *ret, struct pick_trace *trace)
{
    const struct endpoint_set *set = backend_state_endpoints(backend);
    if (set->count == 0) {
        return -ENOENT;
    }
    struct pick_scan scan = scan_of(backend, request);
    scan.mean_prompt = mean_prompt_update(backend, scan.prompt_tokens);

    struct pick_ranking ranking;
    struct pick_view chosen;
    bool held = request->affinity != NULL;
    bool by_cost = policy_has_cost(request->policy);
    for (unsigned round = 0;; round++) {
        held = held && round == 0 && choose_held(&scan, set, &chosen);
        bool ranked = !held && (by_cost || !choose_by_weight(&scan, set, &chosen));
        if (ranked) {
            if (!pick_ranking_fill(&scan, set, trace != NULL ? PICK_TRACE_MAX : 1, &ranking)) {
                return -EBUSY;
            }
            chosen = *pick_ranking_at(&ranking, 0);
        }
        if ((chosen.tier >= PICK_TIER_TRIED && !allow_tried) ||
            (chosen.tier != PICK_TIER_FREE && request->only_well)) {
            return -EBUSY;
        }
        bool last = round >= RESCAN_MAX;
        if (!last && !probe_take(&scan, &chosen)) {
            continue;
        }
        if (reserve(&chosen, by_cost && !held && !last)) {
            break;
        }
        probe_give_back(&chosen);
    }
    *ret = (struct reservation){.endpoint = chosen.endpoint, .tokens = chosen.own_tokens};
    if (trace != NULL) {
        if (!by_cost || held) {
            pick_ranking_behind(&scan, set, &chosen, &ranking);
        }
        pick_ranking_explain(&scan, set, &ranking, trace);
        trace->held = held;
    }
    return 0;
}

int pick_preview(struct backend_state *backend, const struct pick_request *request,
                 struct pick_trace *ret_trace)
{
    const struct endpoint_set *set = backend_state_endpoints(backend);
    if (set->count == 0) {
        return -ENOENT;
    }
    struct pick_scan scan = scan_of(backend, request);
    uint32_t mean = atomic_load_explicit(&backend->mean_prompt_tokens, memory_order_relaxed);
    scan.mean_prompt = mean != 0 ? (double)mean : (double)scan.prompt_tokens;
    struct pick_ranking ranking;
    if (!pick_ranking_fill(&scan, set, PICK_TRACE_MAX, &ranking)) {
        return -ENOENT;
    }
    pick_ranking_explain(&scan, set, &ranking, ret_trace);
    ret_trace->held = false;
    return 0;
}
