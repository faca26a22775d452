// Shadow traffic: a copy of a request on its way to another backend, whose answer nobody hears. It
// is a request like any other, on a stream that takes everything and says nothing; but it is never
// tried again, is in no log and in no metric but its own, and gives way: where there is no room for
// a copy, none is made.
#pragma once

#include "proxy/request.h"

enum {
    MIRRORS_MAX = 256,                   // at a time, of a worker
    MIRROR_BODY_MAX = 1024 * 1024,       // of one copy, head included
    MIRROR_BYTES_MAX = 16 * 1024 * 1024, // of all copies of a worker
    MIRROR_ANSWER_MAX = 16 * 1024 * 1024,
    MIRROR_TIME_MAX_MS = 300 * 1000, // from beginning to end
};

// The body is worth waiting for, although no rule looks into it: it is short, and says so.
bool mirror_takes(const struct request *request);
static inline bool mirror_wants(const struct request *request, const struct snap_rule *rule)
{
    return UNLIKELY(rule->mirror != NULL) && mirror_takes(request);
}

// Makes the copy that the rule of this request asks for, now that the request itself is on its way,
// and sends it. Changes nothing in the request.
void mirror_start(const struct request *request);

// A copy ended: counts how.
void mirror_settle(const struct request *copy);

// Ends all copies; then frees what ended.
void mirror_cut_all(struct worker *worker);
void mirror_reap(struct worker *worker);
