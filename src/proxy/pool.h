// Idle keep-alive connections to endpoints, per worker. Last in, first out, so that the surplus
// ages out.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "proxy/endpoint_lists.h"

struct upstream;
struct worker;

struct upstream_pool {
    struct endpoint_lists by_endpoint;
    uint32_t *counts; // by endpoint id
    size_t count_cap;
    struct list_node by_age; // oldest first
};

void upstream_pool_init(struct upstream_pool *pool);
void upstream_pool_fini(struct upstream_pool *pool); // must be empty

// A connection to this endpoint, or NULL. It is the caller's now. The newest of those that became
// idle before this turn of the loop, where there is one: the loop has looked at it since.
struct upstream *upstream_pool_take(struct upstream_pool *pool, uint32_t endpoint_id,
                                    uint64_t turn);

// Puts an idle connection in; false when the endpoint has `max` already or memory is out.
bool upstream_pool_put(struct upstream_pool *pool, struct upstream *upstream, uint32_t max);

// Takes one out wherever it is.
void upstream_pool_remove(struct upstream_pool *pool, struct upstream *upstream);

// The one that is idle longest, or NULL; still in the pool.
struct upstream *upstream_pool_oldest(const struct upstream_pool *pool);
