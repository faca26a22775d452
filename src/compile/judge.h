// From findings and endpoints to the status that an object is to have. Pure.
#pragma once

#include "compile/compile.h"

// What is known of a backend's endpoints at the moment.
struct backend_view {
    const struct resolution *resolution; // NULL: the backend is not accepted
    const char *engine;                  // NULL or "": not known yet
    const char *metrics_found;           // NULL or "": none
};

// `published`: the snapshot with this finding is the current one. False when out of memory (*ret is
// empty then); else *ret is the caller's to finish.
MUST_CHECK bool judge_backend_status(const struct finding *finding, const struct backend_view *view,
                                     bool published, struct object_status *ret);

// ready_count(arg, key): endpoints of that backend that take requests; 0 for an unknown one.
typedef size_t judge_ready_fn(void *arg, struct slice backend_key);
MUST_CHECK bool judge_route_status(const struct finding *finding, bool published,
                                   judge_ready_fn *ready_count, void *arg,
                                   struct object_status *ret);
