#include "snapshot/snapshot.h"

#include <errno.h>
#include <stdlib.h>

#include "snapshot/match_index.h"
#include "snapshot/regex.h"

struct snapshot *snapshot_new(void)
{
    struct snapshot *snapshot = calloc(1, sizeof(*snapshot));
    if (snapshot == NULL) {
        return NULL;
    }
    atomic_init(&snapshot->refs, 1);
    arena_init(&snapshot->arena, 16384, 0);
    return snapshot;
}

void snapshot_ref(struct snapshot *snapshot)
{
    // Relaxed: whoever refs holds a reference already, or is inside an epoch section.
    atomic_fetch_add_explicit(&snapshot->refs, 1, memory_order_relaxed);
}

static void snapshot_free(struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->backend_count; i++) {
        if (snapshot->backends[i]->state != NULL) {
            backend_state_unref(snapshot->backends[i]->state);
        }
    }
    for (size_t i = 0; i < snapshot->host_count; i++) {
        match_index_free(snapshot->hosts[i].index);
    }
    snap_regex_free_all(snapshot->regexes);
    map_fini(&snapshot->host_index);
    map_fini(&snapshot->tls_host_index);
    for (size_t i = 0; i < snapshot->tls_stores.len; i++) {
        tls_store_unref(snapshot->tls_stores.items[i]);
    }
    VEC_FINI(&snapshot->tls_stores);
    arena_fini(&snapshot->arena);
    free(snapshot);
}

void snapshot_unref(struct snapshot *snapshot)
{
    // Acquire-release: the last one sees every use before it frees.
    if (snapshot != NULL &&
        atomic_fetch_sub_explicit(&snapshot->refs, 1, memory_order_acq_rel) == 1) {
        snapshot_free(snapshot);
    }
}

static bool target_maps_model(const struct snap_target *target)
{
    return target->model.len != 0 || (target->backend != NULL && target->backend->model_count != 0);
}

static bool rule_targets_map_model(const struct snap_rule *rule)
{
    for (size_t i = 0; i < rule->target_count; i++) {
        if (target_maps_model(&rule->targets[i])) {
            return true;
        }
    }
    for (size_t i = 0; i < rule->fallback_count; i++) {
        if (target_maps_model(&rule->fallbacks[i])) {
            return true;
        }
    }
    return false;
}

int snapshot_finish(struct snapshot *snapshot)
{
    for (size_t t = 0; t < snapshot->tls_host_count; t++) {
        struct tls_host *host = &snapshot->tls_hosts[t];
        if (map_put(&snapshot->tls_host_index, host->name, host, NULL) < 0) {
            return -ENOMEM;
        }
    }
    for (size_t h = 0; h < snapshot->host_count; h++) {
        struct snap_host *host = &snapshot->hosts[h];
        int rc = map_put(&snapshot->host_index, host->name, host, NULL);
        rc = rc == 0 ? match_index_new(host, &host->index) : rc;
        if (rc != 0) {
            return rc;
        }
        for (size_t e = 0; e < host->entry_count; e++) {
            // The one place that writes through the const view: before publication.
            struct snap_rule *rule = (struct snap_rule *)(uintptr_t)host->entries[e].rule;
            if (host->entries[e].match->model_count != 0 || rule_targets_map_model(rule)) {
                rule->needs_body = true;
            }
            snapshot->has_cors = snapshot->has_cors || rule->cors != NULL;
        }
    }
    return 0;
}
