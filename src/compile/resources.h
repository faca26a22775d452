// The objects that are known, by kind and "namespace/name", with what the compiler looks up.
#pragma once

#include "base/map.h"
#include "base/vec.h"
#include "model/object.h"

struct resource_list {
    VEC(struct object *) list;
};

// Zero-initialised is empty and valid.
struct resources {
    struct map objects[OBJECT_KIND_COUNT]; // key → struct object, one reference each
    struct map slices_of;                  // "namespace/service" → struct resource_list
};

void resources_fini(struct resources *resources);

// Adds or replaces; takes a reference of its own. 0 or -ENOMEM (nothing changed).
MUST_CHECK int resources_put(struct resources *resources, struct object *object);

// False when it was not there.
bool resources_remove(struct resources *resources, enum object_kind kind, struct slice key);

// NULL when absent.
struct object *resources_get(const struct resources *resources, enum object_kind kind,
                             struct slice key);

static inline size_t resources_count(const struct resources *resources, enum object_kind kind)
{
    return resources->objects[kind].len;
}

// The EndpointSlices of a Service, in no order; NULL when there are none.
const struct resource_list *resources_slices(const struct resources *resources,
                                             struct slice service_key);

// All of a kind, oldest first (unknown age before that), then by key. The array is the caller's to
// free, the objects are lent. 0 or -ENOMEM.
MUST_CHECK int resources_sorted(const struct resources *resources, enum object_kind kind,
                                struct object ***ret_objects, size_t *ret_count);
