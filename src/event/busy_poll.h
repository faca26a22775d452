// Whether looking again for a short while is better than sleeping. A thread that sleeps for
// microseconds pays more for falling asleep and for being woken than for the wait; one that sleeps
// for milliseconds must not burn a core. So waits of late decide: after a few that were shorter
// than the limit the next one is spent looking, and one that was longer takes as much trust as
// several short ones gave.
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { BUSY_POLL_TRUST_NEEDED = 4, BUSY_POLL_TRUST_MAX = 16, BUSY_POLL_TRUST_LOST = 4 };

struct busy_poll {
    uint64_t limit_ns; // of one wait; 0 = never
    unsigned trust;
};

static inline bool busy_poll_pays(const struct busy_poll *poll)
{
    return poll->trust >= BUSY_POLL_TRUST_NEEDED;
}

// A wait is over that took so long, spent looking or sleeping.
static inline void busy_poll_note(struct busy_poll *poll, uint64_t waited_ns)
{
    if (waited_ns < poll->limit_ns) {
        poll->trust += poll->trust < BUSY_POLL_TRUST_MAX;
    } else {
        poll->trust -= poll->trust < BUSY_POLL_TRUST_LOST ? poll->trust : BUSY_POLL_TRUST_LOST;
    }
}
