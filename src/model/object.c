#include "model/object.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "json/yaml_json.h"
#include "model/closest.h"
#include "model/pattern.h"
#include "model/patterns.h"
#include "model/reader.h"

const struct object_kind_info object_kinds[OBJECT_KIND_COUNT] = {
    [OBJECT_AIROUTE] = {"AIRoute", "headrace.dev/v1alpha1", "airoutes"},
    [OBJECT_MODELBACKEND] = {"ModelBackend", "headrace.dev/v1alpha1", "modelbackends"},
    [OBJECT_SERVICE] = {"Service", "v1", "services"},
    [OBJECT_ENDPOINTSLICE] = {"EndpointSlice", "discovery.k8s.io/v1", "endpointslices"},
    [OBJECT_POD] = {"Pod", "v1", "pods"},
    [OBJECT_SECRET] = {"Secret", "v1", "secrets"},
    [OBJECT_CONFIGMAP] = {"ConfigMap", "v1", "configmaps"},
};

int object_kind_find(const char *api_version, const char *kind, enum object_kind *ret_kind)
{
    for (size_t i = 0; i < OBJECT_KIND_COUNT; i++) {
        if (strcmp(object_kinds[i].kind, kind) == 0 &&
            strcmp(object_kinds[i].api_version, api_version) == 0) {
            *ret_kind = (enum object_kind)i;
            return 0;
        }
    }
    return -ENOENT;
}

void object_ref(struct object *object)
{
    object->refs++;
}

void object_unref(struct object *object)
{
    if (object == NULL || --object->refs > 0) {
        return;
    }
    if (object->last_good != NULL) { // which has none itself
        object_unref(object->last_good);
    }
    problems_fini(&object->problems);
    json_object_put(object->source);
    arena_fini(&object->arena);
    free(object);
}

// The member or item that the path begins with, which is cut off; NULL when there is none.
static struct json_object *step_into(struct json_object *json, struct slice *path)
{
    if (path->len > 0 && path->ptr[0] == '[') {
        struct slice number;
        uint64_t index;
        *path = slice_skip(*path, 1);
        bool ok = slice_split(path, ']', &number) && slice_to_u64(number, &index) == 0;
        return ok && json_object_is_type(json, json_type_array)
                   ? json_object_array_get_idx(json, (size_t)index)
                   : NULL;
    }
    char name[64];
    size_t len = 0;
    *path = slice_skip(*path, path->len > 0 && path->ptr[0] == '.' ? 1 : 0);
    while (len < path->len && path->ptr[len] != '.' && path->ptr[len] != '[') {
        len++;
    }
    snprintf(name, sizeof(name), "%.*s", (int)len, path->ptr);
    *path = slice_skip(*path, len);
    return json_object_is_type(json, json_type_object) ? json_object_object_get(json, name) : NULL;
}

int object_line(const struct object *object, struct slice path)
{
    int line = object->line;
    struct json_object *json = object->source;
    while (json != NULL && path.len > 0) {
        json = step_into(json, &path);
        int inner = yaml_json_line(json);
        line = inner > 0 ? inner : line;
    }
    return line;
}

// ---- metadata ----

// Seconds since 1970 of an RFC 3339 time as Kubernetes writes it; 0 when it is anything else.
static int64_t parse_time(const char *text)
{
    struct tm tm = {0};
    const char *end = text != NULL ? strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm) : NULL;
    return end != NULL && *end == '\0' ? (int64_t)timegm(&tm) : 0;
}

static bool is_dns_name(const char *text, size_t max_len)
{
    return text != NULL && strlen(text) <= max_len && pattern_matches(PATTERN_DNS_SUBDOMAIN, text);
}

// Fields that may be in metadata; a file that has any other is wrong.
static const char *const metadata_names[] = {
    "name", "namespace", "labels", "annotations", "uid", "resourceVersion", "generation",
    "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "finalizers",
    "generateName", "managedFields", "ownerReferences", "selfLink", NULL,
};
static const char *const object_names[] = {"apiVersion", "kind", "metadata", "spec", "status",
                                           NULL};

static void check_names(struct object *object, struct json_object *json, const char *path,
                        const char *const *names)
{
    json_object_object_foreach(json, key, value) {
        size_t i = 0;
        while (names[i] != NULL && strcmp(names[i], key) != 0) {
            i++;
        }
        if (names[i] == NULL) {
            const char *closest = closest_name(key, names);
            int line = yaml_json_line(value);
            problems_add(&object->problems, line > 0 ? line : object->line, path,
                         "unknown field \"%.64s\"%s%s%s", key,
                         closest != NULL ? ", did you mean \"" : "", closest != NULL ? closest : "",
                         closest != NULL ? "\"?" : "");
        }
    }
}

// An entry of labels, whose values are restricted, or of annotations, whose values are not.
static void check_entry(struct object *object, int line, const char *path, const char *key,
                        struct json_object *value)
{
    bool is_label = strcmp(path, "metadata.labels") == 0;
    const char *text = json_object_get_string(value);
    if (!pattern_is_label_key(slice_of_str(key))) {
        problems_add(&object->problems, line, path, "\"%.100s\" is not a name that a key may have",
                     key);
    } else if (value != NULL && !json_object_is_type(value, json_type_string)) {
        problems_add(&object->problems, line, path,
                     "%.100s must be a string (in YAML, put it in quotes)", key);
    } else if (is_label && text != NULL &&
               (strlen(text) > 63 || !pattern_matches(PATTERN_LABEL_VALUE, text))) {
        problems_add(&object->problems, line, path,
                     "%.100s: \"%.100s\" is not a value that a label may have", key, text);
    }
}

static void check_entries(struct object *object, struct json_object *metadata, const char *field,
                          const char *path)
{
    struct json_object *entries = json_object_object_get(metadata, field);
    if (entries == NULL) {
        return;
    }
    int own_line = yaml_json_line(entries);
    own_line = own_line > 0 ? own_line : object->line;
    if (!json_object_is_type(entries, json_type_object)) {
        problems_add(&object->problems, own_line, path, "must be an object");
        return;
    }
    json_object_object_foreach(entries, key, value) {
        int line = yaml_json_line(value);
        check_entry(object, line > 0 ? line : own_line, path, key, value);
    }
}

// A name that is not a string (an unquoted 5) is not the same as none.
static int read_name(struct json_object *metadata, const char *field, const char **ret_text,
                     struct error *err)
{
    struct json_object *value = json_object_object_get(metadata, field);
    *ret_text = reader_text(metadata, field);
    return value == NULL || json_object_is_type(value, json_type_string)
               ? 0
               : error_set(err, -EINVAL,
                           "metadata.%s: must be a string (in YAML, put it in quotes)", field);
}

static int read_metadata(struct object *object, struct json_object *json,
                         const struct object_origin *origin, struct error *err)
{
    const char *kind = object_kinds[object->kind].kind;
    struct json_object *metadata = reader_object(json, "metadata");
    const char *name = NULL;
    const char *namespace = NULL;
    int rc = read_name(metadata, "name", &name, err);
    rc = rc != 0 ? rc : read_name(metadata, "namespace", &namespace, err);
    if (rc != 0) {
        return error_prefix(err, rc, "%s", kind);
    }
    if (!is_dns_name(name, 253)) {
        return error_set(err, -EINVAL, "%s: metadata.name: %s", kind,
                         name == NULL ? "required" : "must be a DNS name in lower case");
    }
    if (namespace == NULL) {
        namespace = origin->default_namespace.ptr;
    }
    if (!is_dns_name(namespace, 63)) {
        return error_set(err, -EINVAL, "%s %s: metadata.namespace: %s", kind, name,
                         namespace == NULL ? "required" : "must be a DNS label in lower case");
    }
    struct arena *arena = &object->arena;
    object->name = arena_dup(arena, slice_of_str(name));
    object->namespace = arena_dup(arena, slice_of_str(namespace));
    object->key = arena_printf(arena, "%s/%s", namespace, name);
    const char *uid = reader_text(metadata, "uid");
    object->uid = arena_dup(arena, slice_of_str(uid != NULL ? uid : ""));
    object->generation = reader_int(metadata, "generation");
    object->created = parse_time(reader_text(metadata, "creationTimestamp"));
    object->deleting = reader_text(metadata, "deletionTimestamp") != NULL;
    bool copied = object->name.ptr != NULL && object->namespace.ptr != NULL &&
                  object->key.ptr != NULL && object->uid.ptr != NULL;
    return copied ? 0 : error_set(err, -ENOMEM, "out of memory");
}

// ---- our own kinds ----

enum { FOUND_METRICS_MAX = 4096 };

// Read apart from the rest: a broken route of another class is no business of ours.
static int read_ingress_class(struct object *object, struct json_object *spec)
{
    const char *text = reader_text(spec, "ingressClassName");
    object->ingress_class =
        arena_dup(&object->arena, slice_of_str(text != NULL ? text : "headrace"));
    return object->ingress_class.ptr != NULL ? 0 : -ENOMEM;
}

static int read_found(struct object *object, struct json_object *status)
{
    struct json_object *metrics = reader_array(status, "metricsFound");
    const char *engine = reader_text(status, "engine");
    struct strbuf names;
    strbuf_init(&names, FOUND_METRICS_MAX);
    for (size_t i = 0; metrics != NULL && i < json_object_array_length(metrics); i++) {
        const char *name = json_object_get_string(json_object_array_get_idx(metrics, i));
        strbuf_printf(&names, "%s%s", names.len > 0 ? "," : "", name != NULL ? name : "");
    }
    object->found_engine = arena_dup(&object->arena, slice_of_str(engine != NULL ? engine : ""));
    object->found_metrics = arena_dup(&object->arena, strbuf_slice(&names));
    strbuf_fini(&names);
    bool copied = object->found_engine.ptr != NULL && object->found_metrics.ptr != NULL;
    return copied ? 0 : -ENOMEM;
}

static int read_own(struct object *object, struct json_object *json,
                    const struct object_origin *origin, struct error *err)
{
    static const struct schema_object *const schemas[] = {
        [OBJECT_AIROUTE] = &airoute_spec_schema,
        [OBJECT_MODELBACKEND] = &modelbackend_spec_schema,
    };
    if (origin->file.len > 0) {
        object->source = json_object_get(json);
    }
    if (origin->strict) {
        check_names(object, json, "", object_names);
        struct json_object *metadata = reader_object(json, "metadata");
        check_names(object, metadata, "metadata", metadata_names);
        check_entries(object, metadata, "labels", "metadata.labels");
        check_entries(object, metadata, "annotations", "metadata.annotations");
    }
    struct json_object *spec = json_object_object_get(json, "spec");
    if (spec == NULL) {
        problems_add(&object->problems, object->line, "spec", "required");
        object->ingress_class = SLICE("headrace");
        return 0;
    }
    struct schema_reader reader = {
        .arena = &object->arena, .problems = &object->problems, .strict = origin->strict};
    int line = yaml_json_line(spec);
    void *result = NULL;
    int rc = object->kind == OBJECT_AIROUTE ? read_ingress_class(object, spec)
                                            : read_found(object, reader_object(json, "status"));
    if (rc == 0) {
        rc = schema_read(&reader, schemas[object->kind], spec, "spec",
                         line > 0 ? line : object->line, &result);
    }
    if (rc == -ENOMEM) {
        return error_set(err, -ENOMEM, "%s %s: too large, or out of memory",
                         object_kinds[object->kind].kind, object->key.ptr);
    }
    object->spec = problems_any(&object->problems) ? NULL : result;
    return 0;
}

enum { OBJECT_BYTES_MAX = 16 << 20 };

int object_read(enum object_kind kind, struct json_object *json, const struct object_origin *origin,
                struct object **ret_object, struct error *err)
{
    if (!json_object_is_type(json, json_type_object)) {
        return error_set(err, -EINVAL, "not an object");
    }
    struct object *object = calloc(1, sizeof(*object));
    if (object == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    object->refs = 1;
    object->kind = kind;
    object->line = origin->line;
    arena_init(&object->arena, 1024, OBJECT_BYTES_MAX);
    if (origin->file.len > 0) {
        object->file = arena_dup(&object->arena, origin->file);
    }
    int rc = read_metadata(object, json, origin, err);
    if (rc == 0) {
        switch (kind) {
        case OBJECT_AIROUTE:
        case OBJECT_MODELBACKEND:
            rc = read_own(object, json, origin, err);
            break;
        case OBJECT_SERVICE:
            rc = reader_service(object, json);
            break;
        case OBJECT_ENDPOINTSLICE:
            rc = reader_endpointslice(object, json);
            break;
        case OBJECT_POD:
            rc = reader_pod(object, json);
            break;
        case OBJECT_SECRET:
        case OBJECT_CONFIGMAP:
            rc = reader_material(object, json);
            break;
        case OBJECT_KIND_COUNT:
            rc = -EINVAL;
            break;
        }
        if (rc == -ENOMEM) {
            error_set(err, rc, "%s %s: too large, or out of memory", object_kinds[kind].kind,
                      object->key.ptr);
        }
    }
    if (rc < 0) {
        object_unref(object);
        return rc;
    }
    *ret_object = object;
    return 0;
}
