// Compiled routes, asked: which rule takes which request.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "compile/compile.h"
#include "manifest/manifest.h"

struct world {
    struct epoch *epoch;
    struct endpoint_table *table;
    struct resources resources;
    struct compile_result result;
};

static void up(struct world *w, const char *yaml)
{
    struct manifest manifest;
    struct error err = ERROR_INIT;
    *w = (struct world){0};
    assert_int_equal(posix_memalign((void **)&w->epoch, CACHE_LINE, sizeof(*w->epoch)), 0);
    epoch_init(w->epoch);
    assert_int_equal(endpoint_table_new(&w->table, w->epoch), 0);
    if (manifest_parse(slice_of_str(yaml), "test", &manifest, &err) < 0) {
        fail_msg("%s", err.text);
    }
    for (size_t i = 0; i < manifest.objects.len; i++) {
        assert_false(problems_any(&manifest.objects.items[i]->problems));
        assert_int_equal(resources_put(&w->resources, manifest.objects.items[i]), 0);
    }
    manifest_fini(&manifest);
    struct compile_input input = {
        .resources = &w->resources, .endpoints = w->table, .ingress_class = SLICE("headrace")};
    assert_int_equal(compile(&input, &w->result), 0);
}

static void down(struct world *w)
{
    compile_result_fini(&w->result);
    resources_fini(&w->resources);
    endpoint_table_free(w->table);
    epoch_fini(w->epoch);
    free(w->epoch);
}

// `wanted` is the rule's name, or "" for none. host, path and model as in a request; model NULL:
// none.
static void ask(struct world *w, const char *host, const char *path, const char *model,
                const char *wanted)
{
    struct route_query query = {
        .host = slice_of_str(host),
        .path = slice_of_str(path),
        .method = SLICE("POST"),
        .model = slice_of_str(model),
    };
    enum route_miss miss = ROUTE_MISS_NONE;
    const struct snap_rule *rule = snapshot_match(w->result.snapshot, &query, &miss);
    struct slice found = rule != NULL ? rule->name : SLICE("");
    if (!slice_eq_str(found, wanted)) {
        fail_msg("%s%s model %s: \"%.*s\" instead of \"%s\"", host, path,
                 model != NULL ? model : "(none)", SLICE_FMT(found), wanted);
    }
}

#define BACKEND(name, models)                                                     \
    "apiVersion: headrace.dev/v1alpha1\nkind: ModelBackend\nmetadata: {name: " name \
    "}\nspec: {static: {endpoints: [{address: 10.0.0.1, port: 80}]}, models: [" models "]}\n---\n"
#define ROUTE(name, spec)                                                            \
    "apiVersion: headrace.dev/v1alpha1\nkind: AIRoute\nmetadata: {name: " name "}\nspec: {" spec \
    "}\n---\n"

static void test_backends_tell_routes_apart(void **state)
{
    struct world w;
    (void)state;
    up(&w, BACKEND("llama", "{name: llama, aliases: [latest]}") BACKEND("qwen", "{name: qwen}")
               ROUTE("a", "rules: [{name: llama, backends: [{name: llama}]}]")
                   ROUTE("b", "rules: [{name: qwen, backends: [{name: qwen}]}]"));
    ask(&w, "x.com", "/v1/chat/completions", "llama", "llama");
    ask(&w, "x.com", "/v1/chat/completions", "latest", "llama");
    ask(&w, "x.com", "/v1/chat/completions", "qwen", "qwen");
    ask(&w, "x.com", "/v1/chat/completions", "gpt", "");
    ask(&w, "x.com", "/health", NULL, "llama");
    down(&w);
}

// Adding a version that does not exist yet must change nothing but its share.
static void test_a_missing_version_takes_nothing_more(void **state)
{
    struct world w;
    (void)state;
    up(&w, BACKEND("llama", "{name: llama}") BACKEND("any", "")
               ROUTE("a", "rules: [{name: canary, backends: [{name: llama, weight: 95}, "
                          "{name: llama-next, weight: 5}]}]")
                   ROUTE("b", "rules: [{name: rest, backends: [{name: any}]}]")
                       ROUTE("c", "rules: [{name: broken, backends: [{name: ghost}]}]"));
    ask(&w, "x.com", "/", "llama", "canary");
    ask(&w, "x.com", "/", "other", "rest");
    down(&w);
}

static void test_targets_without_a_say(void **state)
{
    struct world w;
    (void)state;
    up(&w, BACKEND("a", "{name: a}") BACKEND("b", "{name: b}") BACKEND("any", "")
               ROUTE("r", "rules: [{name: first, backends: [{name: a}, {name: b, weight: 0}, "
                          "{name: any, model: a-tuned}]}, "
                          "{name: second, matches: [{path: {value: /v1}}], "
                          "backends: [{name: b, model: fixed}]}]"));
    ask(&w, "x.com", "/", "a", "first");
    ask(&w, "x.com", "/", "b", "");       // drained
    ask(&w, "x.com", "/", "a-tuned", ""); // what it is renamed to
    ask(&w, "x.com", "/v1", "whatever", "second"); // renamed, whatever it is
    down(&w);
}

static void test_precedence(void **state)
{
    struct world w;
    (void)state;
    up(&w, BACKEND("b", "")
               ROUTE("r", "hostnames: [a.example.com], rules: ["
                          "{name: regex, matches: [{models: [{type: Regex, "
                          "value: 'gpt-[0-9]+'}]}], backends: [{name: b}]}, "
                          "{name: prefix, matches: [{models: [{type: Prefix, value: gpt-}]}], "
                          "backends: [{name: b}]}, "
                          "{name: exact, matches: [{models: [{value: gpt-4}]}], "
                          "backends: [{name: b}]}, {name: chat, "
                          "matches: [{path: {value: /v1/chat}, models: [{value: gpt-4}]}], "
                          "backends: [{name: b}]}]")
                   ROUTE("w", "hostnames: ['*.example.com'], rules: [{name: wild, "
                              "backends: [{name: b}]}]")
                       ROUTE("x", "rules: [{name: default, backends: [{name: b}]}]"));
    ask(&w, "a.example.com", "/v1/chat/completions", "gpt-4", "chat");
    ask(&w, "a.example.com", "/v1/chatter", "gpt-4", "exact");
    ask(&w, "a.example.com", "/", "gpt-5", "prefix");
    ask(&w, "a.example.com", "/", "llama", "wild"); // nothing of the host's own fits
    ask(&w, "b.a.example.com", "/", "gpt-4", "wild");
    ask(&w, "example.com", "/", "gpt-4", "default");
    ask(&w, "other.org", "/", "gpt-4", "default");
    down(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_backends_tell_routes_apart),
        cmocka_unit_test(test_a_missing_version_takes_nothing_more),
        cmocka_unit_test(test_targets_without_a_say),
        cmocka_unit_test(test_precedence),
    };
    return cmocka_run_group_tests_name("match", tests, NULL, NULL);
}
