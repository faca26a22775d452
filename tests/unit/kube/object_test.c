#include "kube/object.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kube/timestamp.h"

static void paths_are_built_and_escaped(void **state)
{
    (void)state;
    static const struct kube_resource pods = {"v1", "Pod", "pods"};
    static const struct kube_resource routes = {"headrace.dev/v1alpha1", "AIRoute", "airoutes"};
    struct strbuf path;
    strbuf_init(&path, 1000);
    kube_path_add(&path, &pods, NULL, NULL, NULL);
    assert_string_equal(strbuf_cstr(&path), "/api/v1/pods");
    strbuf_reset(&path);
    kube_path_add(&path, &pods, "ml", "", NULL);
    assert_string_equal(strbuf_cstr(&path), "/api/v1/namespaces/ml/pods");
    strbuf_reset(&path);
    kube_path_add(&path, &routes, "m/l", "a b?", "status");
    assert_string_equal(strbuf_cstr(&path), "/apis/headrace.dev/v1alpha1/namespaces/m%2Fl/airoutes/"
                                            "a%20b%3F/status");
    strbuf_fini(&path);
}

static void versions_compare_as_numbers_where_they_are_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *a;
        const char *b;
        int order;
        bool known;
    } cases[] = {
        {"9", "10", -1, true},
        {"10", "10", 0, true},
        {"99999999999999999999999", "99999999999999999999998", 1, true},
        {"abc", "abc", 0, true},
        {"abc", "10", 0, false},
        {"010", "10", 0, false},
        {"", "10", 0, false},
        {"-1", "1", 0, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        bool known;
        int order = kube_version_compare(slice_of_str(cases[i].a), slice_of_str(cases[i].b),
                                         &known);
        assert_int_equal(known, cases[i].known);
        assert_int_equal((order > 0) - (order < 0), cases[i].order);
    }
}

static void stripping_leaves_what_matters(void **state)
{
    (void)state;
    struct json_object *object = json_tokener_parse(
        "{\"metadata\":{\"name\":\"x\",\"generation\":4,\"managedFields\":[{}],\"annotations\":"
        "{\"kubectl.kubernetes.io/last-applied-configuration\":\"{}\",\"mine\":\"1\"}},"
        "\"spec\":{}}");
    kube_strip(object);
    assert_string_equal(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN),
                        "{\"metadata\":{\"name\":\"x\",\"generation\":4,\"annotations\":"
                        "{\"mine\":\"1\"}},\"spec\":{}}");
    struct kube_meta meta;
    assert_true(kube_meta_read(object, &meta));
    assert_int_equal(meta.generation, 4);
    assert_int_equal(meta.uid.len, 0);
    json_object_put(object);
    static const char *const odd[] = {"5", "[]", "{}", "{\"metadata\":5}", "{\"metadata\":{}}",
                                      "{\"metadata\":{\"name\":7}}",
                                      "{\"metadata\":{\"name\":\"\"}}"};
    for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
        object = json_tokener_parse(odd[i]);
        kube_strip(object);
        assert_false(kube_meta_read(object, &meta));
        json_object_put(object);
    }
    kube_strip(NULL);
    assert_false(kube_meta_read(NULL, &meta));
}

static void times_go_both_ways(void **state)
{
    (void)state;
    int64_t s = 0;
    char text[KUBE_TIME_SIZE];
    assert_int_equal(kube_time_parse(SLICE("2026-01-02T03:04:05Z"), &s), 0);
    assert_int_equal(s, 1767323045);
    kube_time_format(s, text, sizeof(text));
    assert_string_equal(text, "2026-01-02T03:04:05Z");
    assert_int_equal(kube_time_parse(SLICE("2026-01-02T04:34:05.123456+01:30"), &s), 0);
    assert_int_equal(s, 1767323045);
    assert_int_equal(kube_time_parse(SLICE("2026-01-01T22:04:05-05:00"), &s), 0);
    assert_int_equal(s, 1767323045);
    static const char *const bad[] = {"", "soon", "2026-01-02", "2026-01-02T03:04:05",
                                      "2026-13-02T03:04:05Z", "2026-01-02T25:04:05Z",
                                      "2026-01-02T03:04:05.Z", "2026-01-02T03:04:05Zx",
                                      "2026-01-02T03:04:05+1:00", "2026/01/02T03:04:05Z"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (kube_time_parse(slice_of_str(bad[i]), &s) == 0) {
            fail_msg("accepted: %s", bad[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_are_built_and_escaped),
        cmocka_unit_test(versions_compare_as_numbers_where_they_are_numbers),
        cmocka_unit_test(stripping_leaves_what_matters),
        cmocka_unit_test(times_go_both_ways),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
