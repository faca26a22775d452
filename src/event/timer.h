// Hierarchical timer wheel: millisecond resolution, O(1) set and cancel, entries embedded in their
// owners. One wheel per loop, used by its thread only.
//
// For a deadline that moves on every byte, do not set again each time: remember the deadline and
// set the rest when the timer fires.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

struct timer;
typedef void timer_cb(struct timer *timer, void *arg);

// Zero-initialised is idle. Must not move or be freed while set.
struct timer {
    struct list_node node; // next == NULL when never set
    uint64_t deadline_ms;
    timer_cb *cb;
    void *arg;
    uint8_t level;
    uint8_t slot;
    bool is_set;
};

enum { TIMER_LEVELS = 5, TIMER_SLOT_BITS = 6, TIMER_SLOTS = 1 << TIMER_SLOT_BITS };

struct timer_wheel {
    struct list_node slots[TIMER_LEVELS][TIMER_SLOTS];
    uint64_t occupied[TIMER_LEVELS]; // a bit for each slot that is not empty
    uint64_t now_ms;
    uint64_t count;
};

void timer_wheel_init(struct timer_wheel *wheel, uint64_t now_ms);

// (Re)arms. A deadline in the past fires at the next timer_wheel_advance. Deadlines beyond about
// 12 days are cut to that and re-armed by the wheel itself.
void timer_wheel_set(struct timer_wheel *wheel, struct timer *timer, uint64_t deadline_ms,
                     timer_cb *cb, void *arg);
void timer_wheel_cancel(struct timer_wheel *wheel, struct timer *timer);

static inline bool timer_is_set(const struct timer *timer)
{
    return timer->is_set;
}

// Fires everything due at now_ms, in order of slots. Callbacks may set and cancel any timer.
void timer_wheel_advance(struct timer_wheel *wheel, uint64_t now_ms);

// Milliseconds until something may have to be done (never later than the next deadline; it may be
// earlier, when a coarse slot must be spread out); -1 when no timer is set.
int64_t timer_wheel_next_ms(const struct timer_wheel *wheel);
