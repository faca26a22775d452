// Statuses: computed after every change, said when they differ from what was said before.
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "controller/state.h"

static size_t ready_count(void *arg, struct slice backend_key)
{
    const struct controller *controller = arg;
    const struct backend_record *record = map_get(&controller->records, backend_key);
    return record != NULL ? record->resolution.endpoints.len : 0;
}

static bool condition_is(const struct object_status *status, enum condition_type type,
                         enum condition_state state)
{
    return status->conditions[type].present && status->conditions[type].state == state;
}

// "file:line" of what is wrong with an object from a file; empty for the API server's.
static void print_place(const struct finding *finding, char *out, size_t size)
{
    const struct verdict *wrong =
        finding->accepted.holds ? &finding->resolved : &finding->accepted;
    const struct object *object = finding->object;
    out[0] = '\0';
    if (object->file.len > 0) {
        snprintf(out, size, "%.*s:%d", SLICE_FMT(object->file), object_line(object, wrong->path));
    }
}

// One line when an object begins or ceases to be as wanted, or the reason changes.
static void log_change(const struct object_status *before, const struct object_status *now,
                       const struct finding *finding)
{
    const struct condition *old = &before->conditions[CONDITION_READY];
    const struct condition *ready = &now->conditions[CONDITION_READY];
    if (old->present && old->state == ready->state && old->reason == ready->reason &&
        before->generation == now->generation) {
        return;
    }
    bool is_ready = condition_is(now, CONDITION_READY, CONDITION_TRUE);
    struct log_field fields[6] = {
        LOG_STR("kind", object_kinds[now->kind].kind),
        LOG_STR("namespace", now->namespace),
        LOG_STR("name", now->name),
        LOG_STR("reason", condition_reason_text(ready->reason)),
    };
    size_t count = 4;
    char place[512];
    print_place(finding, place, sizeof(place));
    if (ready->message != NULL && ready->message[0] != '\0') {
        fields[count++] = LOG_STR("detail", ready->message);
    }
    if (!is_ready && place[0] != '\0') {
        fields[count++] = LOG_STR("at", place);
    }
    enum log_level level = is_ready ? LOG_LEVEL_INFO : LOG_LEVEL_WARN;
    if (level >= log_current_level()) {
        log_write(level, is_ready ? "ready" : "not ready", fields, count);
    }
}

static struct said *find_said(struct controller *controller, const struct object *object)
{
    struct map *map = &controller->said[object->kind];
    struct said *said = map_get(map, object->key);
    if (said == NULL) {
        said = calloc(1, sizeof(*said));
        if (said != NULL && map_put(map, object->key, said, NULL) < 0) {
            free(said);
            said = NULL;
        }
    }
    return said;
}

// Takes over the status.
static void say(struct controller *controller, const struct finding *finding,
                struct object_status *status)
{
    struct said *said = find_said(controller, finding->object);
    if (said == NULL) {
        object_status_fini(status);
        return; // out of memory; said at the next change
    }
    said->seen = controller->compilation;
    bool changed = !object_status_equal(&said->status, status);
    if (changed || controller->repeat_status) {
        if (changed) {
            log_change(&said->status, status, finding);
        }
        controller->counters.statuses++;
        if (controller->config.sink.status != NULL) {
            controller->config.sink.status(controller->config.sink.arg, status);
        }
    }
    object_status_fini(&said->status);
    said->status = *status;
}

static void say_finding(struct controller *controller, const struct finding *finding)
{
    const struct object *object = finding->object;
    struct object_status status;
    bool ok;
    if (object->kind == OBJECT_MODELBACKEND) {
        struct backend_record *record = map_get(&controller->records, object->key);
        struct backend_view view = {0};
        if (record != NULL) {
            records_learn(controller, record);
            view = (struct backend_view){.resolution = &record->resolution,
                                         .engine = record->engine,
                                         .metrics_found = record->metrics_found};
        }
        ok = judge_backend_status(finding, &view, true, &status);
    } else {
        ok = judge_route_status(finding, true, ready_count, controller, &status);
    }
    if (ok) {
        say(controller, finding, &status);
    }
}

void say_backend(struct controller *controller, struct backend_record *record)
{
    const struct finding *finding =
        map_get(&controller->current.by_key[OBJECT_MODELBACKEND], slice_of_str(record->key));
    if (finding != NULL) {
        say_finding(controller, finding);
    }
}

static bool uses_backend(const struct finding *finding, struct slice key)
{
    for (size_t r = 0; r < finding->rule_count; r++) {
        for (size_t b = 0; b < finding->rules[r].backend_count; b++) {
            if (slice_eq(finding->rules[r].backends[b], key)) {
                return true;
            }
        }
    }
    return false;
}

static void note_ready(struct controller *controller, struct slice key)
{
    struct backend_record *record = map_get(&controller->records, key);
    if (record != NULL) {
        record->was_ready = record->resolution.endpoints.len > 0;
    }
}

void say_routes_of(struct controller *controller, struct slice backend_key)
{
    for (size_t i = 0; i < controller->current.finding_count; i++) {
        const struct finding *finding = &controller->current.findings[i];
        if (finding->object->kind == OBJECT_AIROUTE && uses_backend(finding, backend_key)) {
            say_finding(controller, finding);
        }
    }
    note_ready(controller, backend_key);
}

void say_again(struct controller *controller, const struct object *object)
{
    const struct said *said = map_get(&controller->said[object->kind], object->key);
    if (said != NULL && controller->config.sink.status != NULL) {
        controller->config.sink.status(controller->config.sink.arg, &said->status);
    }
}

static void say_gone_key(struct controller *controller, enum object_kind kind, struct slice key)
{
    bool is_there = resources_get(&controller->resources, kind, key) != NULL;
    struct said *said = map_remove(&controller->said[kind], key); // the key may be the map's own
    if (said == NULL) {
        return;
    }
    const struct controller_sink *sink = &controller->config.sink;
    struct slice namespace = slice_of_str(said->status.namespace);
    struct slice name = slice_of_str(said->status.name);
    if (is_there && sink->status_withdraw != NULL) {
        sink->status_withdraw(sink->arg, kind, namespace, name);
    } else if (!is_there && sink->status_gone != NULL) {
        sink->status_gone(sink->arg, kind, namespace, name);
    }
    object_status_fini(&said->status);
    free(said);
}

void say_gone(struct controller *controller, enum object_kind kind, const struct object *object)
{
    if (kind == OBJECT_AIROUTE || kind == OBJECT_MODELBACKEND) {
        say_gone_key(controller, kind, object->key);
    }
}

// A route that went to another class is not ours to speak of any more, nor is what we said of it
// still true.
static void forget_unseen(struct controller *controller, enum object_kind kind)
{
    bool again = true;
    while (again) {
        again = false;
        for (struct map_entry *e = NULL; (e = map_next(&controller->said[kind], e)) != NULL;) {
            struct said *said = e->value;
            if (said->seen != controller->compilation &&
                map_get(&controller->current.by_key[kind], e->key) == NULL) {
                say_gone_key(controller, kind, e->key);
                again = true;
                break;
            }
        }
    }
}

void say_all(struct controller *controller)
{
    for (size_t i = 0; i < controller->current.finding_count; i++) {
        say_finding(controller, &controller->current.findings[i]);
    }
    controller->repeat_status = false;
    forget_unseen(controller, OBJECT_AIROUTE);
    forget_unseen(controller, OBJECT_MODELBACKEND);
    for (struct map_entry *e = NULL; (e = map_next(&controller->records, e)) != NULL;) {
        struct backend_record *record = e->value;
        record->was_ready = record->resolution.endpoints.len > 0;
    }
}

void say_fini(struct controller *controller)
{
    for (size_t kind = 0; kind < ARRAY_LEN(controller->said); kind++) {
        for (struct map_entry *e = NULL; (e = map_next(&controller->said[kind], e)) != NULL;) {
            struct said *said = e->value;
            object_status_fini(&said->status);
            free(said);
        }
        map_fini(&controller->said[kind]);
    }
}
