#include "compile/resolve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/map.h"

// One address as it was found, before duplicates are merged.
struct candidate {
    struct endpoint_spec spec;
    bool ready;    // takes requests
    bool fallback; // takes requests while nobody is ready
    bool leaving;  // terminating, whether it still serves or not
    bool dropped;  // the same pod by its address of the other family
};

struct resolver {
    const struct resources *resources;
    const struct object *backend;
    struct resolution *out;
    VEC(struct candidate) found;
    bool failed; // out of memory
};

void resolution_fini(struct resolution *resolution)
{
    VEC_FINI(&resolution->endpoints);
    VEC_FINI(&resolution->terminating);
    *resolution = (struct resolution){0};
}

static void unresolved(struct resolver *r, enum condition_reason reason, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
static void unresolved(struct resolver *r, enum condition_reason reason, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(r->out->message, sizeof(r->out->message), fmt, args);
    va_end(args);
    r->out->resolved = false;
    r->out->reason = reason;
}

static void add_candidate(struct resolver *r, struct slice ip, int64_t port, struct slice pod,
                          int64_t weight, struct candidate candidate)
{
    if (endpoint_address_parse(ip, (uint16_t)port, &candidate.spec) < 0) {
        return; // the API server checked addresses; a file's nonsense is no endpoint
    }
    candidate.spec.pod = pod;
    candidate.spec.weight = (uint32_t)weight;
    candidate.spec.terminating = candidate.leaving;
    if (!VEC_PUSH(&r->found, candidate)) {
        r->failed = true;
    }
}

// ---- Service ----

// The Service's port that a reference names; NULL when it has none such.
static const struct service_port *find_port(const struct service_spec *service,
                                            const struct int_or_string *wanted)
{
    for (size_t i = 0; i < service->ports.len; i++) {
        const struct service_port *port = &service->ports.items[i];
        if (wanted->text.ptr != NULL ? slice_eq(port->name, wanted->text)
                                     : port->port == wanted->number) {
            return port;
        }
    }
    // A number in quotes is still a number.
    uint64_t number;
    if (wanted->text.ptr != NULL && slice_to_u64(wanted->text, &number) == 0) {
        struct int_or_string as_number = {.number = (int64_t)MIN_OF(number, UINT64_C(65536))};
        return find_port(service, &as_number);
    }
    return NULL;
}

// A slice's ports carry the name of the Service's port and the pods' own number.
static void add_slice(struct resolver *r, const struct object *slice, struct slice port_name)
{
    const struct endpointslice_spec *spec = slice->endpointslice;
    if (!spec->is_ip) {
        return;
    }
    for (size_t p = 0; p < spec->ports.len; p++) {
        const struct slice_port *port = &spec->ports.items[p];
        if (port->port == 0 || !slice_eq(port->name, port_name)) {
            continue;
        }
        for (size_t e = 0; e < spec->endpoints.len; e++) {
            const struct slice_endpoint *endpoint = &spec->endpoints.items[e];
            // Only the first address: "consumers … must handle the first" (discovery.k8s.io/v1).
            if (endpoint->addresses.len > 0) {
                struct candidate state = {
                    .ready = endpoint->ready && !endpoint->terminating,
                    .fallback = endpoint->serving && endpoint->terminating,
                    .leaving = endpoint->terminating,
                };
                add_candidate(r, endpoint->addresses.items[0], port->port, endpoint->pod, 1,
                              state);
            }
        }
    }
}

static struct slice print_key(const struct object *backend, const struct backend_service_ref *ref,
                              char *buf, size_t size)
{
    int n = snprintf(buf, size, "%.*s/%.*s", SLICE_FMT(backend->namespace), SLICE_FMT(ref->name));
    return slice_of(buf, (size_t)n);
}

static void resolve_service(struct resolver *r, const struct backend_service_ref *ref)
{
    char key[512];
    struct slice service_key = print_key(r->backend, ref, key, sizeof(key));
    const struct object *service = resources_get(r->resources, OBJECT_SERVICE, service_key);
    if (service == NULL) {
        unresolved(r, REASON_SERVICE_NOT_FOUND, "Service %s does not exist", key);
        return;
    }
    if (service->service->is_external_name) {
        unresolved(r, REASON_UNSUPPORTED_SERVICE, "Service %s has the type ExternalName", key);
        return;
    }
    const struct service_port *port = find_port(service->service, &ref->port);
    if (port == NULL && ref->port.text.ptr != NULL) {
        unresolved(r, REASON_PORT_NOT_FOUND, "Service %s has no port \"%s\"", key,
                   ref->port.text.ptr);
        return;
    }
    if (port == NULL) {
        unresolved(r, REASON_PORT_NOT_FOUND, "Service %s has no port %d", key,
                   (int)ref->port.number);
        return;
    }
    if (slice_eq(port->app_protocol, SLICE("https")) && r->backend->modelbackend->tls == NULL) {
        snprintf(r->out->message, sizeof(r->out->message),
                 "the port of Service %s says appProtocol https, but spec.tls is not set: its pods "
                 "are talked to in the clear", key);
    }
    const struct resource_list *slices = resources_slices(r->resources, service_key);
    for (size_t i = 0; slices != NULL && i < slices->list.len; i++) {
        add_slice(r, slices->list.items[i], port->name);
    }
}

// The names of the Service API (KEP-3726), and what others made a habit of before.
static bool means_http2(struct slice app_protocol)
{
    static const char *const names[] = {"kubernetes.io/h2c", "h2c", "http2", "grpc",
                                        "kubernetes.io/grpc"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (slice_eq_str(app_protocol, names[i])) {
            return true;
        }
    }
    return false;
}

// Do all slices' ports of that name mean HTTP/2, and is there one?
static bool slices_mean_http2(const struct resource_list *slices, struct slice port_name)
{
    bool any = false;
    for (size_t i = 0; slices != NULL && i < slices->list.len; i++) {
        const struct endpointslice_spec *spec = slices->list.items[i]->endpointslice;
        for (size_t p = 0; p < spec->ports.len; p++) {
            const struct slice_port *port = &spec->ports.items[p];
            if (!slice_eq(port->name, port_name)) {
                continue;
            }
            if (!means_http2(port->app_protocol)) {
                return false;
            }
            any = true;
        }
    }
    return any;
}

enum snap_protocol resolve_protocol(const struct resources *resources,
                                    const struct object *backend)
{
    const struct modelbackend_spec *spec = backend->modelbackend;
    const struct backend_service_ref *ref = spec->pool != NULL ? spec->pool->service_ref : NULL;
    if (spec->protocol != BACKEND_PROTOCOL_AUTO || ref == NULL) {
        return spec->protocol == BACKEND_PROTOCOL_HTTP2 ? SNAP_PROTOCOL_HTTP2
                                                        : SNAP_PROTOCOL_HTTP1;
    }
    char buf[512];
    struct slice key = print_key(backend, ref, buf, sizeof(buf));
    const struct object *service = resources_get(resources, OBJECT_SERVICE, key);
    const struct service_port *port =
        service != NULL ? find_port(service->service, &ref->port) : NULL;
    bool is_http2 = port != NULL && (port->app_protocol.len > 0
                                         ? means_http2(port->app_protocol)
                                         : slices_mean_http2(resources_slices(resources, key),
                                                             port->name));
    return is_http2 ? SNAP_PROTOCOL_HTTP2 : SNAP_PROTOCOL_HTTP1;
}

// ---- Pods ----

static bool labels_match(const struct backend_selector *selector, const struct pod_spec *pod)
{
    size_t p = 0; // both lists are sorted by key
    for (size_t i = 0; i < selector->match_labels.len; i++) {
        const struct string_pair *wanted = &selector->match_labels.items[i];
        while (p < pod->labels.len && slice_cmp(pod->labels.items[p].key, wanted->key) < 0) {
            p++;
        }
        if (p == pod->labels.len || !slice_eq(pod->labels.items[p].key, wanted->key) ||
            !slice_eq(pod->labels.items[p].value, wanted->value)) {
            return false;
        }
    }
    return true;
}

static void resolve_selector(struct resolver *r, const struct backend_pool *pool)
{
    const struct map *pods = &r->resources->objects[OBJECT_POD];
    for (struct map_entry *e = NULL; (e = map_next(pods, e)) != NULL;) {
        const struct object *pod = e->value;
        if (slice_eq(pod->namespace, r->backend->namespace) && pod->pod->ip.len > 0 &&
            !pod->pod->finished && labels_match(pool->selector, pod->pod)) {
            struct candidate state = {
                .ready = pod->pod->ready && !pod->deleting,
                .fallback = pod->pod->ready && pod->deleting,
                .leaving = pod->deleting,
            };
            add_candidate(r, pod->pod->ip, pool->port, pod->name, 1, state);
        }
    }
}

// ---- all ----

static void resolve_static(struct resolver *r, const struct backend_static *list)
{
    for (size_t i = 0; i < list->endpoints.len; i++) {
        const struct backend_static_endpoint *endpoint = &list->endpoints.items[i];
        add_candidate(r, endpoint->address, endpoint->port, SLICE_NULL, endpoint->weight,
                      (struct candidate){.ready = true});
    }
}

// By address; of one address, the ready one first, then one that names its pod.
static int compare_candidates(const void *a, const void *b)
{
    const struct candidate *x = a;
    const struct candidate *y = b;
    if (x->spec.address_len != y->spec.address_len) {
        return x->spec.address_len < y->spec.address_len ? -1 : 1;
    }
    int order = memcmp(&x->spec.address, &y->spec.address, x->spec.address_len);
    if (order != 0) {
        return order;
    }
    if (x->ready != y->ready) {
        return x->ready ? -1 : 1;
    }
    if (x->fallback != y->fallback) {
        return x->fallback ? -1 : 1;
    }
    return slice_cmp(y->spec.pod, x->spec.pod);
}

static bool same_address(const struct endpoint_spec *a, const struct endpoint_spec *b)
{
    return a->address_len == b->address_len &&
           memcmp(&a->address, &b->address, a->address_len) == 0;
}

// "port/pod" in buf; empty for who names no pod.
static struct slice pod_key(const struct endpoint_spec *spec, char *buf, size_t size)
{
    // The port lies at the same place in both families.
    const struct sockaddr_in *in = (const struct sockaddr_in *)&spec->address;
    int n = snprintf(buf, size, "%u/%.*s", ntohs(in->sin_port), SLICE_FMT(spec->pod));
    return spec->pod.len > 0 && n > 0 && (size_t)n < size ? slice_of(buf, (size_t)n) : SLICE_NULL;
}

// A Service of both families has each pod in a slice of each. It is one server all the same, with
// one queue: of two addresses of a pod the IPv4 one counts, as long as it is as good. The
// candidates are sorted: IPv4 comes first.
static void drop_second_families(struct resolver *r)
{
    struct map pods = {0};
    char buf[320];
    for (size_t i = 0; i < r->found.len; i++) {
        struct candidate *candidate = &r->found.items[i];
        struct slice key = pod_key(&candidate->spec, buf, sizeof(buf));
        if (key.len == 0) {
            continue;
        }
        if (candidate->spec.address.ss_family == AF_INET) {
            r->failed = map_put(&pods, key, candidate, NULL) < 0 || r->failed;
            continue;
        }
        struct candidate *first = map_get(&pods, key);
        if (first != NULL) {
            bool better = (candidate->ready && !first->ready) ||
                          (candidate->fallback && !first->fallback && !first->ready);
            (better ? first : candidate)->dropped = true;
        }
    }
    map_fini(&pods);
}

static void drop_same_addresses(struct resolver *r)
{
    size_t kept = 0;
    for (size_t i = 0; i < r->found.len; i++) {
        const struct candidate *candidate = &r->found.items[i];
        if (kept == 0 || !same_address(&candidate->spec, &r->found.items[kept - 1].spec)) {
            r->found.items[kept++] = *candidate;
        }
    }
    r->found.len = kept;
}

static void select_endpoints(struct resolver *r)
{
    bool any_ready = false;
    if (r->found.len > 0) {
        qsort(r->found.items, r->found.len, sizeof(struct candidate), compare_candidates);
    }
    drop_same_addresses(r);
    drop_second_families(r);
    size_t n = r->found.len;
    for (size_t i = 0; i < n; i++) {
        any_ready = any_ready || r->found.items[i].ready;
    }
    for (size_t i = 0; i < n; i++) {
        const struct candidate *candidate = &r->found.items[i];
        if (candidate->dropped) {
            continue;
        }
        r->out->total++;
        if (any_ready ? candidate->ready : candidate->fallback) {
            r->failed = !VEC_PUSH(&r->out->endpoints, candidate->spec) || r->failed;
        } else if (candidate->leaving) {
            r->failed = !VEC_PUSH(&r->out->terminating, candidate->spec) || r->failed;
        }
    }
}

int resolve_backend(const struct resources *resources, const struct object *backend,
                    struct resolution *ret)
{
    struct resolution out = {.resolved = true,
                             .reason = REASON_RESOLVED_REFS,
                             .protocol = resolve_protocol(resources, backend)};
    struct resolver r = {.resources = resources, .backend = backend, .out = &out};
    const struct modelbackend_spec *spec = backend->modelbackend;
    if (spec->static_list != NULL) {
        resolve_static(&r, spec->static_list);
    } else if (spec->pool->service_ref != NULL) {
        resolve_service(&r, spec->pool->service_ref);
    } else {
        resolve_selector(&r, spec->pool);
    }
    select_endpoints(&r);
    VEC_FINI(&r.found);
    if (r.failed) {
        resolution_fini(&out);
        return -ENOMEM;
    }
    *ret = out;
    return 0;
}

void resolution_refuse(struct resolution *resolution, const struct address_guard *guard)
{
    size_t kept = 0;
    size_t refused = 0;
    for (size_t i = 0; i < resolution->endpoints.len; i++) {
        const struct endpoint_spec *spec = &resolution->endpoints.items[i];
        enum address_class class = address_guard_check(guard, &spec->address);
        if (class == ADDRESS_ORDINARY) {
            resolution->endpoints.items[kept++] = *spec;
        } else if (refused++ == 0) {
            char text[64];
            endpoint_address_format(&spec->address, text, sizeof(text));
            snprintf(resolution->message, sizeof(resolution->message),
                     "%s is %s, which Headrace does not connect to%s", text,
                     address_class_text(class),
                     class == ADDRESS_OWN ? "" : " (see --allow-endpoint-addresses)");
        }
    }
    resolution->endpoints.len = kept;
    if (refused != 0) {
        resolution->resolved = false;
        resolution->reason = REASON_ENDPOINT_REFUSED;
    }
}

bool resolve_depends(const struct object *backend, const struct object *changed)
{
    const struct modelbackend_spec *spec = backend->modelbackend;
    if (spec == NULL || spec->pool == NULL || !slice_eq(backend->namespace, changed->namespace)) {
        return false;
    }
    const struct backend_service_ref *ref = spec->pool->service_ref;
    switch (changed->kind) {
    case OBJECT_SERVICE:
        return ref != NULL && slice_eq(ref->name, changed->name);
    case OBJECT_ENDPOINTSLICE:
        return ref != NULL && slice_eq(ref->name, changed->endpointslice->service);
    case OBJECT_POD:
        return spec->pool->selector != NULL && labels_match(spec->pool->selector, changed->pod);
    case OBJECT_AIROUTE:
    case OBJECT_MODELBACKEND:
    case OBJECT_SECRET:
    case OBJECT_CONFIGMAP:
    case OBJECT_KIND_COUNT:
        break;
    }
    return false;
}
