// The endpoints of a backend in the order in which a pick would take them. Of the picker only.
#pragma once

#include "endpoint/pick_view.h"

// The best endpoints of a scan. Views stay in the slot where they were made, and only their numbers
// are sorted: most endpoints of a large backend are looked at and forgotten.
struct pick_ranking {
    struct pick_view slots[PICK_TRACE_MAX + 1];
    uint8_t order[PICK_TRACE_MAX]; // slots, best first
    uint8_t spare;                 // the slot for the next one to be looked at
    size_t count;
    size_t keep; // so many of the best; the rest is forgotten
};

// The best `keep` (at most PICK_TRACE_MAX) by tier and cost. False: there is none.
bool pick_ranking_fill(const struct pick_scan *scan, const struct endpoint_set *set, size_t keep,
                       struct pick_ranking *ranking);

// For policies without a cost: the chosen one in front, others behind it.
void pick_ranking_behind(const struct pick_scan *scan, const struct endpoint_set *set,
                         const struct pick_view *chosen, struct pick_ranking *ranking);

static inline const struct pick_view *pick_ranking_at(const struct pick_ranking *ranking,
                                                      size_t place)
{
    return &ranking->slots[ranking->order[place]];
}

// Puts all of it into a trace.
void pick_ranking_explain(const struct pick_scan *scan, const struct endpoint_set *set,
                          const struct pick_ranking *ranking, struct pick_trace *trace);
