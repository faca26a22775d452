// Which Secrets and ConfigMaps somebody names, and how often: the source need not know any other.
#include <errno.h>
#include <stdio.h>

#include "controller/state.h"
#include "model/reference.h"

struct change {
    struct controller *controller;
    const struct object *object;
    bool adds;
    bool failed;
};

static struct map *map_of(struct controller *controller, enum object_kind kind)
{
    return &controller->wanted[kind == OBJECT_CONFIGMAP];
}

static void tell(struct controller *controller, const struct change *change,
                 enum object_kind kind, struct slice name)
{
    const struct controller_sink *sink = &controller->config.sink;
    if (sink->reference != NULL) {
        sink->reference(sink->arg, kind, change->object->namespace, name, change->adds);
    }
}

static void on_reference(void *arg, enum object_kind kind, struct slice name)
{
    struct change *change = arg;
    struct map *map = map_of(change->controller, kind);
    char buf[512];
    int n = snprintf(buf, sizeof(buf), "%.*s/%.*s", SLICE_FMT(change->object->namespace),
                     SLICE_FMT(name));
    struct slice key = slice_of(buf, (size_t)n);
    uintptr_t count = (uintptr_t)map_get(map, key); // the value is the count itself
    if (!change->adds && count <= 1) {
        if (map_remove(map, key) != NULL) {
            tell(change->controller, change, kind, name);
        }
        return;
    }
    count = change->adds ? count + 1 : count - 1;
    if (map_put(map, key, (void *)count, NULL) < 0) { // only a new key can fail
        change->failed = true;
    } else if (change->adds && count == 1) {
        tell(change->controller, change, kind, name);
    }
}

static bool counts(const struct controller *controller, const struct object *object)
{
    return object->kind != OBJECT_AIROUTE ||
           slice_eq(object->ingress_class, controller->config.ingress_class);
}

int wanted_add(struct controller *controller, const struct object *object)
{
    struct change change = {.controller = controller, .object = object, .adds = true};
    if (counts(controller, object)) {
        reference_each(object, on_reference, &change);
    }
    return change.failed ? -ENOMEM : 0;
}

void wanted_drop(struct controller *controller, const struct object *object)
{
    struct change change = {.controller = controller, .object = object};
    if (object != NULL && counts(controller, object)) {
        reference_each(object, on_reference, &change);
    }
}

bool wanted_is(const struct controller *controller, const struct object *object)
{
    return map_get(&controller->wanted[object->kind == OBJECT_CONFIGMAP], object->key) != NULL;
}

void wanted_fini(struct controller *controller)
{
    map_fini(&controller->wanted[0]);
    map_fini(&controller->wanted[1]);
}
