// Backends that are served: their endpoints, how they are scraped and how they are judged.
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "controller/state.h"

static void record_free(struct backend_record *record)
{
    if (record == NULL) {
        return;
    }
    object_unref(record->object);
    if (record->state != NULL) {
        backend_state_unref(record->state);
    }
    resolution_fini(&record->resolution);
    free(record->applied);
    free(record->key);
    free(record);
}

void records_fini(struct controller *controller)
{
    for (struct map_entry *e = NULL; (e = map_next(&controller->records, e)) != NULL;) {
        record_free(e->value);
    }
    map_fini(&controller->records);
}

static struct backend_record *find_or_make(struct controller *controller, struct slice key)
{
    struct backend_record *record = map_get(&controller->records, key);
    if (record != NULL) {
        return record;
    }
    record = calloc(1, sizeof(*record));
    if (record == NULL) {
        return NULL;
    }
    record->key = slice_dup(key);
    record->state = endpoint_table_backend(controller->config.endpoints, key);
    if (record->key == NULL || record->state == NULL ||
        map_put(&controller->records, key, record, NULL) < 0) {
        record_free(record);
        return NULL;
    }
    return record;
}

static bool same_endpoints(const struct backend_record *record, const struct resolution *resolution)
{
    if (record->applied == NULL || record->applied_count != resolution->endpoints.len) {
        return false;
    }
    for (size_t i = 0; i < record->applied_count; i++) {
        const struct endpoint_spec *a = &record->applied[i].spec;
        const struct endpoint_spec *b = &resolution->endpoints.items[i];
        if (a->address_len != b->address_len || a->weight != b->weight ||
            a->terminating != b->terminating ||
            record->applied[i].pod_hash != hash_bytes(b->pod) ||
            memcmp(&a->address, &b->address, a->address_len) != 0) {
            return false;
        }
    }
    return true;
}

static int apply_endpoints(struct controller *controller, struct backend_record *record,
                           const struct resolution *resolution)
{
    size_t n = resolution->endpoints.len;
    struct applied_endpoint *applied = calloc(n + 1, sizeof(*applied));
    if (applied == NULL ||
        backend_state_set_endpoints(record->state, resolution->endpoints.items, n) < 0) {
        free(applied);
        return -ENOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        applied[i].spec = resolution->endpoints.items[i];
        applied[i].pod_hash = hash_bytes(applied[i].spec.pod);
        applied[i].spec.pod = SLICE_NULL;
    }
    free(record->applied);
    record->applied = applied;
    record->applied_count = n;
    controller->counters.endpoint_updates++;
    return 0;
}

static int update_endpoints(struct controller *controller, struct backend_record *record)
{
    struct resolution resolution = {0};
    int rc = resolve_backend(&controller->resources, record->object, &resolution);
    if (rc == 0) {
        resolution_refuse(&resolution, controller->config.endpoints->guard);
    }
    if (rc == 0 && !same_endpoints(record, &resolution)) {
        rc = apply_endpoints(controller, record, &resolution);
    }
    if (rc < 0) {
        resolution_fini(&resolution);
        return rc;
    }
    // Also when the set stays: who was only not ready may be terminating by now.
    backend_state_mark_terminating(record->state, resolution.terminating.items,
                                   resolution.terminating.len);
    VEC_FINI(&resolution.terminating);
    for (size_t i = 0; i < resolution.endpoints.len; i++) {
        resolution.endpoints.items[i].pod = SLICE_NULL; // see resolve.h: they do not live on
    }
    resolution_fini(&record->resolution);
    record->resolution = resolution;
    record->is_dirty = false;
    return 0;
}

static void configure(struct backend_record *record, const struct scrape_config *config)
{
    if (!record->configured || memcmp(&record->scrape, config, sizeof(*config)) != 0) {
        record->scrape = *config;
        record->configured = true;
        backend_state_configure(record->state, config);
    }
}

static void drop_unseen(struct controller *controller)
{
    bool again = true;
    while (again) { // the map must not change under the walk
        again = false;
        for (struct map_entry *e = NULL; (e = map_next(&controller->records, e)) != NULL;) {
            struct backend_record *record = e->value;
            if (record->seen != controller->compilation) {
                map_remove(&controller->records, slice_of_str(record->key));
                record_free(record);
                again = true;
                break;
            }
        }
    }
}

int records_update_all(struct controller *controller, struct compile_result *result)
{
    for (size_t i = 0; i < result->finding_count; i++) {
        struct finding *finding = &result->findings[i];
        if (finding->object->kind != OBJECT_MODELBACKEND || !finding->accepted.holds) {
            continue;
        }
        struct backend_record *record = find_or_make(controller, finding->object->key);
        if (record == NULL) {
            return -ENOMEM;
        }
        object_ref(finding->object);
        object_unref(record->object);
        record->object = finding->object;
        record->seen = controller->compilation;
        struct scrape_config scrape;
        struct health_config health;
        compile_scrape_config(finding->object->modelbackend, &scrape);
        compile_health_config(finding->object->modelbackend, &health);
        configure(record, &scrape);
        int rc = backend_state_secure(record->state, finding->tls);
        rc = rc < 0 ? rc : backend_state_judge_by(record->state, &health);
        rc = rc < 0 ? rc : update_endpoints(controller, record);
        if (rc < 0) {
            return rc;
        }
    }
    drop_unseen(controller);
    return 0;
}

int records_update_dirty(struct controller *controller)
{
    for (struct map_entry *e = NULL; (e = map_next(&controller->records, e)) != NULL;) {
        struct backend_record *record = e->value;
        if (!record->is_dirty) {
            continue;
        }
        enum snap_protocol before = record->resolution.protocol;
        int rc = update_endpoints(controller, record);
        if (rc < 0) {
            return rc;
        }
        if (record->resolution.protocol != before) { // which the snapshot says
            controller->routes_dirty = true;
        }
        say_backend(controller, record);
        bool ready = record->resolution.endpoints.len > 0;
        if (ready != record->was_ready) {
            say_routes_of(controller, slice_of_str(record->key));
        }
    }
    return 0;
}

void records_mark(struct controller *controller, const struct object *changed)
{
    for (struct map_entry *e = NULL; (e = map_next(&controller->records, e)) != NULL;) {
        struct backend_record *record = e->value;
        if (!record->is_dirty && resolve_depends(record->object, changed)) {
            record->is_dirty = true;
            controller->endpoints_dirty = true;
        }
    }
}

bool records_learn(struct controller *controller, struct backend_record *record)
{
    char engine[sizeof(record->engine)] = "";
    char found[METRICS_FOUND_MAX];
    // Relaxed: a name to be shown, nothing hangs on it.
    uint32_t detected = atomic_load_explicit(&record->state->detected_engine, memory_order_relaxed);
    if (record->scrape.engine != ENGINE_AUTO) {
        detected = record->scrape.engine;
    }
    if (detected != ENGINE_AUTO && detected < ENGINE_COUNT) {
        snprintf(engine, sizeof(engine), "%s", engine_name((enum engine)detected));
    }
    pthread_mutex_lock(&controller->config.endpoints->lock);
    memcpy(found, record->state->metrics_found, sizeof(found));
    pthread_mutex_unlock(&controller->config.endpoints->lock);
    found[sizeof(found) - 1] = '\0';
    if (engine[0] == '\0') { // not yet: what an earlier run found is the best guess
        snprintf(engine, sizeof(engine), "%.*s", SLICE_FMT(record->object->found_engine));
    }
    if (found[0] == '\0') {
        snprintf(found, sizeof(found), "%.*s", SLICE_FMT(record->object->found_metrics));
    }
    bool changed = strcmp(engine, record->engine) != 0 || strcmp(found, record->metrics_found) != 0;
    memcpy(record->engine, engine, sizeof(engine));
    memcpy(record->metrics_found, found, sizeof(found));
    return changed;
}
