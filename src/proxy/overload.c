#include "proxy/overload.h"

#include <stdbool.h>

// Without overflow: limits are far below 2^57, and are checked where they are set.
static bool reaches(const struct overload *overload, uint64_t used, unsigned percent)
{
    return used >= overload->limit / 100 * percent;
}

enum overload_level overload_update(struct overload *overload, uint64_t used)
{
    enum overload_level level = overload_now(overload);
    if (overload->limit == 0 || !reaches(overload, used, OVERLOAD_END_PERCENT)) {
        level = OVERLOAD_NONE;
    } else if (reaches(overload, used, OVERLOAD_CONNECTIONS_PERCENT)) {
        level = OVERLOAD_CONNECTIONS;
    } else if (reaches(overload, used, OVERLOAD_REQUESTS_PERCENT)) {
        level = OVERLOAD_REQUESTS;
    } else if (level == OVERLOAD_CONNECTIONS) {
        level = OVERLOAD_REQUESTS; // on its way down
    }
    atomic_store_explicit(&overload->level, (uint32_t)level, memory_order_relaxed);
    return level;
}
