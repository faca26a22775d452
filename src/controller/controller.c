#include "controller/controller.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "controller/state.h"

enum {
    DEFAULT_HOLD_OFF_MS = 50,
    DEFAULT_HOLD_OFF_MAX_MS = 250,
    ENDPOINTS_HOLD_OFF_MS = 10, // nothing is compiled for them
    DEFAULT_STATUS_INTERVAL_MS = 2000,
    RETRY_MS = 1000, // after running out of memory
};

static void on_hold_off(struct timer *timer, void *arg);
static void on_learnt(struct timer *timer, void *arg);

int controller_new(const struct controller_config *config, struct controller **ret_controller,
                   struct error *err)
{
    struct controller *controller = calloc(1, sizeof(*controller));
    char *ingress_class = slice_dup(config->ingress_class);
    if (controller == NULL || ingress_class == NULL) {
        free(controller);
        free(ingress_class);
        return error_set(err, -ENOMEM, "out of memory");
    }
    controller->config = *config;
    controller->ingress_class = ingress_class;
    controller->config.ingress_class = slice_of_str(ingress_class);
    if (controller->config.hold_off_ms == 0) {
        controller->config.hold_off_ms = DEFAULT_HOLD_OFF_MS;
    }
    if (controller->config.hold_off_max_ms == 0) {
        controller->config.hold_off_max_ms = DEFAULT_HOLD_OFF_MAX_MS;
    }
    if (controller->config.status_interval_ms == 0) {
        controller->config.status_interval_ms = DEFAULT_STATUS_INTERVAL_MS;
    }
    *ret_controller = controller;
    return 0;
}

void controller_free(struct controller *controller)
{
    if (controller == NULL) {
        return;
    }
    loop_timer_cancel(controller->config.loop, &controller->hold_off);
    loop_timer_cancel(controller->config.loop, &controller->learnt);
    records_fini(controller);
    say_fini(controller);
    wanted_fini(controller);
    compile_result_fini(&controller->current);
    resources_fini(&controller->resources);
    free(controller->ingress_class);
    free(controller);
}

// ---- when ----

static bool anything_dirty(const struct controller *controller)
{
    return controller->routes_dirty || controller->endpoints_dirty || controller->repeat_status;
}

// Every change moves the end of the hold-off, up to its maximum after the first one.
static void schedule(struct controller *controller)
{
    if (!controller->is_synced || !anything_dirty(controller)) {
        return;
    }
    struct loop *loop = controller->config.loop;
    uint64_t now = loop_now_ms(loop);
    if (controller->first_change_ms == 0) {
        controller->first_change_ms = now > 0 ? now : 1;
    }
    uint64_t latest = controller->first_change_ms + controller->config.hold_off_max_ms;
    uint32_t hold_off = controller->config.hold_off_ms;
    if (!controller->routes_dirty) {
        hold_off = MIN_OF(hold_off, (uint32_t)ENDPOINTS_HOLD_OFF_MS);
    }
    uint64_t wanted = now + hold_off;
    uint64_t at = MIN_OF(wanted, latest);
    loop_timer_set(loop, &controller->hold_off, at > now ? at - now : 0, on_hold_off, controller);
}

// ---- the work ----

static void count_invalid(struct controller *controller)
{
    controller->counters.objects_invalid = 0;
    for (size_t i = 0; i < controller->current.finding_count; i++) {
        controller->counters.objects_invalid += !controller->current.findings[i].accepted.holds;
    }
}

static int compile_and_publish(struct controller *controller)
{
    struct compile_input input = {
        .resources = &controller->resources,
        .endpoints = controller->config.endpoints,
        .ingress_class = controller->config.ingress_class,
        .now_s = (int64_t)(clock_wall_ns() / 1000000000u),
    };
    struct compile_result result;
    uint64_t begin = clock_mono_ns() / 1000;
    int rc = compile(&input, &result);
    if (rc < 0) {
        return rc;
    }
    controller->compilation++;
    rc = records_update_all(controller, &result); // before requests can see the snapshot
    if (rc < 0) {
        compile_result_fini(&result);
        return rc;
    }
    controller->counters.compiles++;
    controller->counters.compile_us_last = clock_mono_ns() / 1000 - begin;
    controller->counters.compile_us_sum += controller->counters.compile_us_last;
    struct snapshot *snapshot = result.snapshot;
    result.snapshot = NULL;
    controller->config.sink.publish(controller->config.sink.arg, snapshot);
    compile_result_fini(&controller->current);
    controller->current = result;
    controller->routes_dirty = false;
    controller->endpoints_dirty = false; // all were looked at
    count_invalid(controller);
    say_all(controller);
    log_debug("compiled", LOG_U64("us", controller->counters.compile_us_last),
              LOG_U64("routes", resources_count(&controller->resources, OBJECT_AIROUTE)),
              LOG_U64("backends", resources_count(&controller->resources, OBJECT_MODELBACKEND)),
              LOG_U64("left_out", controller->counters.objects_invalid));
    if (!controller->is_ready) {
        controller->is_ready = true;
        loop_timer_set(controller->config.loop, &controller->learnt,
                       controller->config.status_interval_ms, on_learnt, controller);
    }
    return 0;
}

static int update_endpoints(struct controller *controller)
{
    int rc = records_update_dirty(controller);
    if (rc == 0) {
        controller->endpoints_dirty = false;
    }
    return rc;
}

void controller_flush(struct controller *controller)
{
    if (!controller->is_synced || !anything_dirty(controller)) {
        return;
    }
    loop_timer_cancel(controller->config.loop, &controller->hold_off);
    controller->first_change_ms = 0;
    int rc = 0;
    if (!controller->routes_dirty && controller->endpoints_dirty) {
        rc = update_endpoints(controller); // which may find that the routes are concerned
    }
    if (rc == 0 && controller->routes_dirty) {
        rc = compile_and_publish(controller);
    }
    if (rc == 0 && controller->repeat_status) {
        say_all(controller);
    }
    if (rc < 0) { // what was good stays in service
        log_error("out of memory while compiling, trying again");
        loop_timer_set(controller->config.loop, &controller->hold_off, RETRY_MS, on_hold_off,
                       controller);
    }
}

static void on_hold_off(struct timer *timer UNUSED, void *arg)
{
    controller_flush(arg);
}

// A certificate began to be valid, or expired.
static void judge_certificates(struct controller *controller)
{
    int64_t when = controller->current.next_judgement_s;
    if (when != 0 && (int64_t)(clock_wall_ns() / 1000000000u) >= when) {
        controller->routes_dirty = true;
        schedule(controller);
    }
}

static void on_learnt(struct timer *timer, void *arg)
{
    struct controller *controller = arg;
    judge_certificates(controller);
    for (struct map_entry *e = NULL; (e = map_next(&controller->records, e)) != NULL;) {
        if (records_learn(controller, e->value)) {
            say_backend(controller, e->value);
        }
    }
    loop_timer_set(controller->config.loop, timer, controller->config.status_interval_ms, on_learnt,
                   controller);
}

// ---- in ----

static bool compiles(enum object_kind kind)
{
    return kind == OBJECT_AIROUTE || kind == OBJECT_MODELBACKEND;
}

static bool is_material(enum object_kind kind)
{
    return kind == OBJECT_SECRET || kind == OBJECT_CONFIGMAP;
}

// Our own writes to the status come back as changes that change nothing.
static bool same_spec(const struct object *old, const struct object *object)
{
    return old != NULL && old->generation != 0 && old->generation == object->generation &&
           slice_eq(old->uid, object->uid) && old->created == object->created;
}

static void keep_last_good(struct object *old, struct object *object)
{
    if (old == NULL || old == object || object->last_good != NULL ||
        material_is_sound(object->material)) {
        return;
    }
    object->last_good = material_is_sound(old->material) ? old : old->last_good;
    if (object->last_good != NULL) {
        object_ref(object->last_good);
    }
}

static int put(struct controller *controller, struct object *object)
{
    int rc = resources_put(&controller->resources, object);
    if (rc == 0) {
        controller->counters.objects[object->kind] =
            resources_count(&controller->resources, object->kind);
    }
    return rc;
}

static int upsert_own(struct controller *controller, struct object *object, struct object *old)
{
    bool unchanged = same_spec(old, object);
    int rc = wanted_add(controller, object);
    if (rc == 0) {
        rc = put(controller, object);
    }
    if (rc < 0) {
        return rc;
    }
    wanted_drop(controller, old);
    if (unchanged) {
        say_again(controller, object);
    } else {
        controller->routes_dirty = true;
    }
    return 0;
}

static int upsert_material(struct controller *controller, struct object *object,
                           struct object *old)
{
    bool is_new = old == NULL || !material_equal(old->material, object->material);
    keep_last_good(old, object);
    int rc = put(controller, object);
    if (rc == 0 && is_new && wanted_is(controller, object)) {
        controller->routes_dirty = true;
    }
    return rc;
}

static int upsert_other(struct controller *controller, struct object *object, struct object *old)
{
    if (old != NULL) {
        records_mark(controller, old);
    }
    int rc = put(controller, object);
    if (rc == 0) {
        records_mark(controller, object);
    }
    return rc;
}

int controller_upsert_object(struct controller *controller, struct object *object)
{
    struct object *old = resources_get(&controller->resources, object->kind, object->key);
    if (old != NULL) {
        object_ref(old); // it is looked at after it was replaced
    }
    int rc = compiles(object->kind)      ? upsert_own(controller, object, old)
             : is_material(object->kind) ? upsert_material(controller, object, old)
                                         : upsert_other(controller, object, old);
    object_unref(old);
    if (rc == 0) {
        schedule(controller);
    }
    return rc;
}

int controller_upsert(struct controller *controller, enum object_kind kind,
                      struct json_object *json, const struct object_origin *origin,
                      struct error *err)
{
    struct object *object;
    int rc = object_read(kind, json, origin, &object, err);
    if (rc < 0) {
        controller->counters.upserts_rejected++;
        return rc;
    }
    rc = controller_upsert_object(controller, object);
    object_unref(object);
    return rc < 0 ? error_set(err, rc, "out of memory") : 0;
}

static void delete_key(struct controller *controller, enum object_kind kind, struct slice key)
{
    struct object *old = resources_get(&controller->resources, kind, key);
    if (old == NULL) {
        return;
    }
    object_ref(old);
    resources_remove(&controller->resources, kind, key);
    controller->counters.objects[kind] = resources_count(&controller->resources, kind);
    if (compiles(kind)) {
        controller->routes_dirty = true;
        say_gone(controller, kind, old);
        wanted_drop(controller, old);
    } else if (is_material(kind)) {
        controller->routes_dirty = controller->routes_dirty || wanted_is(controller, old);
    } else {
        records_mark(controller, old);
    }
    object_unref(old);
    schedule(controller);
}

// "namespace/name" in buf; empty when it does not fit.
static struct slice print_key(char *buf, size_t size, struct slice namespace, struct slice name)
{
    int n = snprintf(buf, size, "%.*s/%.*s", SLICE_FMT(namespace), SLICE_FMT(name));
    return n > 0 && (size_t)n < size ? slice_of(buf, (size_t)n) : SLICE_NULL;
}

void controller_delete(struct controller *controller, enum object_kind kind, struct slice namespace,
                       struct slice name)
{
    char buf[512];
    delete_key(controller, kind, print_key(buf, sizeof(buf), namespace, name));
}

void controller_synced(struct controller *controller)
{
    if (controller->is_synced) {
        return;
    }
    controller->is_synced = true;
    controller->routes_dirty = true; // nothing at all is a state too
    loop_timer_set(controller->config.loop, &controller->hold_off, 0, on_hold_off, controller);
}

// ---- out ----

void controller_repeat_status(struct controller *controller)
{
    controller->repeat_status = true;
    schedule(controller);
}

const struct controller_counters *controller_counters(const struct controller *controller)
{
    return &controller->counters;
}

bool controller_needs_pods(const struct controller *controller)
{
    const struct map *backends = &controller->resources.objects[OBJECT_MODELBACKEND];
    for (struct map_entry *e = NULL; (e = map_next(backends, e)) != NULL;) {
        const struct object *backend = e->value;
        if (backend->spec != NULL && backend->modelbackend->pool != NULL &&
            backend->modelbackend->pool->selector != NULL) {
            return true;
        }
    }
    return false;
}
