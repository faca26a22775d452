#include "endpoint/pick_ranking.h"

static void ranking_init(struct pick_ranking *ranking, size_t keep)
{
    ranking->count = 0;
    ranking->keep = keep;
    ranking->spare = 0;
}

// Looks at an endpoint and puts it in its place. `from` places at the front are taken and not
// compared with.
static void ranking_add(const struct pick_scan *scan, struct pick_ranking *ranking, size_t from,
                        struct endpoint *endpoint)
{
    uint8_t slot = ranking->spare;
    const struct pick_view *view = &ranking->slots[slot];
    pick_view_fill(scan, endpoint, &ranking->slots[slot]);
    size_t at = ranking->count;
    if (at == ranking->keep) {
        if (!pick_view_better(view, pick_ranking_at(ranking, at - 1))) {
            return;
        }
        ranking->spare = ranking->order[--at];
    } else {
        ranking->spare = (uint8_t)++ranking->count;
    }
    for (; at > from && pick_view_better(view, pick_ranking_at(ranking, at - 1)); at--) {
        ranking->order[at] = ranking->order[at - 1];
    }
    ranking->order[at] = slot;
}

bool pick_ranking_fill(const struct pick_scan *scan, const struct endpoint_set *set, size_t keep,
                       struct pick_ranking *ranking)
{
    ranking_init(ranking, keep);
    for (size_t i = 0; i < set->count; i++) {
        ranking_add(scan, ranking, 0, set->items[i]);
    }
    return ranking->count != 0;
}

void pick_ranking_behind(const struct pick_scan *scan, const struct endpoint_set *set,
                         const struct pick_view *chosen, struct pick_ranking *ranking)
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

void pick_ranking_explain(const struct pick_scan *scan, const struct endpoint_set *set,
                          const struct pick_ranking *ranking, struct pick_trace *trace)
{
    trace->policy = scan->request->policy;
    trace->candidate_count = (uint32_t)MIN_OF(set->count, (size_t)UINT32_MAX);
    trace->recorded = (uint32_t)ranking->count;
    for (size_t i = 0; i < ranking->count; i++) {
        pick_view_explain(scan, pick_ranking_at(ranking, i), &trace->candidates[i]);
    }
}
