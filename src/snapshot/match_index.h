// Finds the entries of a host that a request can reach at all, in their order, without a look at
// each one: by the path of the match, then by the model. It only leaves out what cannot hold;
// whoever walks still checks each entry that it names. Immutable once built; a small host has none.
#pragma once

#include "base/macros.h"
#include "base/slice.h"

struct snap_host;
struct match_index;

enum {
    MATCH_INDEX_DEPTH_MAX = 8, // prefixes of more segments are not told apart by path
    MATCH_INDEX_LISTS_MAX = 2 * (MATCH_INDEX_DEPTH_MAX + 3),
};

// *ret_index = NULL when the host has too few entries to gain from it. 0 or -ENOMEM.
MUST_CHECK int match_index_new(const struct snap_host *host, struct match_index **ret_index);
void match_index_free(struct match_index *index);

enum match_reach {
    MATCH_REACH_ALL,      // whatever the entry says about models
    MATCH_REACH_NO_MODEL, // entries that take a request without a model
    MATCH_REACH_MODEL,    // entries that may take this model
};

struct match_cursor {
    struct {
        const uint32_t *at;
        const uint32_t *end;
    } lists[MATCH_INDEX_LISTS_MAX];
    unsigned count;
    uint32_t next; // without an index: every entry
    uint32_t total;
};

// `model` counts for MATCH_REACH_MODEL only.
void match_cursor_init(struct match_cursor *cursor, const struct snap_host *host, struct slice path,
                       enum match_reach reach, struct slice model);

// The next entry's number, in ascending order; false at the end.
bool match_cursor_next(struct match_cursor *cursor, uint32_t *ret_entry);
