#include "endpoint/pick_view.h"

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

static bool was_tried(const struct pick_request *request, uint32_t id)
{
    for (size_t i = 0; i < request->tried_count; i++) {
        if (request->tried[i] == id) {
            return true;
        }
    }
    return false;
}

static uint64_t own_tokens(const struct pick_scan *scan, const struct endpoint *endpoint)
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

void pick_view_digest(struct endpoint_sample *sample)
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
static __attribute__((noinline)) unsigned tier_of_health(const struct pick_scan *scan,
                                                         struct pick_view *view, uint32_t flags)
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
        return (double)(view->tie & 0xfffff) * 0x1p-20 < view->warmth ? PICK_TIER_FREE
                                                                      : PICK_SKIP_WARMING;
    }
    return PICK_TIER_FREE;
}

static unsigned tier_of(const struct pick_scan *scan, struct pick_view *view)
{
    const struct endpoint *endpoint = view->endpoint;
    uint64_t now_ms = scan->request->now_ms;
    unsigned tier = view->kv_full ? (unsigned)PICK_SKIP_KV_FULL : PICK_TIER_FREE;
    if (view->overloaded) {
        tier = PICK_SKIP_OVERLOADED;
    }
    // Relaxed: hints, each meaningful alone.
    if (UNLIKELY(atomic_load_explicit(&endpoint->failures_in_row, memory_order_relaxed) != 0) &&
        (scan->request->only_well ||
         atomic_load_explicit(&endpoint->avoid_until_ms, memory_order_relaxed) > now_ms ||
         atomic_load_explicit(&endpoint->probe_until_ms, memory_order_relaxed) > now_ms)) {
        tier = PICK_TIER_FAILING;
    }
    uint32_t flags = atomic_load_explicit(&endpoint->health_flags, memory_order_relaxed);
    if (UNLIKELY(flags != 0)) {
        tier = MAX_OF(tier, tier_of_health(scan, view, flags));
    }
    if (scan->request->tried_count > 0 && was_tried(scan->request, endpoint->id)) {
        tier += PICK_TIER_TRIED;
    }
    return tier;
}

static uint64_t tie_key(const struct pick_scan *scan, const struct endpoint *endpoint)
{
    uint64_t key = (scan->tie_seed ^ endpoint->id) * UINT64_C(0x9e3779b97f4a7c15);
    key ^= key >> 32;
    return key * UINT64_C(0xd6e8feb86659fd93);
}

// Would the prompt, with what was sent there since the sample, overflow the KV cache? An overflow
// preempts running requests, whose work is then done twice. Only fresh samples can tell.
static bool kv_is_full(const struct pick_view *view, const struct sample_digest *digest,
                       uint64_t tokens_reserved)
{
    uint64_t since = tokens_reserved - MIN_OF(tokens_reserved, digest->tokens_reserved);
    return view->share >= KV_TRUST &&
           digest->kv_free_tokens < (double)(int64_t)(view->own_tokens + since);
}

// What is there already weighs more while it warms up: full at half the load of the others, it gets
// half of their share.
static double warming_cost(const struct pick_scan *scan, const struct pick_view *view)
{
    double own = scan->request->policy == PICK_INFERENCE_AWARE
                     ? (double)(int64_t)(2 * view->own_tokens)
                     : MIN_OF(view->cost, 1.0);
    return own + (view->cost - own) / view->warmth;
}

void pick_view_fill(const struct pick_scan *scan, struct endpoint *endpoint,
                    struct pick_view *view)
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

void pick_view_explain(const struct pick_scan *scan, const struct pick_view *view,
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
        .skip = (enum pick_skip)(view->tier % PICK_TIER_TRIED),
        .tried = view->tier >= PICK_TIER_TRIED,
        .avoided = view->tier != PICK_TIER_FREE,
        .kv_full = view->kv_full,
        .overloaded = view->overloaded,
    };
    size_t len = strnlen(view->endpoint->text, sizeof(candidate->text) - 1);
    memcpy(candidate->text, view->endpoint->text, len);
    candidate->text[len] = '\0';
}
