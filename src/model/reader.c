#include "model/reader.h"

#include <errno.h>
#include <stdlib.h>

// An EndpointSlice has at most 1000 endpoints of 100 addresses, a Service far fewer ports; see
// k8s.io/kubernetes pkg/apis/discovery/validation.
enum { ENDPOINTS_MAX = 1000, ADDRESSES_MAX = 100, PORTS_MAX = 20000, LABELS_MAX = 1000 };

static struct json_object *member(struct json_object *json, const char *name, enum json_type type)
{
    if (!json_object_is_type(json, json_type_object)) {
        return NULL;
    }
    struct json_object *value = json_object_object_get(json, name);
    return json_object_is_type(value, type) ? value : NULL;
}

struct json_object *reader_object(struct json_object *json, const char *name)
{
    return member(json, name, json_type_object);
}

struct json_object *reader_array(struct json_object *json, const char *name)
{
    return member(json, name, json_type_array);
}

const char *reader_text(struct json_object *json, const char *name)
{
    struct json_object *value = member(json, name, json_type_string);
    const char *text = value != NULL ? json_object_get_string(value) : NULL;
    return text != NULL && strlen(text) == (size_t)json_object_get_string_len(value) ? text : NULL;
}

int64_t reader_int(struct json_object *json, const char *name)
{
    struct json_object *value = member(json, name, json_type_int);
    return value != NULL ? json_object_get_int64(value) : 0;
}

static size_t bounded_length(struct json_object *array, size_t max)
{
    return array != NULL ? MIN_OF(json_object_array_length(array), max) : 0;
}

// A copy in the arena; "" for NULL.
static struct slice keep(struct object *object, const char *text)
{
    return arena_dup(&object->arena, slice_of_str(text != NULL ? text : ""));
}

static int64_t port_number(struct json_object *json, const char *name)
{
    int64_t port = reader_int(json, name);
    return port > 0 && port <= 65535 ? port : 0;
}

// ---- Service ----

int reader_service(struct object *object, struct json_object *json)
{
    struct service_spec *spec = ARENA_NEW(&object->arena, struct service_spec);
    struct json_object *from = reader_object(json, "spec");
    struct json_object *ports = reader_array(from, "ports");
    size_t n = bounded_length(ports, PORTS_MAX);
    if (spec == NULL) {
        return -ENOMEM;
    }
    const char *type = reader_text(from, "type");
    spec->is_external_name = type != NULL && strcmp(type, "ExternalName") == 0;
    spec->ports.items = ARENA_ARRAY(&object->arena, struct service_port, n);
    if (n > 0 && spec->ports.items == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        struct json_object *port = json_object_array_get_idx(ports, i);
        struct service_port *out = &spec->ports.items[spec->ports.len];
        out->name = keep(object, reader_text(port, "name"));
        out->port = port_number(port, "port");
        out->app_protocol = keep(object, reader_text(port, "appProtocol"));
        if (out->name.ptr == NULL || out->app_protocol.ptr == NULL) {
            return -ENOMEM;
        }
        spec->ports.len += out->port > 0;
    }
    object->service = spec;
    return 0;
}

// ---- EndpointSlice ----

static bool flag(struct json_object *conditions, const char *name, bool absent)
{
    struct json_object *value = member(conditions, name, json_type_boolean);
    return value != NULL ? json_object_get_boolean(value) : absent;
}

static int read_slice_endpoint(struct object *object, struct json_object *json,
                               struct slice_endpoint *out)
{
    struct json_object *addresses = reader_array(json, "addresses");
    struct json_object *conditions = reader_object(json, "conditions");
    struct json_object *target = reader_object(json, "targetRef");
    size_t n = bounded_length(addresses, ADDRESSES_MAX);
    out->ready = flag(conditions, "ready", true);
    out->serving = flag(conditions, "serving", out->ready);
    out->terminating = flag(conditions, "terminating", false);
    out->pod = keep(object, reader_text(target, "name"));
    out->addresses.items = ARENA_ARRAY(&object->arena, struct slice, n);
    if (out->pod.ptr == NULL || (n > 0 && out->addresses.items == NULL)) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        struct json_object *address = json_object_array_get_idx(addresses, i);
        if (json_object_is_type(address, json_type_string)) {
            struct slice copy = keep(object, json_object_get_string(address));
            if (copy.ptr == NULL) {
                return -ENOMEM;
            }
            out->addresses.items[out->addresses.len++] = copy;
        }
    }
    return 0;
}

static int read_slice_ports(struct object *object, struct json_object *json,
                            struct endpointslice_spec *spec)
{
    struct json_object *ports = reader_array(json, "ports");
    size_t n = bounded_length(ports, PORTS_MAX);
    spec->ports.items = ARENA_ARRAY(&object->arena, struct slice_port, n);
    if (n > 0 && spec->ports.items == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        struct json_object *port = json_object_array_get_idx(ports, i);
        struct slice_port *out = &spec->ports.items[spec->ports.len++];
        out->name = keep(object, reader_text(port, "name"));
        out->port = port_number(port, "port");
        out->app_protocol = keep(object, reader_text(port, "appProtocol"));
        if (out->name.ptr == NULL || out->app_protocol.ptr == NULL) {
            return -ENOMEM;
        }
    }
    return 0;
}

int reader_endpointslice(struct object *object, struct json_object *json)
{
    struct endpointslice_spec *spec = ARENA_NEW(&object->arena, struct endpointslice_spec);
    struct json_object *endpoints = reader_array(json, "endpoints");
    struct json_object *labels = reader_object(reader_object(json, "metadata"), "labels");
    size_t n = bounded_length(endpoints, ENDPOINTS_MAX);
    if (spec == NULL) {
        return -ENOMEM;
    }
    const char *type = reader_text(json, "addressType");
    spec->is_ip = type != NULL && (strcmp(type, "IPv4") == 0 || strcmp(type, "IPv6") == 0);
    spec->service = keep(object, reader_text(labels, "kubernetes.io/service-name"));
    spec->endpoints.items = ARENA_ARRAY(&object->arena, struct slice_endpoint, n);
    if (spec->service.ptr == NULL || (n > 0 && spec->endpoints.items == NULL)) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        int rc = read_slice_endpoint(object, json_object_array_get_idx(endpoints, i),
                                     &spec->endpoints.items[spec->endpoints.len++]);
        if (rc < 0) {
            return rc;
        }
    }
    int rc = read_slice_ports(object, json, spec);
    if (rc == 0) {
        object->endpointslice = spec;
    }
    return rc;
}

// ---- Pod ----

static int compare_pairs(const void *a, const void *b)
{
    return slice_cmp(((const struct string_pair *)a)->key, ((const struct string_pair *)b)->key);
}

static int read_labels(struct object *object, struct json_object *labels, struct pod_spec *spec)
{
    size_t n = labels != NULL ? (size_t)json_object_object_length(labels) : 0;
    n = MIN_OF(n, (size_t)LABELS_MAX);
    spec->labels.items = ARENA_ARRAY(&object->arena, struct string_pair, n);
    if (n == 0) {
        return 0;
    }
    if (spec->labels.items == NULL) {
        return -ENOMEM;
    }
    json_object_object_foreach(labels, key, value) {
        struct string_pair pair = {
            .key = keep(object, key),
            .value = keep(object, json_object_is_type(value, json_type_string)
                                      ? json_object_get_string(value)
                                      : NULL),
        };
        if (pair.key.ptr == NULL || pair.value.ptr == NULL) {
            return -ENOMEM;
        }
        if (spec->labels.len < n) {
            spec->labels.items[spec->labels.len++] = pair;
        }
    }
    qsort(spec->labels.items, spec->labels.len, sizeof(struct string_pair), compare_pairs);
    return 0;
}

static bool condition_true(struct json_object *status, const char *wanted)
{
    struct json_object *conditions = reader_array(status, "conditions");
    for (size_t i = 0; i < bounded_length(conditions, LABELS_MAX); i++) {
        struct json_object *condition = json_object_array_get_idx(conditions, i);
        const char *type = reader_text(condition, "type");
        const char *value = reader_text(condition, "status");
        if (type != NULL && value != NULL && strcmp(type, wanted) == 0) {
            return strcmp(value, "True") == 0;
        }
    }
    return false;
}

int reader_pod(struct object *object, struct json_object *json)
{
    struct pod_spec *spec = ARENA_NEW(&object->arena, struct pod_spec);
    struct json_object *status = reader_object(json, "status");
    if (spec == NULL) {
        return -ENOMEM;
    }
    const char *phase = reader_text(status, "phase");
    spec->finished =
        phase != NULL && (strcmp(phase, "Succeeded") == 0 || strcmp(phase, "Failed") == 0);
    spec->ready = condition_true(status, "Ready");
    spec->ip = keep(object, reader_text(status, "podIP"));
    if (spec->ip.ptr == NULL) {
        return -ENOMEM;
    }
    int rc = read_labels(object, reader_object(reader_object(json, "metadata"), "labels"), spec);
    if (rc == 0) {
        object->pod = spec;
    }
    return rc;
}
