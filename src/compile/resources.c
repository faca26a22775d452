#include "compile/resources.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { SERVICE_KEY_MAX = 63 + 1 + 253 + 1 };

void resources_fini(struct resources *resources)
{
    for (size_t kind = 0; kind < OBJECT_KIND_COUNT; kind++) {
        struct map *map = &resources->objects[kind];
        for (struct map_entry *e = NULL; (e = map_next(map, e)) != NULL;) {
            object_unref(e->value);
        }
        map_fini(map);
    }
    for (struct map_entry *e = NULL; (e = map_next(&resources->slices_of, e)) != NULL;) {
        struct resource_list *list = e->value;
        VEC_FINI(&list->list);
        free(list);
    }
    map_fini(&resources->slices_of);
}

// "namespace/service" of an EndpointSlice; empty when it belongs to none.
static struct slice service_key(const struct object *slice, char *buf, size_t size)
{
    struct slice service = slice->endpointslice->service;
    if (service.len == 0) {
        return SLICE_NULL;
    }
    int n = snprintf(buf, size, "%.*s/%.*s", SLICE_FMT(slice->namespace), SLICE_FMT(service));
    return n > 0 && (size_t)n < size ? slice_of(buf, (size_t)n) : SLICE_NULL;
}

static void unlink_slice(struct resources *resources, const struct object *slice)
{
    char buf[SERVICE_KEY_MAX];
    struct slice key = service_key(slice, buf, sizeof(buf));
    struct resource_list *found = key.len > 0 ? map_get(&resources->slices_of, key) : NULL;
    if (found == NULL) {
        return;
    }
    for (size_t i = 0; i < found->list.len; i++) {
        if (found->list.items[i] == slice) {
            found->list.items[i] = found->list.items[--found->list.len];
            break;
        }
    }
    if (found->list.len == 0) {
        map_remove(&resources->slices_of, key);
        VEC_FINI(&found->list);
        free(found);
    }
}

static int link_slice(struct resources *resources, struct object *slice)
{
    char buf[SERVICE_KEY_MAX];
    struct slice key = service_key(slice, buf, sizeof(buf));
    if (key.len == 0) {
        return 0;
    }
    struct resource_list *found = map_get(&resources->slices_of, key);
    if (found == NULL) {
        found = calloc(1, sizeof(*found));
        if (found == NULL || map_put(&resources->slices_of, key, found, NULL) < 0) {
            free(found);
            return -ENOMEM;
        }
    }
    return VEC_PUSH(&found->list, slice) ? 0 : -ENOMEM;
}

int resources_put(struct resources *resources, struct object *object)
{
    if (object->kind == OBJECT_ENDPOINTSLICE && link_slice(resources, object) < 0) {
        return -ENOMEM;
    }
    void *old = NULL;
    if (map_put(&resources->objects[object->kind], object->key, object, &old) < 0) {
        if (object->kind == OBJECT_ENDPOINTSLICE) {
            unlink_slice(resources, object);
        }
        return -ENOMEM;
    }
    object_ref(object);
    if (old != NULL) {
        if (object->kind == OBJECT_ENDPOINTSLICE) {
            unlink_slice(resources, old);
        }
        object_unref(old);
    }
    return 0;
}

bool resources_remove(struct resources *resources, enum object_kind kind, struct slice key)
{
    struct object *old = map_remove(&resources->objects[kind], key);
    if (old != NULL && kind == OBJECT_ENDPOINTSLICE) {
        unlink_slice(resources, old);
    }
    object_unref(old);
    return old != NULL;
}

struct object *resources_get(const struct resources *resources, enum object_kind kind,
                             struct slice key)
{
    return map_get(&resources->objects[kind], key);
}

const struct resource_list *resources_slices(const struct resources *resources,
                                             struct slice service_key_)
{
    return map_get(&resources->slices_of, service_key_);
}

static int compare_age(const void *a, const void *b)
{
    const struct object *x = *(struct object *const *)a;
    const struct object *y = *(struct object *const *)b;
    if (x->created != y->created) {
        return x->created < y->created ? -1 : 1;
    }
    return slice_cmp(x->key, y->key);
}

int resources_sorted(const struct resources *resources, enum object_kind kind,
                     struct object ***ret_objects, size_t *ret_count)
{
    const struct map *map = &resources->objects[kind];
    struct object **objects = calloc(map->len + 1, sizeof(struct object *));
    if (objects == NULL) {
        return -ENOMEM;
    }
    size_t n = 0;
    for (struct map_entry *e = NULL; (e = map_next(map, e)) != NULL;) {
        objects[n++] = e->value;
    }
    qsort(objects, n, sizeof(struct object *), compare_age);
    *ret_objects = objects;
    *ret_count = n;
    return 0;
}
