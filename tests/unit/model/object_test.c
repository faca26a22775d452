// Objects from the API server and from files go through one path; every problem is told with its
// place.
#include "model/object.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "json/yaml_json.h"

static const struct object_origin from_api = {0};
static const struct object_origin from_file = {
    .file = SLICE("f.yaml"), .line = 1, .strict = true, .default_namespace = SLICE("default")};

static struct json_object *parse(const char *yaml)
{
    struct json_object *json = NULL;
    struct error err = ERROR_INIT;
    if (yaml_json_one(slice_of_str(yaml), "f.yaml", NULL, &json, &err) < 0) {
        fail_msg("%s", err.text);
    }
    return json;
}

static struct object *read_object(enum object_kind kind, const char *yaml,
                                  const struct object_origin *origin)
{
    struct json_object *json = parse(yaml);
    struct error err = ERROR_INIT;
    struct object *object = NULL;
    if (object_read(kind, json, origin, &object, &err) < 0) {
        fail_msg("%s", err.text);
    }
    json_object_put(json); // nothing of it is needed any more
    return object;
}

static bool has_problem(const struct object *object, int line, const char *path,
                        const char *message)
{
    for (size_t i = 0; i < object->problems.list.len; i++) {
        const struct problem *problem = &object->problems.list.items[i];
        if (problem->line == line && strcmp(problem->path, path) == 0 &&
            strstr(problem->message, message) != NULL) {
            return true;
        }
    }
    for (size_t i = 0; i < object->problems.list.len; i++) {
        const struct problem *problem = &object->problems.list.items[i];
        print_error("%d: %s: %s\n", problem->line, problem->path, problem->message);
    }
    return false;
}

static void test_defaults(void **state)
{
    (void)state;
    struct object *route = read_object(
        OBJECT_AIROUTE,
        "metadata: {name: r, namespace: ns, uid: u-1, generation: 4,"
        " creationTimestamp: '2026-01-02T03:04:05Z'}\n"
        "spec: {rules: [{name: a, backends: [{name: b}]}]}\n",
        &from_api);
    assert_false(problems_any(&route->problems));
    assert_string_equal(route->key.ptr, "ns/r");
    assert_string_equal(route->uid.ptr, "u-1");
    assert_int_equal(route->generation, 4);
    assert_int_equal(route->created, 1767323045);
    const struct airoute_rule *rule = &route->airoute->rules.items[0];
    assert_string_equal(route->airoute->ingress_class.ptr, "headrace");
    assert_int_equal(rule->backends.items[0].weight, 1);
    assert_null(rule->backends.items[0].model.ptr);
    assert_int_equal(rule->retry->attempts, 2);
    assert_int_equal(rule->retry->when.len, 3);
    assert_int_equal(rule->retry->budget->percent, 20);
    assert_int_equal(rule->retry->budget->min_concurrency, 10);
    assert_int_equal(rule->retry->per_try_ms, 0);
    assert_null(rule->redirect);
    assert_null(rule->fixed_response);
    assert_null(rule->cors);
    assert_int_equal(rule->retry->when.items[2], RETRY_OVERLOADED);
    assert_null(rule->timeouts);
    assert_null(rule->hedge);
    object_unref(route);

    struct object *backend = read_object(
        OBJECT_MODELBACKEND,
        "metadata: {name: b, namespace: ns}\nspec: {pool: {serviceRef: {name: s, port: 80}}}\n",
        &from_api);
    const struct modelbackend_spec *spec = backend->modelbackend;
    assert_int_equal(spec->engine, ENGINE_AUTO);
    assert_int_equal(spec->balancing->policy, BACKEND_POLICY_INFERENCE_AWARE);
    assert_int_equal(spec->metrics->interval_ms, 200);
    assert_int_equal(spec->metrics->stale_after_ms, 2000);
    assert_null(spec->metrics->path.ptr);
    assert_int_equal(spec->timeouts->first_token_ms, 120000);
    assert_int_equal(spec->pool->service_ref->port.number, 80);
    object_unref(backend);
}

static void test_null_is_absent(void **state)
{
    (void)state;
    struct object *route = read_object(
        OBJECT_AIROUTE,
        "metadata: {name: r, namespace: ns}\n"
        "spec: {hostnames: null, rules: [{name: a, retry: ~, matches: ~, "
        "backends: [{name: b}]}]}\n",
        &from_api);
    assert_false(problems_any(&route->problems));
    assert_int_equal(route->airoute->rules.items[0].retry->attempts, 2);
    object_unref(route);
}

static void test_unknown_fields(void **state)
{
    static const char yaml[] = "apiVersion: headrace.dev/v1alpha1\n"
                               "kind: AIRoute\n"
                               "metadata:\n"
                               "  name: r\n"
                               "  lables: {}\n"
                               "spce: {}\n"
                               "spec:\n"
                               "  rules:\n"
                               "  - name: a\n"
                               "    backends: [{name: b}]\n"
                               "    matchs:\n"
                               "    - path: {value: /v1}\n"
                               "    weird: 1\n";
    (void)state;
    struct object *strict = read_object(OBJECT_AIROUTE, yaml, &from_file);
    assert_null(strict->spec);
    assert_true(has_problem(strict, 5, "metadata",
                            "unknown field \"lables\", did you mean \"labels\"?"));
    assert_true(has_problem(strict, 6, "", "unknown field \"spce\", did you mean \"spec\"?"));
    assert_true(has_problem(strict, 12, "spec.rules[0]",
                            "unknown field \"matchs\", did you mean \"matches\"?"));
    assert_true(has_problem(strict, 13, "spec.rules[0]", "unknown field \"weird\""));
    object_unref(strict);
    // The API server has pruned or refused such fields; what a later version brings is passed over.
    static const char pruned[] = "metadata: {name: r, namespace: ns, lables: {}}\n"
                                 "spec: {future: 1, rules: [{name: a, backends: [{name: b}], "
                                 "x: 1}]}\n";
    struct object *lenient = read_object(OBJECT_AIROUTE, pruned, &from_api);
    assert_false(problems_any(&lenient->problems));
    object_unref(lenient);
}

static void test_every_problem_with_its_place(void **state)
{
    static const char yaml[] = "metadata: {name: r}\n"
                               "spec:\n"
                               "  hostnames: [example.com, Example.com, example.com]\n"
                               "  rules:\n"
                               "  - name: on\n"
                               "    backends:\n"
                               "    - {name: b, weight: 1.5}\n"
                               "    - {name: b, weight: 2000000}\n"
                               "    timeouts: {request: 5}\n"
                               "  - name: b\n"
                               "    backends: {}\n"
                               "    matches:\n"
                               "    - method: PST\n"
                               "      models: [{value: \"a\\0b\"}, {value: ' x'}]\n"
                               "      path: {type: Regex, value: /v1?x}\n"
                               "  - 7\n";
    (void)state;
    struct object *route = read_object(OBJECT_AIROUTE, yaml, &from_file);
    assert_true(has_problem(route, 3, "spec.hostnames[1]", "\"Example.com\" must match"));
    assert_true(has_problem(route, 5, "spec.rules[0].name",
                            "must be a string, not a boolean (in YAML, put it in quotes)"));
    assert_true(has_problem(route, 7, "spec.rules[0].backends[0].weight",
                            "must be a whole number, not a fraction"));
    assert_true(has_problem(route, 8, "spec.rules[0].backends[1].weight",
                            "must be from 0 to 1000000, not 2000000"));
    assert_true(has_problem(route, 9, "spec.rules[0].timeouts.request",
                            "must be a string such as 200ms or 2s, not a number"));
    assert_true(has_problem(route, 11, "spec.rules[1].backends", "must be a list, not an object"));
    assert_true(has_problem(route, 13, "spec.rules[1].matches[0].method",
                            "did you mean \"POST\"?"));
    assert_true(has_problem(route, 14, "spec.rules[1].matches[0].models[0].value", "zero byte"));
    assert_true(has_problem(route, 14, "spec.rules[1].matches[0].models[1].value", "must match"));
    assert_true(has_problem(route, 15, "spec.rules[1].matches[0].path.type", "must be one of"));
    assert_true(has_problem(route, 15, "spec.rules[1].matches[0].path.value", "must match"));
    assert_true(has_problem(route, 16, "spec.rules[2]", "must be an object, not a number"));
    object_unref(route);
}

static void test_duplicates(void **state)
{
    (void)state;
    struct object *route = read_object(
        OBJECT_AIROUTE,
        "metadata: {name: r}\n"
        "spec:\n"
        "  hostnames: [a.com, b.com, a.com]\n"
        "  rules:\n"
        "  - {name: x, backends: [{name: b}]}\n"
        "  - {name: x, backends: [{name: c}]}\n",
        &from_file);
    assert_true(has_problem(route, 3, "spec.hostnames[2]", "duplicate of [0]"));
    assert_true(has_problem(route, 6, "spec.rules[1]", "duplicate of [0]: \"x\""));
    object_unref(route);
    struct object *backend = read_object(
        OBJECT_MODELBACKEND,
        "metadata: {name: b}\n"
        "spec: {static: {endpoints: [{address: 10.0.0.1, port: 1}, {address: 10.0.0.1, port: 2},\n"
        "  {address: 10.0.0.1, port: 1, weight: 3}]}}\n",
        &from_file);
    assert_true(has_problem(backend, 3, "spec.static.endpoints[2]", "duplicate of [0]"));
    object_unref(backend);
}

#define RULE(text) "{rules: [{name: a, " text "}]}"
#define TO_B(text) RULE("backends: [{name: b}], " text)
#define LABEL_63 "a23456789012345678901234567890123456789012345678901234567890123"

// Each CEL rule of the CRDs: one object that keeps it, one that breaks it.
static void test_rules(void **state)
{
    static const char head[] = "metadata: {name: o}\nspec: ";
    static const char backend_ok[] = "{static: {endpoints: [{address: 10.0.0.1, port: 80}]}";
    static const struct {
        enum object_kind kind;
        bool spec_of_backend; // put after a sound static list
        const char *good;
        const char *bad;
        const char *path;
        const char *message;
    } cases[] = {
        {OBJECT_MODELBACKEND, false, "{static: {endpoints: [{address: '::1', port: 80}]}}", "{}",
         "spec", "set exactly one of pool and static"},
        {OBJECT_MODELBACKEND, false, "{pool: {selector: {matchLabels: {a: b}}, port: 1}}",
         "{static: {endpoints: [{address: '::1', port: 80}]}, pool: {serviceRef: {name: s, "
         "port: h}}}",
         "spec", "set exactly one of pool and static"},
        {OBJECT_MODELBACKEND, false, "{pool: {serviceRef: {name: s, port: http}}}", "{pool: {}}",
         "spec.pool", "set exactly one of serviceRef and selector"},
        {OBJECT_MODELBACKEND, false, "{pool: {serviceRef: {name: s, port: 65535}}}",
         "{pool: {serviceRef: {name: s, port: http}, port: 80}}", "spec.pool.port",
         "port goes with selector"},
        {OBJECT_MODELBACKEND, false, "{pool: {selector: {matchLabels: {a: ''}}, port: 80}}",
         "{pool: {selector: {matchLabels: {a: b}}}}", "spec.pool.port", "port goes with selector"},
        {OBJECT_MODELBACKEND, false,
         "{pool: {selector: {matchLabels: {app.kubernetes.io/name: b, A_b.c-d: ''}}, port: 80}}",
         "{pool: {selector: {matchLabels: {a b: c}}, port: 80}}", "spec.pool.selector.matchLabels",
         "\"a b\": the key of a label is"},
        {OBJECT_MODELBACKEND, false,
         "{pool: {selector: {matchLabels: {" LABEL_63 ": " LABEL_63 "}}, port: 80}}",
         "{pool: {selector: {matchLabels: {" LABEL_63 "x: b}}, port: 80}}",
         "spec.pool.selector.matchLabels", "the key of a label is"},
        {OBJECT_MODELBACKEND, false, "{pool: {selector: {matchLabels: {e.f/g: b}}, port: 80}}",
         "{pool: {selector: {matchLabels: {E.f/g: b}}, port: 80}}",
         "spec.pool.selector.matchLabels", "the key of a label is"},
        {OBJECT_MODELBACKEND, false, "{pool: {selector: {matchLabels: {e.f/g: b}}, port: 80}}",
         "{pool: {selector: {matchLabels: {e/f/g: b}}, port: 80}}",
         "spec.pool.selector.matchLabels", "the key of a label is"},
        {OBJECT_MODELBACKEND, false, "{pool: {selector: {matchLabels: {e.f/g: b}}, port: 80}}",
         "{pool: {selector: {matchLabels: {? '' : b}}, port: 80}}",
         "spec.pool.selector.matchLabels", "the key of a label is"},
        {OBJECT_MODELBACKEND, true, ", engine: Generic, metrics: {mapping: {waiting: w}}}",
         ", engine: VLLM, metrics: {mapping: {waiting: w}}}", "spec.metrics",
         "only for engine Generic"},
        {OBJECT_MODELBACKEND, true, ", engine: Generic, metrics: {mapping: {running: w}}}",
         ", engine: Generic, metrics: {mapping: {}}}", "spec.metrics.mapping", "must not be empty"},
        {OBJECT_MODELBACKEND, true, ", metrics: {interval: 1s, staleAfter: 1s}}",
         ", metrics: {interval: 1001ms, staleAfter: 1s}}", "spec.metrics.staleAfter",
         "must be at least interval"},
        {OBJECT_MODELBACKEND, true, ", metrics: {interval: 20ms}}", ", metrics: {interval: 19ms}}",
         "spec.metrics.interval", "must be between 20ms and 1m"},
        {OBJECT_MODELBACKEND, true, ", models: [{name: a, aliases: [b]}]}",
         ", models: [{name: a, aliases: [b, a]}]}", "spec.models[0].aliases",
         "the name of the model cannot be its alias too"},
        {OBJECT_MODELBACKEND, true, ", timeouts: {connect: 5m}}", ", timeouts: {connect: 5m1ms}}",
         "spec.timeouts.connect", "must be between 10ms and 5m"},
        {OBJECT_MODELBACKEND, true, ", balancing: {slowStart: 1s, panicThreshold: 0}}",
         ", balancing: {slowStart: 999ms}}", "spec.balancing.slowStart",
         "must be between 1s and 1h"},
        {OBJECT_MODELBACKEND, true, ", health: {active: {interval: 2s, timeout: 2s}}}",
         ", health: {active: {interval: 1s, timeout: 2s}}}", "spec.health.active.timeout",
         "must be at most interval"},
        {OBJECT_MODELBACKEND, true, ", health: {outlier: {ejectFor: 1m, maxEjectFor: 1m}}}",
         ", health: {outlier: {ejectFor: 6m}}}", "spec.health.outlier.maxEjectFor",
         "must be at least ejectFor"},
        {OBJECT_MODELBACKEND, true, ", protocol: HTTP2, health: {active: {port: 9000}}}",
         ", protocol: HTTP2, health: {active: {}}}", "spec.health",
         "health checks speak HTTP/1"},
        {OBJECT_MODELBACKEND, true, ", protocol: HTTP2, health: {active: {type: TCP}}}",
         ", health: {active: {type: TCP, path: /health}}}", "spec.health.active.path",
         "a check of type TCP asks for no path"},
        {OBJECT_MODELBACKEND, true, ", tls: {}, health: {active: {scheme: HTTPS}}}",
         ", health: {active: {scheme: HTTPS}}}", "spec.health", "HTTPS goes with tls"},
        {OBJECT_MODELBACKEND, true, ", tls: {}, metrics: {scheme: HTTPS}}",
         ", metrics: {scheme: HTTPS}}", "spec.metrics", "HTTPS goes with tls"},
        {OBJECT_MODELBACKEND, false, "{static: {endpoints: [{address: 'fd00::1', port: 80}]}}",
         "{static: {endpoints: [{address: host.example.com, port: 80}]}}",
         "spec.static.endpoints[0].address", "must be an IPv4 or IPv6 address"},
        {OBJECT_MODELBACKEND, false,
         "{static: {endpoints: [{address: '64:ff9b::10.0.0.1', port: 80}]}}",
         "{static: {endpoints: [{address: '::ffff:10.0.0.1', port: 80}]}}",
         "spec.static.endpoints[0].address", "must be an IPv4 or IPv6 address"},
        {OBJECT_AIROUTE, false,
         "{rules: [{name: a, backends: [{name: b}], matches: [{path: {value: '/a%2F[%E2]'}}]}]}",
         "{rules: [{name: a, backends: [{name: b}], matches: [{path: {value: '/a%2f'}}]}]}",
         "spec.rules[0].matches[0].path.value", "must be written as requests are compared"},
        {OBJECT_AIROUTE, false, "{rules: [{name: a, backends: [{name: b, weight: 0}, {name: c}]}]}",
         "{rules: [{name: a, backends: [{name: b, weight: 0}, {name: c, weight: 0}]}]}",
         "spec.rules[0].backends", "at least one backend needs a weight above 0"},
        {OBJECT_AIROUTE, false,
         "{rules: [{name: a, backends: [{name: b}], matches: [{path: {value: /a/.b/c..}}]}]}",
         "{rules: [{name: a, backends: [{name: b}], matches: [{path: {value: /a/./c}}]}]}",
         "spec.rules[0].matches[0].path.value", "must be without empty, '.' and '..' segments"},
        {OBJECT_AIROUTE, false,
         "{rules: [{name: a, backends: [{name: b}], timeouts: {request: 24h}}]}",
         "{rules: [{name: a, backends: [{name: b}], timeouts: {request: 24h1ms}}]}",
         "spec.rules[0].timeouts.request", "must be between 100ms and 24h"},
        {OBJECT_AIROUTE, false, RULE("redirect: {scheme: https}"),
         RULE("redirect: {scheme: https}, backends: [{name: b}]"), "spec.rules[0]",
         "exactly one of backends, redirect and fixedResponse"},
        {OBJECT_AIROUTE, false, RULE("fixedResponse: {status: 204}"), RULE("matches: []"),
         "spec.rules[0]", "exactly one of backends, redirect and fixedResponse"},
        {OBJECT_AIROUTE, false, RULE("fixedResponse: {status: 204}"),
         RULE("fixedResponse: {status: 204, body: x}"), "spec.rules[0].fixedResponse.body",
         "has no body"},
        {OBJECT_AIROUTE, false, RULE("redirect: {port: 81}, responseHeaders: {remove: [a]}"),
         RULE("redirect: {port: 81}, requestHeaders: {remove: [a]}"), "spec.rules[0]",
         "need backends"},
        {OBJECT_AIROUTE, false, RULE("redirect: {port: 81, statusCode: 307}"),
         RULE("redirect: {port: 81, statusCode: 304}"), "spec.rules[0].redirect.statusCode",
         "must be 301, 302, 303, 307 or 308"},
        {OBJECT_AIROUTE, false, RULE("redirect: {hostname: a.org}"),
         RULE("redirect: {statusCode: 301}"), "spec.rules[0].redirect",
         "leads to where it came from"},
        {OBJECT_AIROUTE, false,
         RULE("redirect: {path: {type: ReplaceFullPath, value: '/a/%2F'}}"),
         RULE("redirect: {path: {type: ReplaceFullPath, value: /a//b}}"),
         "spec.rules[0].redirect.path.value", "without empty"},
        {OBJECT_AIROUTE, false, TO_B("pathRewrite: {type: ReplaceFullPath, value: /a}"),
         TO_B("pathRewrite: {type: ReplaceFullPath, value: '/a b'}"),
         "spec.rules[0].pathRewrite.value", "must match"},
        {OBJECT_AIROUTE, false, TO_B("requestHeaders: {set: [{name: X-A, value: b}]}"),
         TO_B("requestHeaders: {set: [{name: HOST, value: b}]}"),
         "spec.rules[0].requestHeaders.set[0].name", "\"HOST\": what frames a message"},
        {OBJECT_AIROUTE, false, TO_B("requestHeaders: {remove: [forwarde]}"),
         TO_B("requestHeaders: {remove: [X-Forwarded-Whatever]}"),
         "spec.rules[0].requestHeaders.remove[0]", "cannot be changed here"},
        {OBJECT_AIROUTE, false, TO_B("responseHeaders: {add: [{name: a, value: b}]}"),
         TO_B("responseHeaders: {add: [{name: content-Length, value: b}]}"),
         "spec.rules[0].responseHeaders.add[0].name", "cannot be changed here"},
        {OBJECT_AIROUTE, false, TO_B("responseHeaders: {add: [{name: a, value: 'b c'}]}"),
         TO_B("responseHeaders: {add: [{name: a, value: \"b\\r\\nc\"}]}"),
         "spec.rules[0].responseHeaders.add[0].value", "must match"},
        {OBJECT_AIROUTE, false, TO_B("requestHeaders: {remove: [a, b]}"),
         TO_B("requestHeaders: {remove: [a, a]}"), "spec.rules[0].requestHeaders.remove[1]",
         "duplicate"},
        {OBJECT_AIROUTE, false, TO_B("cors: {allowOrigins: ['https://*.a.org', 'app://x']}"),
         TO_B("cors: {allowOrigins: ['https://a.*.org']}"),
         "spec.rules[0].cors.allowOrigins[0]", "must match"},
        {OBJECT_AIROUTE, false, TO_B("cors: {allowOrigins: ['http://[::1]:80']}"),
         TO_B("cors: {allowOrigins: ['https://a.org/']}"), "spec.rules[0].cors.allowOrigins[0]",
         "must match"},
        {OBJECT_AIROUTE, false, TO_B("cors: {allowOrigins: ['*']}"),
         TO_B("cors: {allowOrigins: ['*'], allowCredentials: true}"),
         "spec.rules[0].cors.allowCredentials", "needs origins by name"},
        {OBJECT_AIROUTE, false, TO_B("cors: {allowOrigins: ['*'], allowCredentials: false}"),
         TO_B("cors: {allowOrigins: ['*'], allowCredentials: 'no'}"),
         "spec.rules[0].cors.allowCredentials", "must be true or false, not a string"},
        {OBJECT_AIROUTE, false, TO_B("sessionAffinity: {cookie: {}}"),
         TO_B("sessionAffinity: {cookie: {}, header: a}"), "spec.rules[0].sessionAffinity",
         "exactly one of header and cookie"},
        {OBJECT_AIROUTE, false, TO_B("sessionAffinity: {cookie: {path: /a}}"),
         TO_B("sessionAffinity: {cookie: {path: /a;b}}"),
         "spec.rules[0].sessionAffinity.cookie.path", "must match"},
        {OBJECT_AIROUTE, false, TO_B("mirror: {name: b, percent: 100}"),
         TO_B("mirror: {name: b, percent: 101}"), "spec.rules[0].mirror.percent",
         "must be from 0 to 100"},
        {OBJECT_AIROUTE, false, TO_B("retry: {budget: {}, perTryTimeout: 100ms}"),
         TO_B("retry: {perTryTimeout: 99ms}"), "spec.rules[0].retry.perTryTimeout",
         "must be between 100ms and 24h"},
        {OBJECT_AIROUTE, false, TO_B("hedge: {delay: 10ms}"), TO_B("hedge: {delay: 61m}"),
         "spec.rules[0].hedge.delay", "must be between 10ms and 1h"},
        {OBJECT_AIROUTE, false, RULE("fixedResponse: {status: 404}"),
         RULE("fixedResponse: {status: 404}, hedge: {delay: 1s}"), "spec.rules[0]",
         "hedge need backends"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char yaml[1024];
        const char *base = cases[i].spec_of_backend ? backend_ok : "";
        snprintf(yaml, sizeof(yaml), "%s%s%s\n", head, base, cases[i].good);
        struct object *good = read_object(cases[i].kind, yaml, &from_file);
        if (problems_any(&good->problems)) {
            fail_msg("%s: %s", yaml, good->problems.list.items[0].message);
        }
        object_unref(good);
        snprintf(yaml, sizeof(yaml), "%s%s%s\n", head, base, cases[i].bad);
        struct object *bad = read_object(cases[i].kind, yaml, &from_file);
        assert_true(has_problem(bad, 2, cases[i].path, cases[i].message));
        assert_int_equal(bad->problems.list.len, 1);
        assert_null(bad->spec);
        object_unref(bad);
    }
}

static void test_problems_are_bounded(void **state)
{
    char yaml[4096] = "metadata: {name: r}\nspec: {rules: [";
    (void)state;
    for (int i = 0; i < 30; i++) {
        snprintf(yaml + strlen(yaml), sizeof(yaml) - strlen(yaml), "%s{a: 1, b: 2}",
                 i > 0 ? "," : "");
    }
    strncat(yaml, "]}\n", sizeof(yaml) - strlen(yaml) - 1);
    struct object *route = read_object(OBJECT_AIROUTE, yaml, &from_file);
    assert_int_equal(route->problems.list.len, PROBLEMS_MAX);
    assert_int_equal(route->problems.list.len + route->problems.dropped, 30 * 3); // a, b, no name
    struct strbuf text;
    strbuf_init(&text, 65536);
    problems_print(&route->problems, &text);
    assert_non_null(strstr(strbuf_cstr(&text), "; and 58 more"));
    strbuf_fini(&text);
    object_unref(route);
}

static void test_labels_and_annotations(void **state)
{
    static const char yaml[] =
        "metadata:\n"
        "  name: r\n"
        "  labels:\n"
        "    app.kubernetes.io/name: fine\n"
        "    empty: ''\n"
        "    version: 15\n"
        "    'a b': x\n"
        "    a: 'b c'\n"
        "    a/b/c: x\n"
        "  annotations:\n"
        "    example.com/text: 'any {text} at all'\n"
        "    count: 5\n"
        "    /x: y\n"
        "spec: {rules: [{name: a, backends: [{name: b}]}]}\n";
    (void)state;
    struct object *route = read_object(OBJECT_AIROUTE, yaml, &from_file);
    assert_true(has_problem(route, 6, "metadata.labels", "version must be a string (in YAML"));
    assert_true(has_problem(route, 7, "metadata.labels", "\"a b\" is not a name"));
    assert_true(has_problem(route, 8, "metadata.labels", "a: \"b c\" is not a value"));
    assert_true(has_problem(route, 9, "metadata.labels", "\"a/b/c\" is not a name"));
    assert_true(has_problem(route, 12, "metadata.annotations", "count must be a string"));
    assert_true(has_problem(route, 13, "metadata.annotations", "\"/x\" is not a name"));
    assert_int_equal(route->problems.list.len, 6);
    object_unref(route);
    route = read_object(OBJECT_AIROUTE,
                        "metadata: {name: r, labels: [a]}\n"
                        "spec: {rules: [{name: a, backends: [{name: b}]}]}\n", &from_file);
    assert_true(has_problem(route, 1, "metadata.labels", "must be an object"));
    object_unref(route);
}

static void test_metadata_is_needed(void **state)
{
    static const struct {
        const char *yaml;
        const struct object_origin *origin;
        const char *message;
    } cases[] = {
        {"spec: {}\n", &from_file, "AIRoute: metadata.name: required"},
        {"metadata: {name: A_b}\n", &from_file, "must be a DNS name"},
        {"metadata: {name: 5}\n", &from_file, "metadata.name: must be a string"},
        {"metadata: {name: a, namespace: 5}\n", &from_file, "metadata.namespace: must be a string"},
        {"metadata: {name: a}\n", &from_api, "metadata.namespace: required"},
        {"metadata: {name: a, namespace: ../x}\n", &from_api, "metadata.namespace: must be"},
        {"[1]\n", &from_api, "not an object"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct json_object *json = parse(cases[i].yaml);
        struct object *object = NULL;
        struct error err = ERROR_INIT;
        assert_int_equal(object_read(OBJECT_AIROUTE, json, cases[i].origin, &object, &err),
                         -EINVAL);
        assert_null(object);
        assert_non_null(strstr(err.text, cases[i].message));
        json_object_put(json);
    }
}

// Whatever shape the foreign kinds have, reading them neither fails nor invents anything.
static void test_foreign_kinds_are_read_leniently(void **state)
{
    (void)state;
    struct object *slice = read_object(
        OBJECT_ENDPOINTSLICE,
        "metadata: {name: s, namespace: ns, labels: [x]}\n"
        "endpoints: [7, {addresses: x}, {addresses: [1, 10.0.0.1], conditions: 3}]\n"
        "ports: [{name: 5, port: 70000}, null]\n",
        &from_api);
    assert_int_equal(slice->endpointslice->endpoints.len, 3);
    assert_int_equal(slice->endpointslice->endpoints.items[2].addresses.len, 1);
    assert_true(slice->endpointslice->endpoints.items[2].ready);
    assert_int_equal(slice->endpointslice->ports.items[0].port, 0);
    assert_int_equal(slice->endpointslice->service.len, 0);
    object_unref(slice);
    struct object *pod = read_object(
        OBJECT_POD, "metadata: {name: p, namespace: ns}\nstatus: {conditions: {a: b}, podIP: 7}\n",
        &from_api);
    assert_false(pod->pod->ready);
    assert_int_equal(pod->pod->ip.len, 0);
    object_unref(pod);
    struct object *service =
        read_object(OBJECT_SERVICE, "metadata: {name: s, namespace: ns}\nspec: x\n", &from_api);
    assert_int_equal(service->service->ports.len, 0);
    object_unref(service);
}

static void test_kinds(void **state)
{
    enum object_kind kind = OBJECT_KIND_COUNT;
    (void)state;
    for (size_t i = 0; i < OBJECT_KIND_COUNT; i++) {
        assert_int_equal(object_kind_find(object_kinds[i].api_version, object_kinds[i].kind, &kind),
                         0);
        assert_int_equal(kind, i);
    }
    assert_int_equal(object_kind_find("v1", "AIRoute", &kind), -ENOENT);
    assert_int_equal(object_kind_find("v1", "Namespace", &kind), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_null_is_absent),
        cmocka_unit_test(test_unknown_fields),
        cmocka_unit_test(test_every_problem_with_its_place),
        cmocka_unit_test(test_duplicates),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_problems_are_bounded),
        cmocka_unit_test(test_metadata_is_needed),
        cmocka_unit_test(test_labels_and_annotations),
        cmocka_unit_test(test_foreign_kinds_are_read_leniently),
        cmocka_unit_test(test_kinds),
    };
    return cmocka_run_group_tests_name("object", tests, NULL, NULL);
}
