#include "status/document.h"

#include <stdio.h>
#include <string.h>

#include "base/slice.h"
#include "kube/object.h"
#include "kube/timestamp.h"

// Adds and takes over; false (value freed) when out of memory.
static bool add(struct json_object *to, const char *key, struct json_object *value)
{
    if (value == NULL || json_object_object_add(to, key, value) != 0) {
        json_object_put(value);
        return false;
    }
    return true;
}

static bool add_text(struct json_object *to, const char *key, const char *text)
{
    return add(to, key, json_object_new_string(text != NULL ? text : ""));
}

static struct json_object *member(struct json_object *object, const char *key)
{
    struct json_object *value = NULL;
    if (json_object_is_type(object, json_type_object)) {
        json_object_object_get_ex(object, key, &value);
    }
    return value;
}

static struct json_object *find_condition(struct json_object *status, const char *type)
{
    struct json_object *list = member(status, "conditions");
    size_t n = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
    for (size_t i = 0; i < n; i++) {
        struct json_object *condition = json_object_array_get_idx(list, i);
        if (slice_eq_str(kube_get_str(condition, "type", NULL), type)) {
            return condition;
        }
    }
    return NULL;
}

static struct json_object *make_condition(const struct object_status *wanted,
                                          enum condition_type type, struct json_object *current,
                                          int64_t now_s)
{
    const struct condition *c = &wanted->conditions[type];
    struct json_object *old = find_condition(current, condition_type_text(type));
    struct slice since = kube_get_str(old, "lastTransitionTime", NULL);
    const char *state = condition_state_text(c->state);
    char now[KUBE_TIME_SIZE];
    struct json_object *node = json_object_new_object();
    if (node == NULL) {
        return NULL;
    }
    kube_time_format(now_s, now, sizeof(now));
    bool keeps = since.len > 0 && slice_eq_str(kube_get_str(old, "status", NULL), state);
    struct json_object *time = keeps ? json_object_new_string_len(since.ptr, (int)since.len)
                                     : json_object_new_string(now);
    bool ok = add_text(node, "type", condition_type_text(type));
    ok = add_text(node, "status", state) && ok;
    ok = add(node, "observedGeneration", json_object_new_int64(wanted->generation)) && ok;
    ok = add(node, "lastTransitionTime", time) && ok;
    ok = add_text(node, "reason", condition_reason_text(c->reason)) && ok;
    ok = add_text(node, "message", c->message) && ok;
    if (!ok) {
        json_object_put(node);
        return NULL;
    }
    return node;
}

static struct json_object *make_metrics(const char *names)
{
    struct json_object *list = json_object_new_array();
    struct slice rest = slice_of_str(names);
    struct slice name;
    while (list != NULL && slice_split(&rest, ',', &name)) {
        name = slice_trim(name);
        struct json_object *item = json_object_new_string_len(name.ptr, (int)name.len);
        if (name.len == 0) {
            json_object_put(item);
        } else if (item == NULL || json_object_array_add(list, item) != 0) {
            json_object_put(item);
            json_object_put(list);
            list = NULL;
        }
    }
    return list;
}

// What was learnt of a backend's servers. What is not known yet stays as the server has it: else
// every restart would take it away and bring it back, two writes that say nothing.
static bool add_learnt(struct json_object *status, const struct object_status *wanted,
                       struct json_object *current)
{
    struct json_object *old_engine = member(current, "engine");
    struct json_object *old_metrics = member(current, "metricsFound");
    bool knows_engine = wanted->engine != NULL && *wanted->engine != '\0';
    bool same_engine = !knows_engine ||
                       slice_eq_str(kube_get_str(current, "engine", NULL), wanted->engine);
    bool ok = true;
    if (knows_engine) {
        ok = add_text(status, "engine", wanted->engine);
    } else if (old_engine != NULL) {
        ok = add(status, "engine", json_object_get(old_engine));
    }
    if (wanted->metrics_found != NULL && *wanted->metrics_found != '\0') {
        ok = add(status, "metricsFound", make_metrics(wanted->metrics_found)) && ok;
    } else if (same_engine && old_metrics != NULL) {
        ok = add(status, "metricsFound", json_object_get(old_metrics)) && ok;
    }
    return ok;
}

static bool add_backend(struct json_object *status, const struct object_status *wanted,
                        struct json_object *current)
{
    char summary[32];
    struct json_object *endpoints = json_object_new_object();
    if (endpoints == NULL) {
        return false;
    }
    snprintf(summary, sizeof(summary), "%u/%u", wanted->endpoints_ready, wanted->endpoints_total);
    bool ok = add(endpoints, "total", json_object_new_int64(wanted->endpoints_total));
    ok = add(endpoints, "ready", json_object_new_int64(wanted->endpoints_ready)) && ok;
    ok = add_text(endpoints, "summary", summary) && ok;
    ok = add(status, "endpoints", endpoints) && ok;
    ok = add_learnt(status, wanted, current) && ok;
    return ok;
}

struct json_object *status_document(const struct object_status *wanted, struct json_object *current,
                                    int64_t now_s)
{
    struct json_object *status = json_object_new_object();
    struct json_object *conditions = json_object_new_array();
    bool ok = status != NULL && conditions != NULL;
    for (int type = 0; ok && type < CONDITION_COUNT; type++) {
        if (!wanted->conditions[type].present) {
            continue;
        }
        struct json_object *node =
            make_condition(wanted, (enum condition_type)type, current, now_s);
        ok = node != NULL && json_object_array_add(conditions, node) == 0;
    }
    ok = ok && add(status, "observedGeneration", json_object_new_int64(wanted->generation));
    ok = ok && add(status, "conditions", json_object_get(conditions));
    if (ok && wanted->kind == OBJECT_MODELBACKEND) {
        ok = add_backend(status, wanted, current);
    }
    json_object_put(conditions);
    if (!ok) {
        json_object_put(status);
        return NULL;
    }
    return status;
}

static bool same_condition(struct json_object *a, struct json_object *b)
{
    static const char *const keys[] = {"status", "reason", "message", "observedGeneration"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        if (!json_object_equal(member(a, keys[i]), member(b, keys[i]))) {
            return false;
        }
    }
    return b != NULL;
}

static bool same_conditions(struct json_object *document, struct json_object *current)
{
    for (int type = 0; type < CONDITION_COUNT; type++) {
        const char *name = condition_type_text((enum condition_type)type);
        struct json_object *wanted = find_condition(document, name);
        struct json_object *has = find_condition(current, name);
        if ((wanted == NULL) != (has == NULL) ||
            (wanted != NULL && !same_condition(wanted, has))) {
            return false;
        }
    }
    return true;
}

bool status_document_is_current(struct json_object *document, struct json_object *current)
{
    static const char *const keys[] = {"observedGeneration", "engine", "endpoints", "metricsFound"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        if (!json_object_equal(member(document, keys[i]), member(current, keys[i]))) {
            return false;
        }
    }
    return same_conditions(document, current);
}

bool status_document_is_ours(const struct object_status *wanted, struct json_object *current)
{
    struct json_object *observed = member(current, "observedGeneration");
    return json_object_is_type(observed, json_type_int) &&
           json_object_get_int64(observed) <= wanted->generation;
}

struct json_object *status_document_withdraw(const struct object_status *wanted,
                                             struct slice version)
{
    const struct object_kind_info *info = &object_kinds[wanted->kind];
    struct json_object *body = json_object_new_object();
    struct json_object *meta = json_object_new_object();
    bool ok = body != NULL && meta != NULL;
    ok = ok && add_text(meta, "name", wanted->name) &&
         add_text(meta, "namespace", wanted->namespace);
    ok = ok && add(meta, "resourceVersion",
                   json_object_new_string_len(version.ptr, (int)version.len));
    ok = ok && add_text(body, "apiVersion", info->api_version) &&
         add_text(body, "kind", info->kind) && add(body, "metadata", json_object_get(meta));
    json_object_put(meta);
    if (!ok) {
        json_object_put(body);
        return NULL;
    }
    return body;
}

struct json_object *status_document_apply(const struct object_status *wanted, struct slice version,
                                          struct json_object *document)
{
    struct json_object *body = document != NULL ? status_document_withdraw(wanted, version) : NULL;
    if (body == NULL) {
        json_object_put(document);
        return NULL;
    }
    if (!add(body, "status", document)) {
        json_object_put(body);
        return NULL;
    }
    return body;
}
