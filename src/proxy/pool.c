#include "proxy/pool.h"

#include <stdlib.h>

#include "proxy/upstream_h1.h"

// Over how many connections that became idle in this turn a take looks for an older one.
enum { LOOK_BACK = 16 };

void upstream_pool_init(struct upstream_pool *pool)
{
    *pool = (struct upstream_pool){0};
    list_init(&pool->by_age);
}

void upstream_pool_fini(struct upstream_pool *pool)
{
    endpoint_lists_fini(&pool->by_endpoint);
    free(pool->counts);
    pool->counts = NULL;
    pool->count_cap = 0;
}

static bool make_count(struct upstream_pool *pool, uint32_t id)
{
    size_t cap = pool->by_endpoint.cap; // above every id that has a list
    if (id < pool->count_cap) {
        return true;
    }
    uint32_t *counts = realloc(pool->counts, cap * sizeof(*counts));
    if (counts == NULL) {
        return false;
    }
    for (size_t i = pool->count_cap; i < cap; i++) {
        counts[i] = 0;
    }
    pool->counts = counts;
    pool->count_cap = cap;
    return true;
}

struct upstream *upstream_pool_take(struct upstream_pool *pool, uint32_t endpoint_id, uint64_t turn)
{
    struct list_node *head = endpoint_lists_at(&pool->by_endpoint, endpoint_id);
    if (head == NULL || list_empty(head)) {
        return NULL;
    }
    struct list_node *node = head->prev;
    for (int i = 0; i < LOOK_BACK && node != head; i++, node = node->prev) {
        struct upstream *upstream = container_of(node, struct upstream, pool_node);
        if (upstream->idle_turn != turn) {
            upstream_pool_remove(pool, upstream);
            return upstream;
        }
    }
    struct upstream *newest = list_last(head, struct upstream, pool_node);
    upstream_pool_remove(pool, newest);
    return newest;
}

bool upstream_pool_put(struct upstream_pool *pool, struct upstream *upstream, uint32_t max)
{
    uint32_t id = upstream->endpoint->id;
    struct list_node *head = endpoint_lists_make(&pool->by_endpoint, id);
    if (head == NULL || !make_count(pool, id) || pool->counts[id] >= max) {
        return false;
    }
    list_push_back(head, &upstream->pool_node);
    list_push_back(&pool->by_age, &upstream->age_node);
    pool->counts[id]++;
    return true;
}

void upstream_pool_remove(struct upstream_pool *pool, struct upstream *upstream)
{
    list_remove(&upstream->pool_node);
    list_remove(&upstream->age_node);
    pool->counts[upstream->endpoint->id]--;
}

struct upstream *upstream_pool_oldest(const struct upstream_pool *pool)
{
    return list_empty(&pool->by_age) ? NULL : list_first(&pool->by_age, struct upstream, age_node);
}
