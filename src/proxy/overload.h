// Is there memory for more? One thread says how much the process has, workers ask before they begin
// something new. What has begun goes on: that is what the room above the first threshold is for.
#pragma once

#include <stdatomic.h>
#include <stdint.h>

enum overload_level {
    OVERLOAD_NONE,
    OVERLOAD_REQUESTS,    // no new requests: each is answered with 503
    OVERLOAD_CONNECTIONS, // nor connections
};

struct overload {
    uint64_t limit;         // bytes; 0 = none. Constant once workers run.
    _Atomic uint32_t level; // enum overload_level; relaxed: it stands for nothing but itself
};

// Shares of the limit in percent from which on there is a level, and below which it ends.
enum {
    OVERLOAD_REQUESTS_PERCENT = 90,
    OVERLOAD_CONNECTIONS_PERCENT = 95,
    OVERLOAD_END_PERCENT = 85,
};

// `used`: bytes that the process has now. Returns the level, which workers see from now on. One
// thread.
enum overload_level overload_update(struct overload *overload, uint64_t used);

static inline enum overload_level overload_now(const struct overload *overload)
{
    return (enum overload_level)atomic_load_explicit(&overload->level, memory_order_relaxed);
}
