// What the workers hold at this moment, for people who look for a fault. Each worker writes its own
// part on its own thread, between two turns of its loop; nothing is looked at from outside. Names
// and figures only: no header, no body, no prompt.
#pragma once

#include <stdint.h>

#include "base/strbuf.h"
#include "proxy/proxy.h"

enum {
    DUMP_MOST_DEFAULT = 20, // connections and requests of each worker, the oldest
    DUMP_MOST_MAX = 1000,
    DUMP_WAIT_MS = 500,
};

// Appends the member "workers" to an object: an array. Waits for the workers for DUMP_WAIT_MS at
// most; of one that does not answer in time only that is said. Any thread but a worker's, and the
// proxy must not stop meanwhile.
void dump_workers(struct proxy *proxy, unsigned most, struct strbuf *out);

// Appends the member "limits": what the workers were told.
void dump_limits(const struct proxy *proxy, struct strbuf *out);
