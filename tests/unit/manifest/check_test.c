// What `headrace validate` finds: in each object, and between them.
#include "manifest/check.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct report {
    struct strbuf text;
};

static void on_problem(void *arg, const char *file, int line, const char *text)
{
    struct report *report = arg;
    strbuf_printf(&report->text, "%s:%d: %s\n", file, line, text);
}

// Checks the texts as a.yaml, b.yaml …; returns what was reported.
static char *check(const char *const *texts, size_t count, bool allow_missing)
{
    struct manifest manifests[4] = {0};
    struct check_options options = {.ingress_class = SLICE("headrace"),
                                    .allow_missing = allow_missing};
    struct report report;
    size_t problems = 0;
    strbuf_init(&report.text, 65536);
    for (size_t i = 0; i < count; i++) {
        char name[] = "a.yaml";
        struct error err = ERROR_INIT;
        name[0] = (char)('a' + i);
        if (manifest_parse(slice_of_str(texts[i]), name, &manifests[i], &err) < 0) {
            fail_msg("%s", err.text);
        }
    }
    assert_int_equal(check_manifests(manifests, count, &options, on_problem, &report, &problems),
                     0);
    size_t lines = 0;
    for (size_t i = 0; i < report.text.len; i++) {
        lines += report.text.ptr[i] == '\n';
    }
    assert_int_equal(lines, problems);
    for (size_t i = 0; i < count; i++) {
        manifest_fini(&manifests[i]);
    }
    char *text = strdup(strbuf_cstr(&report.text));
    strbuf_fini(&report.text);
    return text;
}

static void expect(const char *const *texts, size_t count, const char *wanted)
{
    char *found = check(texts, count, false);
    assert_string_equal(found, wanted);
    free(found);
}

#define HEAD(kind, name) \
    "apiVersion: headrace.dev/v1alpha1\nkind: " kind "\nmetadata: {name: " name "}\n"
#define BACKEND(name) \
    HEAD("ModelBackend", name) "spec: {static: {endpoints: [{address: 10.0.0.1, port: 80}]}}\n---\n"

static void test_good(void **state)
{
    static const char *const texts[] = {
        BACKEND("b"), HEAD("AIRoute", "r") "spec: {rules: [{name: a, backends: [{name: b}]}]}\n"};
    (void)state;
    expect(texts, 2, "");
}

static void test_problems_of_an_object(void **state)
{
    static const char *const texts[] = {
        BACKEND("b") HEAD("AIRoute", "r") "spec:\n  rules:\n  - name: a\n    backends:\n"
                                          "    - nmae: b\n"};
    (void)state;
    expect(texts, 1,
           "a.yaml:13: AIRoute default/r: spec.rules[0].backends[0]: unknown field \"nmae\", "
           "did you mean \"name\"?\n"
           "a.yaml:13: AIRoute default/r: spec.rules[0].backends[0].name: required\n");
}

static void test_missing_backend(void **state)
{
    static const char *const texts[] = {
        HEAD("AIRoute", "r") "spec: {rules: [{name: a, backends: [{name: b}]}]}\n"};
    (void)state;
    expect(texts, 1,
           "a.yaml:4: AIRoute default/r: rule a: ModelBackend default/b does not exist\n");
    char *allowed = check(texts, 1, true);
    assert_string_equal(allowed, "");
    free(allowed);
}

// One mistake, one line: the route to a backend that is wrong is not told too.
static void test_wrong_backend_is_told_once(void **state)
{
    static const char *const texts[] = {
        HEAD("ModelBackend", "b") "spec: {}\n---\n" HEAD(
            "AIRoute", "r") "spec: {rules: [{name: a, backends: [{name: b}]}]}\n"};
    (void)state;
    expect(texts, 1,
           "a.yaml:4: ModelBackend default/b: spec: set exactly one of pool and static\n");
}

static void test_between_objects(void **state)
{
    static const char *const texts[] = {
        BACKEND("b") HEAD("AIRoute", "r") "spec: {rules: [{name: a, backends: [{name: b}]}]}\n",
        BACKEND("b") HEAD("AIRoute", "s") "spec: {rules: [{name: a, backends: [{name: b}]}]}\n",
        HEAD("AIRoute", "t") "spec: {rules: [{name: a, matches: [{models: [{type: Regex, value: "
                             "'('}]}], backends: [{name: b}]}]}\n",
        HEAD("ModelBackend", "c") "spec: {pool: {serviceRef: {name: s, port: x}}}\n---\n"
        HEAD("ModelBackend", "d") "spec: {pool: {serviceRef: {name: elsewhere, port: x}}}\n---\n"
        "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{name: z, port: 1}]}\n",
    };
    (void)state;
    expect(texts, 4,
           "b.yaml:1: ModelBackend default/b: defined twice, first at a.yaml:1\n"
           "d.yaml:4: ModelBackend default/c: Service default/s has no port \"x\"\n"
           "b.yaml:9: AIRoute default/s: Conflicted: host (any), any model: taken by AIRoute "
           "default/r, rule a\n"
           "c.yaml:4: AIRoute default/t: InvalidRegex: spec.rules[0].matches[0].models[0].value: "
           "missing closing parenthesis at offset 1 of the pattern\n");
}

// What only the compiler finds is told with the line of its field, as what the schema finds.
static void test_lines_of_fields(void **state)
{
    static const char *const texts[] = {
        BACKEND("b"),
        HEAD("AIRoute", "r") "spec:\n"
                             "  rules:\n"
                             "  - name: a\n"
                             "    matches:\n"
                             "    - models:\n"
                             "      - value: m\n"
                             "    - headers:\n"
                             "      - name: x\n"
                             "        type: Regex\n"
                             "        value: '('\n" // 13
                             "    backends:\n"
                             "    - name: b\n---\n"
        HEAD("AIRoute", "s") "spec:\n"
                             "  rules:\n"
                             "  - name: a\n"
                             "    backends:\n"
                             "    - name: b\n"
                             "    fallbacks:\n"
                             "    - name: nope\n" // 26
                             "  - name: b\n"
                             "    matches:\n"
                             "    - path: {value: /v1}\n"
                             "    - headers: []\n" // 30: everything, as rule a
                             "    backends:\n"
                             "    - name: b\n",
        HEAD("ModelBackend", "c") "spec:\n"
                                  "  static: {endpoints: [{address: 10.0.0.1, port: 80}]}\n"
                                  "  models:\n"
                                  "  - name: m\n"
                                  "  - name: l\n"
                                  "    aliases:\n"
                                  "    - o\n"
                                  "    - m\n---\n" // 11
        HEAD("ModelBackend", "d") "spec:\n"
                                  "  pool:\n"
                                  "    serviceRef:\n"
                                  "      name: s\n"
                                  "      port: x\n---\n" // 20
        "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{name: z, port: 1}]}\n",
    };
    (void)state;
    expect(texts, 3,
           "c.yaml:11: ModelBackend default/c: DuplicateModel: spec.models: \"m\" is named twice\n"
           "c.yaml:20: ModelBackend default/d: Service default/s has no port \"x\"\n"
           "b.yaml:13: AIRoute default/r: InvalidRegex: spec.rules[0].matches[1].headers[0].value: "
           "missing closing parenthesis at offset 1 of the pattern\n"
           "b.yaml:30: AIRoute default/s: PartiallyConflicted: host (any), "
           "any model: taken by this route, rule a\n"
           "b.yaml:26: AIRoute default/s: rule a: ModelBackend default/nope does not exist\n");
}

static void test_unusable_documents(void **state)
{
    static const struct {
        const char *text;
        const char *message;
    } cases[] = {
        {"a: [", "x.yaml:"},
        {"- 1\n", "x.yaml:1: not a Kubernetes object"},
        {"kind: AIRoute\n", "needs apiVersion and kind"},
        {"---\n\n" HEAD("AIRout", "a"),
         "x.yaml:3: there is no headrace.dev/v1alpha1 AIRout, did you "
                                        "mean headrace.dev/v1alpha1 AIRoute?"},
        {"apiVersion: headrace.dev/v1\nkind: AIRoute\nmetadata: {name: a}\n",
         "did you mean headrace.dev/v1alpha1 AIRoute?"},
        {"apiVersion: Headrace.dev/v1alpha1\nkind: AIRoute\nmetadata: {name: a}\n",
         "there is no Headrace.dev/v1alpha1 AIRoute, did you mean headrace.dev/v1alpha1 AIRoute?"},
        {"apiVersion: headrace.dev/v1alpha1\nkind: AIRoute\nmetadata: {name: Up}\n",
         "x.yaml:1: AIRoute: metadata.name: must be a DNS name"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct manifest manifest = {0};
        struct error err = ERROR_INIT;
        assert_true(manifest_parse(slice_of_str(cases[i].text), "x.yaml", &manifest, &err) < 0);
        if (strstr(err.text, cases[i].message) == NULL) {
            fail_msg("%s", err.text);
        }
        assert_int_equal(manifest.objects.len, 0);
    }
}

// A Secret from elsewhere is no problem, one of the files is looked at.
static void test_certificates(void **state)
{
    static const char *const texts[] = {
        BACKEND("b") HEAD("AIRoute", "r") "spec:\n  rules: [{name: a, backends: [{name: b}]}]\n"
                                          "  tls:\n  - secretName: c\n",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: c}\nstringData: {tls.crt: x}\n"};
    (void)state;
    expect(texts, 1, "");
    expect(texts, 2, "a.yaml:12: AIRoute default/r: Secret default/c: it has no tls.key\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_problems_of_an_object),
        cmocka_unit_test(test_missing_backend),
        cmocka_unit_test(test_wrong_backend_is_told_once),
        cmocka_unit_test(test_between_objects),
        cmocka_unit_test(test_lines_of_fields),
        cmocka_unit_test(test_unusable_documents),
        cmocka_unit_test(test_certificates),
    };
    return cmocka_run_group_tests_name("check", tests, NULL, NULL);
}
