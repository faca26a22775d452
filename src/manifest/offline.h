// What manifests mean without a running instance: their objects compiled, with the endpoints that
// they name. For checks and explanations.
#pragma once

#include "compile/compile.h"

struct offline {
    struct resources resources;
    struct epoch *epoch;
    struct endpoint_table *endpoints;
    struct compile_result result;
    bool compiled;
};

// 0 or -ENOMEM; offline_fini is due in both cases.
MUST_CHECK int offline_init(struct offline *offline);
void offline_fini(struct offline *offline);

// Adds an object, with a reference of its own. *ret_first: NULL, or the object of that name that
// was there before, which stays instead. 0 or -ENOMEM.
MUST_CHECK int offline_add(struct offline *offline, struct object *object,
                           const struct object **ret_first);

// Fills offline->result. Once, after all objects. 0 or -ENOMEM.
MUST_CHECK int offline_compile(struct offline *offline, struct slice ingress_class);

// Gives the compiled backends the endpoints that the objects name: static ones, and those of
// Services, EndpointSlices and Pods, if these are among them. 0 or -ENOMEM.
MUST_CHECK int offline_apply_endpoints(struct offline *offline);
