#include "endpoint/pick.h"

#include <errno.h>
#include <math.h>
#include <string.h>

// A request that is decoding takes a slot and a token of every step's budget, and so slows the
// prefill of those that come. Measured in prefill work that is little (about 1 token a step, for
// the tens of steps that a chunked prefill lasts), so a small share of a mean prompt: enough to
// spread requests where no prefill is pending, too little to outweigh a pending one until dozens
// decode. Those of others are known late, and everybody knows the same: gateways that let a few of
// them break ties all send the next burst to the same pod. On the Mooncake conversation trace with
// four gateways at 20 % load that cost a quarter of the mean TTFT. So they count from a batch on
// that is somebody else's for certain, and little.
#define DECODE_SHARE (1.0 / 32)
#define OTHERS_FREE 8.0
#define OTHERS_DECODE_SHARE (1.0 / 128)

// Of what others have waiting: they read the same gauges as we and are about to fill the same gap,
// so of a short queue only a part is ours to make up for; a long one is of somebody who does not
// look, and counts in full. Mean TTFT on the Mooncake conversation trace, four gateways scraping
// every 50 ms: not counted 2.21 s, in full 2.09, a half 2.05, from a quarter to full at 8 2.00.
#define OTHERS_SHARE_SHORT 0.25
#define OTHERS_LONG_QUEUE 8.0

// LeastRequest counts those that others have waiting in the same way, and a little of a batch that
// is beyond OTHERS_FREE. The same trace and gateways: 2.5 s, without those of others 3.4, with all
// that they run as well 4.0.
#define OTHERS_RUNNING_SHARE (1.0 / 16)

// From here on a KV cache is penalised, up to 8 mean prompts of work at the point where it is full.
#define KV_SOFT 0.80
#define KV_FULL 0.95
#define KV_SOFT_PROMPTS 8.0

// Scraped data younger than half faded decides about full caches.
#define KV_TRUST 0.5

enum {
    // Each failed swap means that somebody else's succeeded, so this many rescans are only seen
    // with as many picks in the same microseconds; then a slightly stale choice is good enough.
    RESCAN_MAX = 64,
    PROBE_LEASE_MS = 1000,
    MEAN_PROMPT_SHARE = 32, // of a new prompt in the running mean: 1/32
};

// Better first: enum pick_skip, and behind all of these who was tried.
enum tier {
    TIER_FREE = PICK_SKIP_NONE,
    TIER_FAILING = PICK_SKIP_FAILING,
    TIER_TRIED = PICK_SKIP_COUNT, // added to the others
    TIER_NONE = 2 * TIER_TRIED,
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

// What stays the same over all endpoints of one pick.
struct scan {
    struct backend_state *backend;
    const struct pick_request *request;
    double mean_prompt;
    uint64_t prompt_tokens;
    uint64_t tie_seed;
    struct sample_fading fading;
    bool panic; // of the backend: ejections and checks do not count
};

// One endpoint as a pick sees it. Which terms its cost is made of, candidate_fill works out for the
// few that are explained.
struct view {
    struct endpoint *endpoint;
    uint64_t load;
    uint64_t own_tokens; // of this request, not cached there
    double share;        // how much its sample still counts
    double cost;
    uint64_t tie; // the higher one of equals; different for every pick and worker
    unsigned tier;
    bool kv_full;
    bool overloaded;
    double warmth; // of a fair share; 1 unless it is warming up
};

static bool was_tried(const struct pick_request *request, uint32_t id)
{
    for (size_t i = 0; i < request->tried_count; i++) {
        if (request->tried[i] == id) {
            return true;
        }
    }
    return false;
}

static uint64_t own_tokens(const struct scan *scan, const struct endpoint *endpoint)
{
    const struct pick_request *request = scan->request;
    if (request->cached_tokens == NULL) {
        return scan->prompt_tokens;
    }
    uint64_t cached = request->cached_tokens(endpoint, request->cached_arg);
    return cached < scan->prompt_tokens ? scan->prompt_tokens - cached : 1;
}

static double kv_penalty_prompts(double utilisation)
{
    if (utilisation <= KV_SOFT) {
        return 0;
    }
    double part = (utilisation - KV_SOFT) / (KV_FULL - KV_SOFT);
    return part * part * KV_SOFT_PROMPTS;
}

static double kv_free_tokens(const struct endpoint_sample *sample)
{
    if (sample->kv_utilisation < 0) {
        return INFINITY;
    }
    if (sample->kv_capacity_tokens <= 0) {
        return sample->kv_utilisation >= KV_FULL ? 0 : INFINITY;
    }
    return sample->kv_capacity_tokens * (1 - sample->kv_utilisation);
}

static double others_weight(double requests)
{
    double part = requests < OTHERS_LONG_QUEUE ? requests / OTHERS_LONG_QUEUE : 1;
    return requests * (OTHERS_SHARE_SHORT + (1 - OTHERS_SHARE_SHORT) * part);
}

static double others_beyond_free(double requests)
{
    return MAX_OF(requests - OTHERS_FREE, 0.0);
}

void pick_digest(struct endpoint_sample *sample)
{
    sample->digest = (struct sample_digest){
        .load_prompts = others_weight(sample->others_waiting) +
                        others_beyond_free(sample->others_requests) * OTHERS_DECODE_SHARE +
                        kv_penalty_prompts(sample->kv_utilisation),
        .kv_free_tokens = kv_free_tokens(sample),
        .others_requests =
            others_weight(sample->others_waiting) +
            others_beyond_free(sample->others_requests - sample->others_waiting) *
                OTHERS_RUNNING_SHARE,
        .taken_ms = sample->taken_ms,
        .tokens_reserved = sample->tokens_reserved,
    };
}

// What health says, for the few of whom it says anything.
static __attribute__((noinline)) unsigned tier_of_health(const struct scan *scan,
                                                         struct view *view, uint32_t flags)
{
    const struct endpoint_health *health = &view->endpoint->health;
    uint64_t now_ms = scan->request->now_ms;
    // Relaxed: hints, each meaningful alone.
    if ((flags & HEALTH_LEAVING) != 0 &&
        atomic_load_explicit(&health->leaving_until_ms, memory_order_relaxed) > now_ms) {
        return PICK_SKIP_LEAVING;
    }
    if ((flags & HEALTH_UNHEALTHY) != 0 && !scan->panic) {
        return PICK_SKIP_UNHEALTHY;
    }
    if ((flags & HEALTH_EJECTED) != 0 && !scan->panic &&
        atomic_load_explicit(&health->ejected_until_ms, memory_order_relaxed) > now_ms) {
        return PICK_SKIP_EJECTED;
    }
    if ((flags & HEALTH_WARMING) != 0) {
        view->warmth = health_warmth(view->endpoint, now_ms);
        // Of so many picks it stands back in all but its share: where nothing runs yet, costs could
        // not hold it back. The key is as good as random, and the same over rescans; its low bits
        // have no say in ties.
        return (double)(view->tie & 0xfffff) * 0x1p-20 < view->warmth ? TIER_FREE
                                                                      : PICK_SKIP_WARMING;
    }
    return TIER_FREE;
}

static unsigned tier_of(const struct scan *scan, struct view *view)
{
    const struct endpoint *endpoint = view->endpoint;
    uint64_t now_ms = scan->request->now_ms;
    unsigned tier = view->kv_full ? (unsigned)PICK_SKIP_KV_FULL : TIER_FREE;
    if (view->overloaded) {
        tier = PICK_SKIP_OVERLOADED;
    }
    // Relaxed: hints, each meaningful alone.
    if (UNLIKELY(atomic_load_explicit(&endpoint->failures_in_row, memory_order_relaxed) != 0) &&
        (atomic_load_explicit(&endpoint->avoid_until_ms, memory_order_relaxed) > now_ms ||
         atomic_load_explicit(&endpoint->probe_until_ms, memory_order_relaxed) > now_ms)) {
        tier = TIER_FAILING;
    }
    uint32_t flags = atomic_load_explicit(&endpoint->health_flags, memory_order_relaxed);
    if (UNLIKELY(flags != 0)) {
        tier = MAX_OF(tier, tier_of_health(scan, view, flags));
    }
    if (scan->request->tried_count > 0 && was_tried(scan->request, endpoint->id)) {
        tier += TIER_TRIED;
    }
    return tier;
}

static uint64_t tie_key(const struct scan *scan, const struct endpoint *endpoint)
{
    uint64_t key = (scan->tie_seed ^ endpoint->id) * UINT64_C(0x9e3779b97f4a7c15);
    key ^= key >> 32;
    return key * UINT64_C(0xd6e8feb86659fd93);
}

// Would the prompt, with what was sent there since the sample, overflow the KV cache? An overflow
// preempts running requests, whose work is then done twice. Only fresh samples can tell.
static bool kv_is_full(const struct view *view, const struct sample_digest *digest,
                       uint64_t tokens_reserved)
{
    uint64_t since = tokens_reserved - MIN_OF(tokens_reserved, digest->tokens_reserved);
    return view->share >= KV_TRUST &&
           digest->kv_free_tokens < (double)(int64_t)(view->own_tokens + since);
}

// What is there already weighs more while it warms up: full at half the load of the others, it gets
// half of their share.
static double warming_cost(const struct scan *scan, const struct view *view)
{
    double own = scan->request->policy == PICK_INFERENCE_AWARE
                     ? (double)(int64_t)(2 * view->own_tokens)
                     : MIN_OF(view->cost, 1.0);
    return own + (view->cost - own) / view->warmth;
}

// Fills what all policies need and the cost for those that have one. In tokens of prefill work for
// InferenceAware, in requests for LeastRequest, 0 for the others.
static void view_endpoint(const struct scan *scan, struct endpoint *endpoint, struct view *view)
{
    // Before the sample: what is reserved in between then counts in neither, never in both. The
    // acquire keeps that order.
    uint64_t reserved = atomic_load_explicit(&endpoint->tokens_reserved, memory_order_acquire);
    struct sample_digest digest = endpoint_sample_digest(endpoint);
    uint32_t weight = atomic_load_explicit(&endpoint->weight, memory_order_relaxed);

    view->endpoint = endpoint;
    view->tie = tie_key(scan, endpoint);
    view->load = atomic_load_explicit(&endpoint->load, memory_order_relaxed);
    view->own_tokens = own_tokens(scan, endpoint);
    view->share = sample_fading_share(&scan->fading, digest.taken_ms, scan->request->now_ms);
    view->kv_full = scan->request->policy == PICK_INFERENCE_AWARE &&
                    kv_is_full(view, &digest, reserved);
    view->overloaded =
        atomic_load_explicit(&endpoint->overloaded_until_ms, memory_order_relaxed) >
        scan->request->now_ms;
    view->warmth = 1;
    view->tier = tier_of(scan, view);
    double ours = load_requests(view->load);

    switch (scan->request->policy) {
    case PICK_INFERENCE_AWARE:
        // Its own tokens twice: the wait that it has, and the wait that it causes to those behind.
        view->cost = (double)(int64_t)(load_tokens(view->load) + 2 * view->own_tokens) +
                     (ours * DECODE_SHARE + view->share * digest.load_prompts) * scan->mean_prompt;
        break;
    case PICK_LEAST_REQUEST:
        view->cost = ours + digest.others_requests * view->share + 1;
        break;
    default:
        view->cost = 0;
    }
    if (UNLIKELY(view->warmth < 1)) {
        view->cost = warming_cost(scan, view);
    }
    if (UNLIKELY(weight != 1)) {
        view->cost /= weight;
    }
}

static bool view_better(const struct view *a, const struct view *b)
{
    if (a->tier != b->tier) {
        return a->tier < b->tier;
    }
    if (a->cost < b->cost || a->cost > b->cost) {
        return a->cost < b->cost;
    }
    return a->tie > b->tie;
}

// ---- explanation ----

// The terms come from the sample as it is now: another one than the cost was made of only when it
// was replaced in this very moment.
static void candidate_fill(const struct scan *scan, const struct view *view,
                           struct pick_candidate *candidate)
{
    struct endpoint_sample sample;
    endpoint_sample_read(view->endpoint, &sample);
    uint64_t now_ms = scan->request->now_ms;
    bool sampled = sample.taken_ms != 0;
    uint64_t age = !sampled ? UINT32_MAX : now_ms > sample.taken_ms ? now_ms - sample.taken_ms : 0;
    double running = load_requests(view->load) * DECODE_SHARE +
                     others_beyond_free(sample.others_requests) * view->share *
                         OTHERS_DECODE_SHARE;
    *candidate = (struct pick_candidate){
        .endpoint_id = view->endpoint->id,
        .cost = (float)view->cost,
        .ours_tokens = (float)load_tokens(view->load),
        .others_tokens = (float)(others_weight(sample.others_waiting) * view->share *
                                 scan->mean_prompt),
        .own_tokens = (float)(2 * view->own_tokens),
        .running = (float)(running * scan->mean_prompt),
        .kv_pressure = (float)(kv_penalty_prompts(sample.kv_utilisation) * view->share *
                               scan->mean_prompt),
        .weight = atomic_load_explicit(&view->endpoint->weight, memory_order_relaxed),
        .kv_utilisation = sampled ? (float)sample.kv_utilisation : -1,
        .ours_requests = load_requests(view->load),
        .age_ms = (uint32_t)MIN_OF(age, (uint64_t)UINT32_MAX),
        .skip = (enum pick_skip)(view->tier % TIER_TRIED),
        .tried = view->tier >= TIER_TRIED,
        .avoided = view->tier != TIER_FREE,
        .kv_full = view->kv_full,
        .overloaded = view->overloaded,
    };
    size_t len = strnlen(view->endpoint->text, sizeof(candidate->text) - 1);
    memcpy(candidate->text, view->endpoint->text, len);
    candidate->text[len] = '\0';
}

// The best endpoints of a scan. Views stay in the slot where they were made, and only their numbers
// are sorted: most endpoints of a large backend are looked at and forgotten.
struct ranking {
    struct view slots[PICK_TRACE_MAX + 1];
    uint8_t order[PICK_TRACE_MAX]; // slots, best first
    uint8_t spare;                 // the slot for the next one to be looked at
    size_t count;
    size_t keep; // so many of the best; the rest is forgotten
};

static void ranking_init(struct ranking *ranking, size_t keep)
{
    ranking->count = 0;
    ranking->keep = keep;
    ranking->spare = 0;
}

static const struct view *ranking_get(const struct ranking *ranking, size_t place)
{
    return &ranking->slots[ranking->order[place]];
}

// Looks at an endpoint and puts it in its place. `from` places at the front are taken and not
// compared with.
static void ranking_add(const struct scan *scan, struct ranking *ranking, size_t from,
                        struct endpoint *endpoint)
{
    uint8_t slot = ranking->spare;
    const struct view *view = &ranking->slots[slot];
    view_endpoint(scan, endpoint, &ranking->slots[slot]);
    size_t at = ranking->count;
    if (at == ranking->keep) {
        if (!view_better(view, ranking_get(ranking, at - 1))) {
            return;
        }
        ranking->spare = ranking->order[--at];
    } else {
        ranking->spare = (uint8_t)++ranking->count;
    }
    for (; at > from && view_better(view, ranking_get(ranking, at - 1)); at--) {
        ranking->order[at] = ranking->order[at - 1];
    }
    ranking->order[at] = slot;
}

static void explain(const struct scan *scan, const struct endpoint_set *set,
                    const struct ranking *ranking, struct pick_trace *trace)
{
    trace->policy = scan->request->policy;
    trace->candidate_count = (uint32_t)MIN_OF(set->count, (size_t)UINT32_MAX);
    trace->recorded = (uint32_t)ranking->count;
    for (size_t i = 0; i < ranking->count; i++) {
        candidate_fill(scan, ranking_get(ranking, i), &trace->candidates[i]);
    }
}

// For policies without a cost: the chosen one in front, others behind it.
static void rank_behind(const struct scan *scan, const struct endpoint_set *set,
                        const struct view *chosen, struct ranking *ranking)
{
    ranking_init(ranking, PICK_TRACE_MAX);
    ranking->slots[0] = *chosen;
    ranking->order[0] = 0;
    ranking->spare = 1;
    ranking->count = 1;
    for (size_t i = 0; i < set->count; i++) {
        if (set->items[i] != chosen->endpoint) {
            ranking_add(scan, ranking, 1, set->items[i]);
        }
    }
}

// ---- choosing ----

// Ranks by tier and cost. False: there is none.
static bool choose_cheapest(const struct scan *scan, const struct endpoint_set *set, size_t keep,
                            struct ranking *ranking)
{
    ranking_init(ranking, keep);
    for (size_t i = 0; i < set->count; i++) {
        ranking_add(scan, ranking, 0, set->items[i]);
    }
    return ranking->count != 0;
}

// The point in [0, total) where this pick falls, on a line on which every endpoint is as long as
// its weight.
static uint64_t position(const struct scan *scan, uint64_t total, bool equal)
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

static bool choose_by_weight(const struct scan *scan, const struct endpoint_set *set,
                             struct view *chosen)
{
    unsigned tier = TIER_NONE;
    uint64_t total = 0, low = UINT64_MAX, high = 0;
    for (size_t i = 0; i < set->count; i++) {
        struct view view;
        view_endpoint(scan, set->items[i], &view);
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
        struct view view;
        view_endpoint(scan, set->items[i], &view);
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
static bool takes_session(const struct affinity *affinity, const struct view *view)
{
    if (affinity->by_hash && view->warmth < 1 &&
        (double)(affinity->hash & 0xfffff) * 0x1p-20 >= view->warmth) {
        return false;
    }
    return view->tier <= PICK_SKIP_WARMING;
}

// The endpoint to which the session belongs, or the next in the order of its draws that is well and
// not loaded beyond its bound. False: none is.
static bool choose_held(const struct scan *scan, const struct endpoint_set *set,
                        struct view *chosen)
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
        struct view view;
        struct endpoint *endpoint = set->items[i];
        if (!affinity->by_hash && endpoint != affinity->wanted) {
            continue;
        }
        view_endpoint(scan, endpoint, &view);
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
static bool probe_take(const struct scan *scan, const struct view *view)
{
    struct endpoint *endpoint = view->endpoint;
    if (LIKELY(atomic_load_explicit(&endpoint->failures_in_row, memory_order_relaxed) == 0) ||
        view->tier >= TIER_FAILING) {
        return true; // well, or the last resort anyway
    }
    uint64_t until = atomic_load_explicit(&endpoint->probe_until_ms, memory_order_relaxed);
    return until <= scan->request->now_ms &&
           atomic_compare_exchange_strong_explicit(
               &endpoint->probe_until_ms, &until, scan->request->now_ms + PROBE_LEASE_MS,
               memory_order_relaxed, memory_order_relaxed);
}

static void probe_give_back(const struct view *view)
{
    if (UNLIKELY(atomic_load_explicit(&view->endpoint->failures_in_row,
                                      memory_order_relaxed) != 0)) {
        atomic_store_explicit(&view->endpoint->probe_until_ms, 0, memory_order_relaxed);
    }
}

// Enters the request in the chosen endpoint's books. False: they changed since the scan.
static bool reserve(const struct view *view, bool exact)
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
static struct scan scan_of(struct backend_state *backend, const struct pick_request *request)
{
    return (struct scan){
        .backend = backend,
        .request = request,
        .prompt_tokens = backend_state_estimate_tokens(backend, request->prompt_bytes),
        .tie_seed = rand_u64(request->rng),
        .fading = sample_fading_of(backend),
        .panic = atomic_load_explicit(&backend->panic, memory_order_relaxed),
    };
}

int pick_endpoint(struct backend_state *backend, const struct pick_request *request,
                  bool allow_tried, struct reservation *ret, struct pick_trace *trace)
{
    const struct endpoint_set *set = backend_state_endpoints(backend);
    if (set->count == 0) {
        return -ENOENT;
    }
    struct scan scan = scan_of(backend, request);
    scan.mean_prompt = mean_prompt_update(backend, scan.prompt_tokens);

    struct ranking ranking;
    struct view chosen;
    bool held = request->affinity != NULL;
    bool by_cost = policy_has_cost(request->policy);
    for (unsigned round = 0;; round++) {
        held = held && round == 0 && choose_held(&scan, set, &chosen);
        bool ranked = !held && (by_cost || !choose_by_weight(&scan, set, &chosen));
        if (ranked) {
            if (!choose_cheapest(&scan, set, trace != NULL ? PICK_TRACE_MAX : 1, &ranking)) {
                return -EBUSY;
            }
            chosen = *ranking_get(&ranking, 0);
        }
        if ((chosen.tier >= TIER_TRIED && !allow_tried)) {
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
            rank_behind(&scan, set, &chosen, &ranking);
        }
        explain(&scan, set, &ranking, trace);
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
    struct scan scan = scan_of(backend, request);
    uint32_t mean = atomic_load_explicit(&backend->mean_prompt_tokens, memory_order_relaxed);
    scan.mean_prompt = mean != 0 ? (double)mean : (double)scan.prompt_tokens;
    struct ranking ranking;
    if (!choose_cheapest(&scan, set, PICK_TRACE_MAX, &ranking)) {
        return -ENOENT;
    }
    explain(&scan, set, &ranking, ret_trace);
    ret_trace->held = false;
    return 0;
}
