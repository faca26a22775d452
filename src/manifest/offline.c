#include "manifest/offline.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"

int offline_init(struct offline *offline)
{
    *offline = (struct offline){0};
    if (posix_memalign((void **)&offline->epoch, CACHE_LINE, sizeof(*offline->epoch)) != 0) {
        offline->epoch = NULL;
        return -ENOMEM;
    }
    epoch_init(offline->epoch);
    return endpoint_table_new(&offline->endpoints, offline->epoch);
}

void offline_fini(struct offline *offline)
{
    if (offline->compiled) {
        compile_result_fini(&offline->result);
    }
    resources_fini(&offline->resources);
    if (offline->endpoints != NULL) {
        endpoint_table_free(offline->endpoints);
    }
    if (offline->epoch != NULL) {
        epoch_fini(offline->epoch);
    }
    free(offline->epoch);
}

int offline_add(struct offline *offline, struct object *object, const struct object **ret_first)
{
    *ret_first = resources_get(&offline->resources, object->kind, object->key);
    return *ret_first != NULL ? 0 : resources_put(&offline->resources, object);
}

int offline_compile(struct offline *offline, struct slice ingress_class)
{
    struct compile_input input = {
        .resources = &offline->resources,
        .endpoints = offline->endpoints,
        .ingress_class = ingress_class,
        .now_s = (int64_t)(clock_wall_ns() / 1000000000u),
    };
    int rc = compile(&input, &offline->result);
    offline->compiled = rc == 0;
    return rc;
}

static int apply_one(struct offline *offline, const struct object *backend)
{
    struct backend_state *state = endpoint_table_backend(offline->endpoints, backend->key);
    struct resolution resolution = {0};
    int rc = state == NULL ? -ENOMEM : resolve_backend(&offline->resources, backend, &resolution);
    if (rc == 0) {
        rc = backend_state_set_endpoints(state, resolution.endpoints.items,
                                         resolution.endpoints.len);
    }
    if (state != NULL) {
        backend_state_unref(state); // the snapshot has its own
    }
    resolution_fini(&resolution);
    return rc;
}

int offline_apply_endpoints(struct offline *offline)
{
    int rc = 0;
    for (size_t i = 0; i < offline->result.finding_count && rc == 0; i++) {
        const struct finding *finding = &offline->result.findings[i];
        if (finding->object->kind == OBJECT_MODELBACKEND && finding->accepted.holds) {
            rc = apply_one(offline, finding->object);
        }
    }
    return rc;
}
