// Patterns of route owners: PCRE2, anchored at both ends, with bounds on the effort of a match, so
// that no pattern can stall a worker.
#pragma once

#include "snapshot/snapshot.h"

enum {
    SNAP_REGEX_PATTERN_MAX = 1024,
    SNAP_REGEX_MATCH_LIMIT = 10000, // backtracking steps; beyond it the text does not match
    SNAP_REGEX_DEPTH_LIMIT = 500,
    SNAP_REGEX_HEAP_LIMIT_KIB = 1024,
};

bool snap_regex_matches(const struct snap_regex *regex, struct slice text);
// Frees the calling thread's scratch space; before a worker thread ends.
void snap_regex_thread_fini(void);

void snap_regex_free_all(struct snap_regex *list);
