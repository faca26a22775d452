// One endpoint as one pick sees it, and what it costs. Of the picker, and of who writes samples.
#pragma once

#include "endpoint/pick.h"

// Better first: enum pick_skip, and behind all of these who was tried.
enum pick_tier {
    PICK_TIER_FREE = PICK_SKIP_NONE,
    PICK_TIER_FAILING = PICK_SKIP_FAILING,
    PICK_TIER_TRIED = PICK_SKIP_COUNT, // added to the others
    PICK_TIER_NONE = 2 * PICK_TIER_TRIED,
};

// What stays the same over all endpoints of one pick.
struct pick_scan {
    struct backend_state *backend;
    const struct pick_request *request;
    double mean_prompt;
    uint64_t prompt_tokens;
    uint64_t tie_seed;
    struct sample_fading fading;
    bool panic; // of the backend: ejections and checks do not count
};

// One endpoint as a pick sees it. Which terms its cost is made of, pick_view_explain works
// out for the few that are explained.
struct pick_view {
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

// Fills sample->digest from the rest of the sample. endpoint_sample_write calls it.
void pick_view_digest(struct endpoint_sample *sample);

// Fills what all policies need and the cost for those that have one: in tokens of prefill work for
// InferenceAware, in requests for LeastRequest, 0 for the others.
void pick_view_fill(const struct pick_scan *scan, struct endpoint *endpoint,
                    struct pick_view *view);

static inline bool pick_view_better(const struct pick_view *a, const struct pick_view *b)
{
    if (a->tier != b->tier) {
        return a->tier < b->tier;
    }
    if (a->cost < b->cost || a->cost > b->cost) {
        return a->cost < b->cost;
    }
    return a->tie > b->tie;
}

// The terms of the cost. They come from the sample as it is now: another one than the cost was made
// of only when it was replaced in this very moment.
void pick_view_explain(const struct pick_scan *scan, const struct pick_view *view,
                       struct pick_candidate *candidate);
