// The end of client connections, once nobody new is let in: each gets its turn at a moment drawn
// evenly over a window, so that thousands of clients do not come to the other replicas in the same
// instant. What its turn means is the business of its protocol (downstream_protocol.drain).
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "event/loop.h"

struct worker;
struct downstream;

struct drain {
    struct timer timer;
    struct list_node *next; // in worker->downstreams: whose turn comes next; NULL: not yet, or over
    size_t left;            // from there on
    uint64_t end_ms;
};

// The worker's listeners are closed. The window is config->drain_window_ms; 0: all at once.
void drain_start(struct worker *worker);

// The connection is about to leave the worker's list.
void drain_skip(struct worker *worker, const struct downstream *down);

// No more turns.
void drain_stop(struct worker *worker);
