#include "base/map.h"

#include <errno.h>
#include <stdlib.h>

#include "base/hash.h"

void map_fini(struct map *map)
{
    for (size_t i = 0; i < map->cap; i++) {
        if (map->entries[i].used) {
            free((char *)(uintptr_t)map->entries[i].key.ptr);
        }
    }
    free(map->entries);
    *map = (struct map){0};
}

// The slot of the key, or the free slot where it belongs. The table is never full.
static struct map_entry *map_slot(struct map_entry *entries, size_t cap, struct slice key,
                                  uint64_t hash)
{
    for (size_t i = (size_t)hash & (cap - 1);; i = (i + 1) & (cap - 1)) {
        struct map_entry *entry = &entries[i];
        if (!entry->used || (entry->hash == hash && slice_eq(entry->key, key))) {
            return entry;
        }
    }
}

void *map_get(const struct map *map, struct slice key)
{
    if (map->cap == 0) {
        return NULL;
    }
    struct map_entry *entry = map_slot(map->entries, map->cap, key, hash_bytes(key));
    return entry->used ? entry->value : NULL;
}

static int map_rehash(struct map *map, size_t cap)
{
    struct map_entry *entries = calloc(cap, sizeof(*entries));
    if (entries == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < map->cap; i++) {
        struct map_entry *old = &map->entries[i];
        if (old->used) {
            *map_slot(entries, cap, old->key, old->hash) = *old;
        }
    }
    free(map->entries);
    map->entries = entries;
    map->cap = cap;
    return 0;
}

int map_put(struct map *map, struct slice key, void *value, void **ret_old)
{
    if (map->len + 1 > map->cap / 4 * 3) {
        int rc = map_rehash(map, map->cap != 0 ? map->cap * 2 : 16);
        if (rc != 0) {
            return rc;
        }
    }
    uint64_t hash = hash_bytes(key);
    struct map_entry *entry = map_slot(map->entries, map->cap, key, hash);
    void *old = NULL;
    if (entry->used) {
        old = entry->value;
    } else {
        char *copy = slice_dup(key);
        if (copy == NULL) {
            return -ENOMEM;
        }
        *entry = (struct map_entry){.key = slice_of(copy, key.len), .hash = hash, .used = true};
        map->len++;
    }
    entry->value = value;
    if (ret_old != NULL) {
        *ret_old = old;
    }
    return 0;
}

void *map_remove(struct map *map, struct slice key)
{
    if (map->cap == 0) {
        return NULL;
    }
    struct map_entry *entry = map_slot(map->entries, map->cap, key, hash_bytes(key));
    if (!entry->used) {
        return NULL;
    }
    void *value = entry->value;
    free((char *)(uintptr_t)entry->key.ptr);
    *entry = (struct map_entry){0};
    map->len--;
    // Close the gap: move back what the probe sequence had carried past it.
    size_t gap = (size_t)(entry - map->entries);
    size_t mask = map->cap - 1;
    for (size_t i = (gap + 1) & mask; map->entries[i].used; i = (i + 1) & mask) {
        size_t home = (size_t)map->entries[i].hash & (map->cap - 1);
        if (((i - home) & (map->cap - 1)) >= ((i - gap) & (map->cap - 1))) {
            map->entries[gap] = map->entries[i];
            map->entries[i] = (struct map_entry){0};
            gap = i;
        }
    }
    return value;
}

struct map_entry *map_next(const struct map *map, struct map_entry *at)
{
    size_t i = at != NULL ? (size_t)(at - map->entries) + 1 : 0;
    for (; i < map->cap; i++) {
        if (map->entries[i].used) {
            return &map->entries[i];
        }
    }
    return NULL;
}
