#include "json/yaml_json.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct json_object *get(struct json_object *node, const char *key)
{
    return json_object_object_get(node, key);
}

static struct json_object *read_one(const char *text)
{
    struct error err = ERROR_INIT;
    struct json_object *doc = NULL;
    int rc = yaml_json_one(slice_of_str(text), "t.yaml", NULL, &doc, &err);
    if (rc != 0) {
        fail_msg("%s", err.text);
    }
    return doc;
}

static void expect_json(const char *text, const char *json)
{
    struct json_object *doc = read_one(text);
    assert_string_equal(json_object_to_json_string_ext(doc, JSON_C_TO_STRING_PLAIN |
                                                                JSON_C_TO_STRING_NOSLASHESCAPE),
                        json);
    json_object_put(doc);
}

static void expect_failure(const char *text, int code, const char *why)
{
    struct error err = ERROR_INIT;
    struct json_object *doc = NULL;
    assert_int_equal(yaml_json_one(slice_of_str(text), "t.yaml", NULL, &doc, &err), code);
    assert_null(doc);
    if (strstr(err.text, why) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", err.text, why);
    }
}

static void scalars_resolve_as_kubectl_does(void **state)
{
    (void)state;
    expect_json("[a, 'true', \"1\", true, yes, Off, null, ~, '', ]",
                "[\"a\",\"true\",\"1\",true,true,false,null,null,\"\"]");
    expect_json("[1, -7, +3, 0x1F, 0o17, 017, 0b101, 1_000, 18446744073709551615]",
                "[1,-7,3,31,15,15,5,1000,18446744073709551615]");
    expect_json("[1.5, .5, 1e3, -2.5e-1]", "[1.5,0.5,1000.0,-0.25]");
    expect_json("[08, 1.2.3, 10.0.0.7, 200ms, 5s, 1e, -, 2026-01-02, 0x, '010', y, N]",
                "[8.0,\"1.2.3\",\"10.0.0.7\",\"200ms\",\"5s\",\"1e\",\"-\",\"2026-01-02\","
                "\"0x\",\"010\",true,false]");
    expect_json("!!str 5", "\"5\"");
    expect_json("a: |\n  two\n  lines\nb: >-\n  one\n  line\n",
                "{\"a\":\"two\\nlines\\n\",\"b\":\"one line\"}");
}

static void json_is_read_too(void **state)
{
    (void)state;
    expect_json("{\"a\": [1, {\"b\": null}], \"c\": \"\\u00e9\"}",
                "{\"a\":[1,{\"b\":null}],\"c\":\"\u00e9\"}");
}

static void keys_become_text(void **state)
{
    (void)state;
    expect_json("{1: a, on: b, x: c}", "{\"1\":\"a\",\"true\":\"b\",\"x\":\"c\"}");
    expect_failure("{a: 1, b: 2, a: 3}", -EINVAL, "t.yaml:1: key \"a\" appears twice");
    expect_failure("[1]: x", -EINVAL, "key must be a plain value");
    expect_failure("~: x", -EINVAL, "key must be text");
}

static void documents_come_one_by_one_with_their_lines(void **state)
{
    (void)state;
    const char *text = "# head\na: 1\n---\n\nb: 2\n---\n---\nc:\n  - d: 3\n";
    struct yaml_json *r = yaml_json_new(slice_of_str(text), "m.yaml", NULL);
    struct json_object *doc = NULL;
    struct error err = ERROR_INIT;
    assert_int_equal(yaml_json_next(r, &doc, &err), 1);
    assert_int_equal(yaml_json_line(doc), 2);
    assert_int_equal(yaml_json_line(get(doc, "a")), 2);
    json_object_put(doc);
    assert_int_equal(yaml_json_next(r, &doc, &err), 1);
    assert_int_equal(yaml_json_doc_line(r), 3);
    assert_int_equal(yaml_json_line(get(doc, "b")), 5);
    json_object_put(doc);
    assert_int_equal(yaml_json_next(r, &doc, &err), 1);
    assert_null(doc);
    assert_int_equal(yaml_json_next(r, &doc, &err), 1);
    struct json_object *item = json_object_array_get_idx(get(doc, "c"), 0);
    assert_int_equal(yaml_json_line(item), 9);
    struct json_object *copy = yaml_json_copy(doc);
    json_object_put(doc);
    assert_int_equal(yaml_json_line(json_object_array_get_idx(get(copy, "c"), 0)), 9);
    json_object_put(copy);
    assert_int_equal(yaml_json_next(r, &doc, &err), 0);
    assert_int_equal(yaml_json_next(r, &doc, &err), 0);
    yaml_json_free(r);
}

static void aliases_are_copies_and_merges_fill_in(void **state)
{
    (void)state;
    struct json_object *doc = read_one("a: &x {k: 1}\nb: *x\nc: &s text\nd: *s\n");
    json_object_object_add(get(doc, "b"), "k", json_object_new_int(2));
    assert_int_equal(json_object_get_int(get(get(doc, "a"), "k")), 1);
    assert_string_equal(json_object_get_string(get(doc, "d")), "text");
    json_object_put(doc);
    expect_json("x: &x {k: 1, l: 2}\nw: {<<: *x, k: 3}\nz: {<<: [{k: 4}, *x]}",
                "{\"x\":{\"k\":1,\"l\":2},\"w\":{\"k\":3,\"l\":2},\"z\":{\"k\":4,\"l\":2}}");
    expect_failure("a: *nope", -EINVAL, "alias *nope has no anchor");
    expect_failure("a: &a {b: *a}", -EINVAL, "alias *a has no anchor");
    expect_failure("{<<: 5}", -EINVAL, "needs one mapping");
}

static void limits_hold(void **state)
{
    (void)state;
    const char *laughs = "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
                         "b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
                         "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
                         "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
                         "e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n"
                         "f: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n";
    expect_failure(laughs, -E2BIG, "t.yaml:6: more than 1048576 values");
    char deep[400];
    memset(deep, '[', sizeof(deep) - 1);
    deep[sizeof(deep) - 1] = '\0';
    expect_failure(deep, -E2BIG, "nested deeper than 64");
    struct yaml_json_limits small = {.max_bytes = 4};
    struct json_object *doc = NULL;
    struct error err = ERROR_INIT;
    assert_int_equal(yaml_json_one(SLICE("a: 12"), "t", &small, &doc, &err), -E2BIG);
    assert_string_equal(err.text, "t: larger than 4 bytes");
}

static void failures_name_the_line_and_stay(void **state)
{
    (void)state;
    expect_failure("a: 1\nb: [1\nc: 2\n", -EINVAL, "t.yaml:3: ");
    expect_failure("a: .inf", -EINVAL, "not a number that JSON can hold");
    expect_failure("a: !!binary xx", -EINVAL, "not supported");
    expect_failure("a: !!int word", -EINVAL, "does not fit");
    expect_failure("a: 1\n---\nb: 2\n", -EINVAL, "t.yaml:2: a second document");
    expect_failure("a: \xff", -EINVAL, "t.yaml");
    struct yaml_json *r = yaml_json_new(SLICE("}"), NULL, NULL);
    struct json_object *doc = NULL;
    struct error err = ERROR_INIT;
    assert_int_equal(yaml_json_next(r, &doc, &err), -EINVAL);
    assert_int_equal(yaml_json_next(r, &doc, &err), -EINVAL);
    yaml_json_free(r);
}

static void a_byte_order_mark_is_not_part_of_the_first_key(void **state)
{
    (void)state;
    expect_json("\xEF\xBB\xBF" "a: 1", "{\"a\":1}");
}

static void an_empty_text_is_no_document(void **state)
{
    (void)state;
    struct json_object *doc = NULL;
    assert_int_equal(yaml_json_one(SLICE_NULL, "t", NULL, &doc, NULL), 0);
    assert_null(doc);
    assert_int_equal(yaml_json_one(SLICE("# nothing\n"), "t", NULL, &doc, NULL), 0);
    assert_null(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars_resolve_as_kubectl_does),
        cmocka_unit_test(json_is_read_too),
        cmocka_unit_test(keys_become_text),
        cmocka_unit_test(documents_come_one_by_one_with_their_lines),
        cmocka_unit_test(aliases_are_copies_and_merges_fill_in),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(failures_name_the_line_and_stay),
        cmocka_unit_test(an_empty_text_is_no_document),
        cmocka_unit_test(a_byte_order_mark_is_not_part_of_the_first_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
