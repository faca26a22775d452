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
    free(pool->by_endpoint);
    free(pool->counts);
    pool->by_endpoint = NULL;
    pool->counts = NULL;
    pool->cap = 0;
}

// List heads move with the array, so every ring is re-tied.
static bool pool_grow(struct upstream_pool *pool, uint32_t id)
{
    size_t cap = pool->cap != 0 ? pool->cap : 16;
    while (cap <= id) {
        cap *= 2;
    }
    struct list_node *heads = malloc(cap * sizeof(*heads));
    uint32_t *counts = calloc(cap, sizeof(*counts));
    if (heads == NULL || counts == NULL) {
        free(heads);
        free(counts);
        return false;
    }
    for (size_t i = 0; i < cap; i++) {
        list_init(&heads[i]);
        if (i < pool->cap && !list_empty(&pool->by_endpoint[i])) {
            heads[i] = pool->by_endpoint[i];
            heads[i].next->prev = &heads[i];
            heads[i].prev->next = &heads[i];
        }
        counts[i] = i < pool->cap ? pool->counts[i] : 0;
    }
    free(pool->by_endpoint);
    free(pool->counts);
    pool->by_endpoint = heads;
    pool->counts = counts;
    pool->cap = cap;
    return true;
}

struct upstream *upstream_pool_take(struct upstream_pool *pool, uint32_t endpoint_id, uint64_t turn)
{
    if (endpoint_id >= pool->cap || list_empty(&pool->by_endpoint[endpoint_id])) {
        return NULL;
    }
    struct list_node *head = &pool->by_endpoint[endpoint_id];
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
    if ((id >= pool->cap && !pool_grow(pool, id)) || pool->counts[id] >= max) {
        return false;
    }
    list_push_back(&pool->by_endpoint[id], &upstream->pool_node);
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
