#include "endpoint/retry_budget.h"

// The books of the endpoints know it, and it is asked only when something failed: requests that go
// well need not count themselves.
static uint64_t outstanding(struct backend_state *backend)
{
    const struct endpoint_set *set = backend_state_endpoints(backend);
    uint64_t sum = 0;
    for (size_t i = 0; i < set->count; i++) {
        sum += load_requests(atomic_load_explicit(&set->items[i]->load, memory_order_relaxed));
    }
    return sum;
}

bool retry_budget_take(struct backend_state *backend, const struct retry_budget *budget)
{
    uint64_t limit = outstanding(backend) * budget->percent / 100;
    limit = MAX_OF(limit, (uint64_t)budget->min_concurrency);
    // Relaxed: a count and nothing else; whoever finds it full puts it back.
    if (atomic_fetch_add_explicit(&backend->retries, 1, memory_order_relaxed) < limit) {
        return true;
    }
    retry_budget_give(backend);
    return false;
}

void retry_budget_give(struct backend_state *backend)
{
    atomic_fetch_sub_explicit(&backend->retries, 1, memory_order_relaxed);
}
