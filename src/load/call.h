// One request from the moment when it is due until its outcome is known.
#pragma once

#include "http/h1.h"
#include "load/plan.h"
#include "load/pool.h"
#include "load/tally.h"

struct load_call;

// What the calls of a run share.
struct load_env {
    struct loop *loop;
    const struct load_config *config;
    struct load_plan *plan;
    struct load_pool *pools; // one for each target
    struct load_tally *tally;
    struct strbuf body; // scratch
    uint64_t now_ns;    // when the bytes that are being read came
    struct list_node calls;
    // Told when a call is over; it is gone already. Calls may end inside load_call_start.
    void (*on_end)(struct load_env *env, enum load_failure failure);
};

// Sends the request. due_ns: when it should have been sent (monotonic); counted: it goes into the
// tally. Every start is followed by one on_end.
void load_call_start(struct load_env *env, const struct load_spec *spec, uint64_t due_ns,
                     bool counted);

// Ends all calls as "unfinished".
void load_call_abort_all(struct load_env *env);
