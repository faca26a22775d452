// Byte-string keys to pointers; open addressing. The map owns copies of its keys, not the values.
#pragma once

#include "base/macros.h"
#include "base/slice.h"

struct map_entry {
    struct slice key; // owned, NUL-terminated
    void *value;
    uint64_t hash;
    bool used;
};

// Zero-initialised is empty and valid.
struct map {
    struct map_entry *entries;
    size_t cap; // power of two, or 0
    size_t len;
};

void map_fini(struct map *map);

// NULL when absent.
void *map_get(const struct map *map, struct slice key);

// Inserts or replaces. Returns 0 or -ENOMEM; *ret_old (may be NULL) gets the replaced value or
// NULL.
MUST_CHECK int map_put(struct map *map, struct slice key, void *value, void **ret_old);

// Removes and returns the value; NULL when absent.
void *map_remove(struct map *map, struct slice key);

// Iterates in no order: `for (struct map_entry *e = NULL; (e = map_next(map, e)) != NULL;)`.
// The map must not change meanwhile.
struct map_entry *map_next(const struct map *map, struct map_entry *at);
