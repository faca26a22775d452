#include "proxy/endpoint_lists.h"

#include <stdlib.h>

enum { FIRST_CAP = 16 };

void endpoint_lists_fini(struct endpoint_lists *lists)
{
    free(lists->heads);
    *lists = (struct endpoint_lists){0};
}

struct list_node *endpoint_lists_at(const struct endpoint_lists *lists, uint32_t endpoint_id)
{
    return endpoint_id < lists->cap ? &lists->heads[endpoint_id] : NULL;
}

struct list_node *endpoint_lists_make(struct endpoint_lists *lists, uint32_t endpoint_id)
{
    if (endpoint_id < lists->cap) {
        return &lists->heads[endpoint_id];
    }
    size_t cap = lists->cap != 0 ? lists->cap : FIRST_CAP;
    while (cap <= endpoint_id) {
        cap *= 2;
    }
    struct list_node *heads = malloc(cap * sizeof(*heads));
    if (heads == NULL) {
        return NULL;
    }
    // Heads move with the array, so every ring is tied anew.
    for (size_t i = 0; i < cap; i++) {
        list_init(&heads[i]);
        if (i < lists->cap && !list_empty(&lists->heads[i])) {
            heads[i] = lists->heads[i];
            heads[i].next->prev = &heads[i];
            heads[i].prev->next = &heads[i];
        }
    }
    free(lists->heads);
    lists->heads = heads;
    lists->cap = cap;
    return &heads[endpoint_id];
}
