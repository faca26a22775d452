// A load run on a loop: sends what the plan says when it says so, whatever the answers do.
#pragma once

#include "base/error.h"
#include "event/loop.h"
#include "load/config.h"
#include "load/tally.h"

struct load_run;

// Told once, at the end of a turn, when everything is over.
typedef void load_run_done_cb(void *arg);

// The configuration and the tally must outlive the run. 0, or a negative code with why.
MUST_CHECK int load_run_new(struct loop *loop, const struct load_config *config,
                            struct load_tally *tally, load_run_done_cb *done, void *arg,
                            struct load_run **ret_run, struct error *err);

// Ends what is under way, silently. NULL is fine.
void load_run_free(struct load_run *run);

// Sends no more and waits for what is under way, at most config->drain_ns.
void load_run_stop(struct load_run *run);

// Counts what is under way as unfinished and ends.
void load_run_abort(struct load_run *run);

struct load_progress {
    uint64_t elapsed_ns;
    uint64_t sent; // warm-up included
    uint64_t over;
    uint64_t failed;
    uint64_t in_flight;
    uint64_t waiting; // due, but held back by the cap
};
struct load_progress load_run_progress(const struct load_run *run);
