// Objects in; snapshots, endpoints and statuses out.
#include "controller/controller.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "json/yaml_json.h"
#include "tls/pems.h"

enum { SAID_MAX = 64 };

struct world {
    struct loop *loop;
    struct epoch *epoch;
    struct endpoint_table *table;
    struct controller *controller;
    struct snapshot *snapshot; // the last one
    size_t publications;
    struct object_status said[SAID_MAX];
    size_t said_count;
    size_t gone_count;
    size_t withdrawn_count;
    char references[1024]; // "+Secret d/name -Secret d/name "
    uint64_t now_ms;
};

static void on_publish(void *arg, struct snapshot *snapshot)
{
    struct world *w = arg;
    snapshot_unref(w->snapshot);
    w->snapshot = snapshot;
    w->publications++;
}

static void on_status(void *arg, const struct object_status *status)
{
    struct world *w = arg;
    assert_true(w->said_count < SAID_MAX);
    assert_true(object_status_copy(status, &w->said[w->said_count++]));
}

static void on_gone(void *arg, enum object_kind kind, struct slice namespace, struct slice name)
{
    struct world *w = arg;
    assert_true(kind == OBJECT_AIROUTE || kind == OBJECT_MODELBACKEND);
    assert_true(namespace.len > 0 && name.len > 0);
    w->gone_count++;
}

static void on_withdraw(void *arg, enum object_kind kind, struct slice namespace,
                        struct slice name)
{
    struct world *w = arg;
    assert_int_equal(kind, OBJECT_AIROUTE);
    assert_true(slice_eq_str(namespace, "d") && slice_eq_str(name, "r"));
    w->withdrawn_count++;
}

static void on_reference(void *arg, enum object_kind kind, struct slice namespace,
                         struct slice name, bool is_wanted)
{
    struct world *w = arg;
    size_t at = strlen(w->references);
    snprintf(w->references + at, sizeof(w->references) - at, "%c%s %.*s/%.*s ",
             is_wanted ? '+' : '-', object_kinds[kind].kind, SLICE_FMT(namespace),
             SLICE_FMT(name));
}

static void forget_said(struct world *w)
{
    for (size_t i = 0; i < w->said_count; i++) {
        object_status_fini(&w->said[i]);
    }
    w->said_count = 0;
}

static int world_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct error err = ERROR_INIT;
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    w->now_ms = 1000000;
    clock_fake_set_ns(w->now_ms * 1000000);
    assert_int_equal(loop_new(&w->loop, &err), 0);
    assert_int_equal(posix_memalign((void **)&w->epoch, CACHE_LINE, sizeof(*w->epoch)), 0);
    epoch_init(w->epoch);
    assert_int_equal(endpoint_table_new(&w->table, w->epoch), 0);
    struct controller_config config = {
        .loop = w->loop,
        .endpoints = w->table,
        .ingress_class = SLICE("headrace"),
        .sink = {.publish = on_publish,
                 .status = on_status,
                 .status_gone = on_gone,
                 .status_withdraw = on_withdraw,
                 .reference = on_reference,
                 .arg = w},
    };
    assert_int_equal(controller_new(&config, &w->controller, &err), 0);
    *state = w;
    return 0;
}

static int world_down(void **state)
{
    struct world *w = *state;
    forget_said(w);
    controller_free(w->controller);
    snapshot_unref(w->snapshot);
    endpoint_table_free(w->table);
    epoch_fini(w->epoch);
    free(w->epoch);
    loop_free(w->loop);
    clock_fake_set_ns(0);
    free(w);
    return 0;
}

static void pass_ms(struct world *w, uint64_t ms)
{
    w->now_ms += ms;
    clock_fake_set_ns(w->now_ms * 1000000);
    loop_turn(w->loop, 0);
}

static struct json_object *parse(const char *yaml)
{
    struct json_object *json = NULL;
    struct error err = ERROR_INIT;
    assert_int_equal(yaml_json_one(slice_of_str(yaml), "test", NULL, &json, &err), 0);
    return json;
}

static const struct object_origin origin = {.default_namespace = SLICE("d")};

static int upsert_rc(struct world *w, enum object_kind kind, const char *yaml)
{
    struct json_object *json = parse(yaml);
    struct error err = ERROR_INIT;
    int rc = controller_upsert(w->controller, kind, json, &origin, &err);
    json_object_put(json);
    return rc;
}

static void upsert(struct world *w, enum object_kind kind, const char *yaml)
{
    assert_int_equal(upsert_rc(w, kind, yaml), 0);
}

static const struct object_status *said_of(struct world *w, enum object_kind kind, const char *name)
{
    for (size_t i = w->said_count; i > 0; i--) {
        if (w->said[i - 1].kind == kind && strcmp(w->said[i - 1].name, name) == 0) {
            return &w->said[i - 1];
        }
    }
    return NULL;
}

static void expect(struct world *w, enum object_kind kind, const char *name,
                   enum condition_type type, enum condition_state state, const char *reason)
{
    const struct object_status *status = said_of(w, kind, name);
    if (status == NULL) {
        fail_msg("nothing was said of %s", name);
    }
    assert_true(status->conditions[type].present);
    assert_string_equal(condition_reason_text(status->conditions[type].reason), reason);
    assert_int_equal(status->conditions[type].state, state);
}

static size_t endpoints_of(struct world *w, const char *key)
{
    struct backend_state *backend = endpoint_table_backend(w->table, slice_of_str(key));
    size_t count = backend_state_endpoints(backend)->count;
    backend_state_unref(backend);
    return count;
}

#define BACKEND_STATIC                                               \
    "metadata: {name: b, generation: 1, uid: u}\n"                   \
    "spec: {static: {endpoints: [{address: 10.0.0.1, port: 80}]}}\n"
#define ROUTE                                                       \
    "metadata: {name: r, generation: 1, uid: v}\n"                  \
    "spec: {rules: [{name: a, backends: [{name: b}]}]}\n"
#define BACKEND_SERVICE \
    "metadata: {name: b, generation: 1}\nspec: {pool: {serviceRef: {name: s, port: http}}}\n"
#define SERVICE "metadata: {name: s}\nspec: {ports: [{name: http, port: 80}]}\n"
#define SLICE_OF(ready)                                                              \
    "metadata: {name: s-1, labels: {kubernetes.io/service-name: s}}\n"               \
    "addressType: IPv4\nports: [{name: http, port: 8000}]\n"                         \
    "endpoints: [{addresses: [10.1.0.1], conditions: {ready: " ready "}}]\n"

static void test_nothing_before_sync(void **state)
{
    struct world *w = *state;
    upsert(w, OBJECT_MODELBACKEND, BACKEND_STATIC);
    upsert(w, OBJECT_AIROUTE, ROUTE);
    pass_ms(w, 10000);
    controller_flush(w->controller);
    assert_int_equal(w->publications, 0);
    controller_synced(w->controller);
    pass_ms(w, 1);
    assert_int_equal(w->publications, 1);
    assert_int_equal(w->snapshot->host_count, 1);
    expect(w, OBJECT_AIROUTE, "r", CONDITION_READY, CONDITION_TRUE, "Ready");
    expect(w, OBJECT_MODELBACKEND, "b", CONDITION_PROGRAMMED, CONDITION_TRUE, "Programmed");
    assert_int_equal(said_of(w, OBJECT_AIROUTE, "r")->generation, 1);
    assert_string_equal(said_of(w, OBJECT_AIROUTE, "r")->uid, "v");
    assert_int_equal(endpoints_of(w, "d/b"), 1);
}

static void test_nothing_at_all_is_published_too(void **state)
{
    struct world *w = *state;
    controller_synced(w->controller);
    controller_synced(w->controller);
    pass_ms(w, 1);
    assert_int_equal(w->publications, 1);
    assert_int_equal(w->snapshot->host_count, 0);
}

static void sync(struct world *w)
{
    controller_synced(w->controller);
    pass_ms(w, 1);
    w->publications = 0;
}

static void test_a_burst_is_compiled_once(void **state)
{
    struct world *w = *state;
    sync(w);
    for (int i = 0; i < 10; i++) { // every 20 ms: the hold-off of 50 ms moves on, up to 250 ms
        char yaml[256];
        snprintf(yaml, sizeof(yaml), "metadata: {name: r%d}\nspec: {rules: [{name: a, backends: "
                                     "[{name: b}], matches: [{path: {value: /%d}}]}]}\n", i, i);
        upsert(w, OBJECT_AIROUTE, yaml);
        pass_ms(w, 20);
        assert_int_equal(w->publications, 0);
    }
    pass_ms(w, 60);
    assert_int_equal(w->publications, 1);
    assert_int_equal(w->snapshot->hosts[0].entry_count, 10);
    pass_ms(w, 1000);
    assert_int_equal(w->publications, 1);
    for (int i = 0; i < 30; i++) { // without an end: the maximum holds
        upsert(w, OBJECT_AIROUTE, ROUTE "x: 1\n");
        controller_delete(w->controller, OBJECT_AIROUTE, SLICE("d"), SLICE("r"));
        pass_ms(w, 20);
    }
    assert_true(w->publications >= 2 && w->publications <= 4);
}

static void test_endpoints_alone_compile_nothing(void **state)
{
    struct world *w = *state;
    upsert(w, OBJECT_MODELBACKEND, BACKEND_SERVICE);
    upsert(w, OBJECT_AIROUTE, ROUTE);
    sync(w);
    expect(w, OBJECT_MODELBACKEND, "b", CONDITION_RESOLVED_REFS, CONDITION_FALSE,
           "ServiceNotFound");
    expect(w, OBJECT_AIROUTE, "r", CONDITION_READY, CONDITION_FALSE, "NoReadyEndpoints");
    uint64_t compiles = controller_counters(w->controller)->compiles;
    upsert(w, OBJECT_SERVICE, SERVICE);
    upsert(w, OBJECT_ENDPOINTSLICE, SLICE_OF("false"));
    controller_flush(w->controller);
    expect(w, OBJECT_MODELBACKEND, "b", CONDITION_READY, CONDITION_FALSE, "NoReadyEndpoints");
    assert_int_equal(said_of(w, OBJECT_MODELBACKEND, "b")->endpoints_total, 1);
    forget_said(w);
    upsert(w, OBJECT_ENDPOINTSLICE, SLICE_OF("true"));
    controller_flush(w->controller);
    assert_int_equal(endpoints_of(w, "d/b"), 1);
    expect(w, OBJECT_MODELBACKEND, "b", CONDITION_READY, CONDITION_TRUE, "Ready");
    expect(w, OBJECT_AIROUTE, "r", CONDITION_READY, CONDITION_TRUE, "Ready");
    assert_int_equal(said_of(w, OBJECT_MODELBACKEND, "b")->endpoints_ready, 1);
    forget_said(w);
    controller_delete(w->controller, OBJECT_ENDPOINTSLICE, SLICE("d"), SLICE("s-1"));
    controller_flush(w->controller);
    assert_int_equal(endpoints_of(w, "d/b"), 0);
    expect(w, OBJECT_AIROUTE, "r", CONDITION_READY, CONDITION_FALSE, "NoReadyEndpoints");
    forget_said(w);
    // Somebody else's slice concerns nobody.
    upsert(w, OBJECT_ENDPOINTSLICE,
           "metadata: {name: t-1, labels: {kubernetes.io/service-name: t}}\naddressType: IPv4\n"
           "ports: [{name: http, port: 8000}]\nendpoints: [{addresses: [10.1.0.9]}]\n");
    uint64_t updates = controller_counters(w->controller)->endpoint_updates;
    pass_ms(w, 1000);
    assert_int_equal(controller_counters(w->controller)->endpoint_updates, updates);
    assert_int_equal(w->said_count, 0);
    assert_int_equal(controller_counters(w->controller)->compiles, compiles);
    assert_int_equal(w->publications, 0);
}

static void test_pods_by_selector(void **state)
{
    struct world *w = *state;
    assert_false(controller_needs_pods(w->controller));
    upsert(w, OBJECT_MODELBACKEND,
           "metadata: {name: b}\nspec: {pool: {selector: {matchLabels: {app: x}}, port: 80}}\n");
    assert_true(controller_needs_pods(w->controller));
    sync(w);
    upsert(w, OBJECT_POD, "metadata: {name: p, labels: {app: x}}\n"
                          "status: {podIP: 10.2.0.1, conditions: [{type: Ready, "
                          "status: 'True'}]}\n");
    controller_flush(w->controller);
    assert_int_equal(endpoints_of(w, "d/b"), 1);
    upsert(w, OBJECT_POD, "metadata: {name: p, labels: {app: z}}\n" // no longer chosen
                          "status: {podIP: 10.2.0.1, conditions: [{type: Ready, "
                          "status: 'True'}]}\n");
    controller_flush(w->controller);
    assert_int_equal(endpoints_of(w, "d/b"), 0);
    assert_int_equal(w->publications, 0);
}

static void test_own_status_writes_change_nothing(void **state)
{
    struct world *w = *state;
    upsert(w, OBJECT_MODELBACKEND, BACKEND_STATIC);
    upsert(w, OBJECT_AIROUTE, ROUTE);
    sync(w);
    forget_said(w);
    upsert(w, OBJECT_AIROUTE, ROUTE "status: {observedGeneration: 1}\n");
    assert_int_equal(w->said_count, 1); // said again, for the writer to compare
    pass_ms(w, 1000);
    assert_int_equal(w->publications, 0);
    assert_int_equal(w->said_count, 1);
    // A new object of the same name and generation is another one.
    upsert(w, OBJECT_AIROUTE, "metadata: {name: r, generation: 1, uid: other}\n"
                              "spec: {rules: [{name: a, backends: [{name: b}]}]}\n");
    controller_flush(w->controller);
    assert_int_equal(w->publications, 1);
    assert_string_equal(said_of(w, OBJECT_AIROUTE, "r")->uid, "other");
}

static void test_a_bad_object_leaves_the_rest(void **state)
{
    struct world *w = *state;
    upsert(w, OBJECT_MODELBACKEND, BACKEND_STATIC);
    upsert(w, OBJECT_AIROUTE, ROUTE);
    sync(w);
    upsert(w, OBJECT_AIROUTE, "metadata: {name: bad, generation: 2}\nspec: {rules: 7}\n");
    controller_flush(w->controller);
    assert_int_equal(w->snapshot->hosts[0].entry_count, 1);
    expect(w, OBJECT_AIROUTE, "bad", CONDITION_ACCEPTED, CONDITION_FALSE, "Invalid");
    expect(w, OBJECT_AIROUTE, "bad", CONDITION_STALLED, CONDITION_TRUE, "Invalid");
    assert_int_equal(controller_counters(w->controller)->objects_invalid, 1);
    upsert(w, OBJECT_AIROUTE,
           "metadata: {name: bad, generation: 3}\n"
           "spec: {rules: [{name: a, backends: [{name: b}], matches: [{path: {value: /x}}]}]}\n");
    controller_flush(w->controller);
    expect(w, OBJECT_AIROUTE, "bad", CONDITION_READY, CONDITION_TRUE, "Ready");
    assert_false(said_of(w, OBJECT_AIROUTE, "bad")->conditions[CONDITION_STALLED].present);
    assert_int_equal(controller_counters(w->controller)->objects_invalid, 0);
    // Not even a name: refused, and what is there stays.
    assert_int_equal(upsert_rc(w, OBJECT_AIROUTE, "spec: {}\n"), -EINVAL);
    assert_int_equal(controller_counters(w->controller)->upserts_rejected, 1);
}

static void test_refused_endpoints_are_left_out(void **state)
{
    struct world *w = *state;
    const struct address_guard guard = {0};
    w->table->guard = &guard;
    upsert(w, OBJECT_MODELBACKEND,
           "metadata: {name: b, generation: 1, uid: u}\n"
           "spec: {static: {endpoints: [{address: 10.0.0.1, port: 80},"
           " {address: 169.254.169.254, port: 80}]}}\n");
    upsert(w, OBJECT_MODELBACKEND,
           "metadata: {name: c, generation: 1, uid: u}\n"
           "spec: {static: {endpoints: [{address: '64:ff9b::7f00:1', port: 80}]}}\n");
    sync(w);
    assert_int_equal(endpoints_of(w, "d/b"), 1);
    assert_int_equal(endpoints_of(w, "d/c"), 0);
    expect(w, OBJECT_MODELBACKEND, "b", CONDITION_RESOLVED_REFS, CONDITION_FALSE,
           "EndpointRefused");
    expect(w, OBJECT_MODELBACKEND, "b", CONDITION_READY, CONDITION_TRUE, "Ready");
    assert_string_equal(said_of(w, OBJECT_MODELBACKEND, "b")->conditions[CONDITION_READY].message,
                        "1 of 2 endpoints take requests; 169.254.169.254:80 is the address of a "
                        "cloud's metadata service, which Headrace does not connect to (see "
                        "--allow-endpoint-addresses)");
    expect(w, OBJECT_MODELBACKEND, "c", CONDITION_READY, CONDITION_FALSE, "EndpointRefused");
}

static void test_deletion(void **state)
{
    struct world *w = *state;
    upsert(w, OBJECT_MODELBACKEND, BACKEND_STATIC);
    upsert(w, OBJECT_AIROUTE, ROUTE);
    sync(w);
    controller_delete(w->controller, OBJECT_MODELBACKEND, SLICE("d"), SLICE("b"));
    controller_delete(w->controller, OBJECT_MODELBACKEND, SLICE("d"), SLICE("never-was"));
    controller_flush(w->controller);
    assert_int_equal(w->gone_count, 1);
    expect(w, OBJECT_AIROUTE, "r", CONDITION_RESOLVED_REFS, CONDITION_FALSE, "BackendNotFound");
    assert_null(w->snapshot->hosts[0].entries[0].rule->targets[0].backend);
    controller_delete(w->controller, OBJECT_AIROUTE, SLICE("d"), SLICE("r"));
    controller_flush(w->controller);
    assert_int_equal(w->snapshot->host_count, 0);
    assert_int_equal(w->gone_count, 2);
}

static void test_moving_to_another_class(void **state)
{
    struct world *w = *state;
    upsert(w, OBJECT_MODELBACKEND, BACKEND_STATIC);
    upsert(w, OBJECT_AIROUTE, ROUTE);
    sync(w);
    forget_said(w);
    upsert(w, OBJECT_AIROUTE, "metadata: {name: r, generation: 2}\n"
                              "spec: {ingressClassName: x, rules: [{name: a, "
                              "backends: [{name: b}]}]}\n");
    controller_flush(w->controller);
    assert_int_equal(w->snapshot->host_count, 0);
    assert_null(said_of(w, OBJECT_AIROUTE, "r"));
    // What was said of it is to be taken back, once; when it goes nothing more is to be done.
    assert_int_equal(w->withdrawn_count, 1);
    assert_int_equal(w->gone_count, 0);
    upsert(w, OBJECT_AIROUTE, "metadata: {name: r, generation: 3}\n"
                              "spec: {ingressClassName: x, rules: [{name: c, "
                              "backends: [{name: b}]}]}\n");
    controller_flush(w->controller);
    controller_delete(w->controller, OBJECT_AIROUTE, SLICE("d"), SLICE("r"));
    controller_flush(w->controller);
    assert_int_equal(w->withdrawn_count, 1);
    assert_int_equal(w->gone_count, 0);
}

static void test_what_never_was_ours_is_left_alone(void **state)
{
    struct world *w = *state;
    upsert(w, OBJECT_AIROUTE, "metadata: {name: r, generation: 1}\n"
                              "spec: {ingressClassName: x, rules: [{name: a, "
                              "backends: [{name: b}]}]}\n");
    sync(w);
    controller_delete(w->controller, OBJECT_AIROUTE, SLICE("d"), SLICE("r"));
    controller_flush(w->controller);
    assert_int_equal(w->withdrawn_count, 0);
    assert_int_equal(w->gone_count, 0);
}

static void test_endpoint_state_survives_a_compilation(void **state)
{
    struct world *w = *state;
    upsert(w, OBJECT_MODELBACKEND, BACKEND_STATIC);
    sync(w);
    struct backend_state *backend = w->snapshot->backends[0]->state;
    struct endpoint *endpoint = backend_state_endpoints(backend)->items[0];
    upsert(w, OBJECT_MODELBACKEND,
           "metadata: {name: b, generation: 2}\nspec: {engine: VLLM, static: {endpoints: "
           "[{address: 10.0.0.1, port: 80}, {address: 10.0.0.2, port: 80}]}}\n");
    controller_flush(w->controller);
    assert_ptr_equal(w->snapshot->backends[0]->state, backend);
    assert_int_equal(backend_state_endpoints(backend)->count, 2);
    assert_true(backend_state_endpoints(backend)->items[0] == endpoint ||
                backend_state_endpoints(backend)->items[1] == endpoint);
    assert_int_equal(backend->scrape.engine, ENGINE_VLLM);
    assert_string_equal(said_of(w, OBJECT_MODELBACKEND, "b")->engine, "VLLM");
}

static void test_what_was_detected_is_said(void **state)
{
    struct world *w = *state;
    upsert(w, OBJECT_MODELBACKEND, BACKEND_STATIC);
    sync(w);
    assert_string_equal(said_of(w, OBJECT_MODELBACKEND, "b")->engine, "");
    forget_said(w);
    struct backend_state *backend = w->snapshot->backends[0]->state;
    atomic_store(&backend->detected_engine, ENGINE_SGLANG);
    pthread_mutex_lock(&w->table->lock);
    snprintf(backend->metrics_found, sizeof(backend->metrics_found), "sglang:num_queue_reqs");
    pthread_mutex_unlock(&w->table->lock);
    pass_ms(w, 2100);
    assert_int_equal(w->said_count, 1);
    assert_string_equal(said_of(w, OBJECT_MODELBACKEND, "b")->engine, "SGLang");
    assert_string_equal(said_of(w, OBJECT_MODELBACKEND, "b")->metrics_found,
                        "sglang:num_queue_reqs");
    pass_ms(w, 2100);
    assert_int_equal(w->said_count, 1);
    controller_repeat_status(w->controller);
    pass_ms(w, 300);
    assert_int_equal(w->said_count, 2);
    assert_int_equal(w->publications, 0);
}

static void test_a_restart_unlearns_nothing(void **state)
{
    struct world *w = *state;
    upsert(w, OBJECT_MODELBACKEND,
           BACKEND_STATIC "status: {engine: TGI, metricsFound: [tgi_queue_size, tgi_batch]}\n");
    sync(w);
    assert_string_equal(said_of(w, OBJECT_MODELBACKEND, "b")->engine, "TGI");
    assert_string_equal(said_of(w, OBJECT_MODELBACKEND, "b")->metrics_found,
                        "tgi_queue_size,tgi_batch");
    forget_said(w);
    atomic_store(&w->snapshot->backends[0]->state->detected_engine, ENGINE_VLLM);
    pass_ms(w, 2100);
    assert_string_equal(said_of(w, OBJECT_MODELBACKEND, "b")->engine, "VLLM");
}

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, world_up, world_down)

// ---- certificates ----

static void upsert_pems(struct world *w, enum object_kind kind, const char *name,
                        const char *const *pairs)
{
    struct json_object *json = json_object_new_object();
    struct json_object *metadata = json_object_new_object();
    struct json_object *data = json_object_new_object();
    struct error err = ERROR_INIT;
    json_object_object_add(metadata, "name", json_object_new_string(name));
    for (; *pairs != NULL; pairs += 2) {
        json_object_object_add(data, pairs[0], json_object_new_string(pairs[1]));
    }
    json_object_object_add(json, "metadata", metadata);
    json_object_object_add(json, kind == OBJECT_SECRET ? "stringData" : "data", data);
    assert_int_equal(controller_upsert(w->controller, kind, json, &origin, &err), 0);
    json_object_put(json);
}

static void upsert_secret(struct world *w, const char *certificate, const char *key)
{
    const char *const pairs[] = {"tls.crt", certificate, "tls.key", key, NULL};
    upsert_pems(w, OBJECT_SECRET, "c", pairs);
}

static void expect_references(struct world *w, const char *wanted)
{
    assert_string_equal(w->references, wanted);
    w->references[0] = '\0';
}

static void expect_message(struct world *w, const char *name, enum condition_type type,
                           const char *part)
{
    const struct object_status *status = said_of(w, OBJECT_AIROUTE, name);
    assert_non_null(status);
    if (strstr(status->conditions[type].message, part) == NULL) {
        fail_msg("\"%s\" lacks \"%s\"", status->conditions[type].message, part);
    }
}

static struct slice served_certificate(const struct world *w)
{
    const struct tls_host *host = snapshot_tls_host(w->snapshot, SLICE("api.example.com"));
    return host != NULL ? host->identity->certificate_pem : SLICE_NULL;
}

#define ROUTE_TLS(generation, more)                                  \
    "metadata: {name: r, generation: " generation ", uid: v}\n"      \
    "spec: {hostnames: [api.example.com], tls: [{secretName: c}], "  \
    "rules: [{name: a, backends: [{name: b}]}]" more "}\n"

static void test_certificates_come_rotate_and_go(void **state)
{
    struct world *w = *state;
    upsert(w, OBJECT_MODELBACKEND, BACKEND_STATIC);
    upsert(w, OBJECT_AIROUTE, ROUTE_TLS("1", ""));
    sync(w);
    expect(w, OBJECT_AIROUTE, "r", CONDITION_RESOLVED_REFS, CONDITION_FALSE,
           "CertificateNotFound");
    assert_null(served_certificate(w).ptr);
    assert_int_equal(w->snapshot->host_count, 1); // in the clear it is served all the same
    upsert_secret(w, PEM_API_CERTIFICATE, PEM_API_KEY);
    controller_flush(w->controller);
    expect(w, OBJECT_AIROUTE, "r", CONDITION_READY, CONDITION_TRUE, "Ready");
    assert_true(slice_eq_str(served_certificate(w), PEM_API_CERTIFICATE));
    upsert_secret(w, PEM_OTHER_CERTIFICATE, PEM_OTHER_KEY);
    controller_flush(w->controller);
    assert_true(slice_eq_str(served_certificate(w), PEM_OTHER_CERTIFICATE));
    controller_delete(w->controller, OBJECT_SECRET, SLICE("d"), SLICE("c"));
    controller_flush(w->controller);
    assert_null(served_certificate(w).ptr);
    expect(w, OBJECT_AIROUTE, "r", CONDITION_READY, CONDITION_FALSE, "CertificateNotFound");
    assert_int_equal(w->publications, 3);
}

static void test_what_changes_no_certificate_compiles_nothing(void **state)
{
    struct world *w = *state;
    const char *const other[] = {"tls.crt", "x", NULL};
    upsert(w, OBJECT_MODELBACKEND, BACKEND_STATIC);
    upsert(w, OBJECT_AIROUTE, ROUTE_TLS("1", ""));
    upsert_secret(w, PEM_API_CERTIFICATE, PEM_API_KEY);
    sync(w);
    upsert_secret(w, PEM_API_CERTIFICATE, PEM_API_KEY); // a label, perhaps
    upsert_pems(w, OBJECT_SECRET, "nobody-names-it", other);
    controller_delete(w->controller, OBJECT_SECRET, SLICE("d"), SLICE("nobody-names-it"));
    pass_ms(w, 1000);
    assert_int_equal(w->publications, 0);
}

static void test_a_broken_secret_is_used_as_it_was(void **state)
{
    struct world *w = *state;
    upsert(w, OBJECT_MODELBACKEND, BACKEND_STATIC);
    upsert(w, OBJECT_AIROUTE, ROUTE_TLS("1", ""));
    upsert_secret(w, PEM_API_CERTIFICATE, PEM_API_KEY);
    sync(w);
    for (int i = 0; i < 2; i++) { // broken, and broken otherwise
        upsert_secret(w, i == 0 ? PEM_OTHER_CERTIFICATE : "nothing", PEM_API_KEY);
        controller_flush(w->controller);
        assert_true(slice_eq_str(served_certificate(w), PEM_API_CERTIFICATE));
        expect(w, OBJECT_AIROUTE, "r", CONDITION_RESOLVED_REFS, CONDITION_FALSE,
               "InvalidCertificateRef");
        expect_message(w, "r", CONDITION_RESOLVED_REFS, "what it held before is used");
    }
    upsert_secret(w, PEM_OTHER_CERTIFICATE, PEM_OTHER_KEY);
    controller_flush(w->controller);
    assert_true(slice_eq_str(served_certificate(w), PEM_OTHER_CERTIFICATE));
    expect(w, OBJECT_AIROUTE, "r", CONDITION_READY, CONDITION_TRUE, "Ready");
    // Gone is gone, and what was before that is nothing to go back to.
    controller_delete(w->controller, OBJECT_SECRET, SLICE("d"), SLICE("c"));
    upsert_secret(w, PEM_OTHER_CERTIFICATE, PEM_API_KEY);
    controller_flush(w->controller);
    assert_null(served_certificate(w).ptr);
}

static void test_only_what_is_named_is_asked_for(void **state)
{
    struct world *w = *state;
    upsert(w, OBJECT_AIROUTE, ROUTE_TLS("1", ""));
    expect_references(w, "+Secret d/c ");
    upsert(w, OBJECT_MODELBACKEND,
           "metadata: {name: b}\nspec: {static: {endpoints: [{address: 10.0.0.1, port: 1}]}, tls: "
           "{caRef: {name: ca}, clientCertificateRef: {name: c}}}\n");
    expect_references(w, "+ConfigMap d/ca ");
    upsert(w, OBJECT_AIROUTE, ROUTE_TLS("1", "")); // a status was written
    upsert(w, OBJECT_AIROUTE, ROUTE_TLS("2", ", httpsRedirect: true"));
    expect_references(w, "");
    upsert(w, OBJECT_AIROUTE, "metadata: {name: other, generation: 1}\n"
                              "spec: {ingressClassName: x, tls: [{secretName: other}], "
                              "rules: [{name: a, backends: [{name: b}]}]}\n");
    upsert(w, OBJECT_AIROUTE, "metadata: {name: wrong}\nspec: {tls: [{secretName: x}]}\n");
    expect_references(w, "");
    upsert(w, OBJECT_AIROUTE, ROUTE);
    expect_references(w, ""); // the backend has it still
    controller_delete(w->controller, OBJECT_MODELBACKEND, SLICE("d"), SLICE("b"));
    expect_references(w, "-ConfigMap d/ca -Secret d/c ");
}

static void test_a_certificate_expires_without_any_event(void **state)
{
    struct world *w = *state;
    struct arena arena = {0};
    struct tls_leaf leaf;
    struct error err = ERROR_INIT;
    assert_int_equal(tls_pem_check_identity(SLICE(PEM_EXPIRED_CERTIFICATE),
                                            SLICE(PEM_EXPIRED_KEY), &arena, &leaf, &err), 0);
    arena_fini(&arena);
    w->now_ms = (uint64_t)leaf.not_after * 1000 - 60000;
    pass_ms(w, 0);
    upsert(w, OBJECT_MODELBACKEND, BACKEND_STATIC);
    upsert(w, OBJECT_AIROUTE,
           "metadata: {name: r}\nspec: {hostnames: [old.example.com], tls: [{secretName: c}], "
           "rules: [{name: a, backends: [{name: b}]}]}\n");
    upsert_secret(w, PEM_EXPIRED_CERTIFICATE, PEM_EXPIRED_KEY);
    sync(w);
    expect_message(w, "r", CONDITION_READY, "");
    assert_string_equal(said_of(w, OBJECT_AIROUTE, "r")->conditions[CONDITION_READY].message, "");
    for (int i = 0; i < 64; i++) {
        pass_ms(w, 1000);
    }
    assert_int_equal(w->publications, 1);
    expect_message(w, "r", CONDITION_READY, "expired at");
    expect(w, OBJECT_AIROUTE, "r", CONDITION_READY, CONDITION_TRUE, "Ready");
    pass_ms(w, 10000);
    assert_int_equal(w->publications, 1);
}

#define SERVICE_H2C \
    "metadata: {name: s}\nspec: {ports: [{name: http, port: 80, appProtocol: kubernetes.io/h2c}]}\n"

static void test_another_protocol_of_a_service_is_compiled(void **state)
{
    struct world *w = *state;
    upsert(w, OBJECT_MODELBACKEND, BACKEND_SERVICE);
    upsert(w, OBJECT_SERVICE, SERVICE);
    upsert(w, OBJECT_ENDPOINTSLICE, SLICE_OF("true"));
    sync(w);
    assert_int_equal(w->snapshot->backends[0]->protocol, SNAP_PROTOCOL_HTTP1);
    upsert(w, OBJECT_SERVICE, SERVICE_H2C);
    pass_ms(w, 100);
    assert_int_equal(w->publications, 1);
    assert_int_equal(w->snapshot->backends[0]->protocol, SNAP_PROTOCOL_HTTP2);
    upsert(w, OBJECT_SERVICE, SERVICE_H2C);
    pass_ms(w, 100);
    assert_int_equal(w->publications, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_nothing_before_sync),
        WORLD_TEST(test_nothing_at_all_is_published_too),
        WORLD_TEST(test_a_burst_is_compiled_once),
        WORLD_TEST(test_endpoints_alone_compile_nothing),
        WORLD_TEST(test_pods_by_selector),
        WORLD_TEST(test_own_status_writes_change_nothing),
        WORLD_TEST(test_a_bad_object_leaves_the_rest),
        WORLD_TEST(test_refused_endpoints_are_left_out),
        WORLD_TEST(test_deletion),
        WORLD_TEST(test_moving_to_another_class),
        WORLD_TEST(test_what_never_was_ours_is_left_alone),
        WORLD_TEST(test_endpoint_state_survives_a_compilation),
        WORLD_TEST(test_what_was_detected_is_said),
        WORLD_TEST(test_a_restart_unlearns_nothing),
        WORLD_TEST(test_certificates_come_rotate_and_go),
        WORLD_TEST(test_what_changes_no_certificate_compiles_nothing),
        WORLD_TEST(test_a_broken_secret_is_used_as_it_was),
        WORLD_TEST(test_only_what_is_named_is_asked_for),
        WORLD_TEST(test_a_certificate_expires_without_any_event),
        WORLD_TEST(test_another_protocol_of_a_service_is_compiled),
    };
    return cmocka_run_group_tests_name("controller", tests, NULL, NULL);
}
