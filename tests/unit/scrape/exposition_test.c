#include "scrape/exposition.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/strbuf.h"

static const struct slice wanted[] = {
    {.ptr = "a:waiting", .len = 9}, {.ptr = "a:running", .len = 9}, {.ptr = "info", .len = 4},
    {.ptr = "b", .len = 1},
};

struct seen {
    struct exposition_names names;
    struct exposition exposition;
    struct strbuf text; // "index{labels}value;" for each sample
};

static void on_sample(void *arg, size_t name, struct slice labels, double value)
{
    struct seen *seen = arg;
    strbuf_printf(&seen->text, "%zu{%.*s}%g;", name, SLICE_FMT(labels), value);
}

static int up(void **state)
{
    struct seen *seen = calloc(1, sizeof(*seen));
    assert_int_equal(exposition_names_init(&seen->names, wanted, ARRAY_LEN(wanted)), 0);
    exposition_init(&seen->exposition, &seen->names, on_sample, seen);
    strbuf_init(&seen->text, 65536);
    *state = seen;
    return 0;
}

static int down(void **state)
{
    struct seen *seen = *state;
    strbuf_fini(&seen->text);
    free(seen);
    return 0;
}

// In one piece, in every two pieces, and byte by byte: always the same.
static void expect(struct seen *seen, struct slice text, const char *samples)
{
    for (size_t cut = 0; cut <= text.len + 1; cut++) {
        strbuf_reset(&seen->text);
        exposition_init(&seen->exposition, &seen->names, on_sample, seen);
        if (cut <= text.len) {
            exposition_feed(&seen->exposition, slice_first(text, cut));
            exposition_feed(&seen->exposition, slice_skip(text, cut));
        } else {
            for (size_t i = 0; i < text.len; i++) {
                exposition_feed(&seen->exposition, slice_of(text.ptr + i, 1));
            }
        }
        exposition_finish(&seen->exposition);
        assert_string_equal(strbuf_cstr(&seen->text), samples);
    }
}

static void only_exact_names_are_taken(void **state)
{
    expect(*state,
           SLICE("# HELP a:waiting x\n# TYPE a:waiting gauge\n"
                 "a:waiting 3\na:waiting_by_reason 4\na:waitin 5\nxa:waiting 6\n"
                 "a:running{engine=\"0\"} 7.5\nb 1\nbb 2\na:waiting_total 9\n"),
           "0{}3;1{engine=\"0\"}7.5;3{}1;");
}

static void everything_that_the_format_allows_is_read(void **state)
{
    expect(*state,
           SLICE("\n  \t a:waiting \t 1e3 \n"
                 "a:waiting{} +Inf 1700000000000\n"
                 "a:waiting{a=\"}{\",b=\"x\\\"y\\\\\"} -0.5 # {trace=\"1\"} 3\n"
                 "a:waiting { a = \"1\" , } 2\r\n"
                 "a:running NaN\n"
                 "b -Inf\n"
                 "# EOF\n"
                 "b 8"),
           "0{}1000;0{}inf;0{a=\"}{\",b=\"x\\\"y\\\\\"}-0.5;0{ a = \"1\" , "
           "}2;1{}nan;3{}-inf;3{}8;");
}

static void a_line_like_the_one_before_is_looked_at_for_itself(void **state)
{
    expect(*state,
           SLICE("x{le=\"1\"} 1\nx{le=\"2\"} 2\nx 3\nxb 4\nb 5\n \n  b 6\n\n b 7\nb{} 8\nb2 9\n"
                 "b 10\n"),
           "3{}5;3{}6;3{}7;3{}8;3{}10;");
}

static void what_is_malformed_is_counted_and_left_out(void **state)
{
    struct seen *seen = *state;
    expect(seen,
           SLICE("a:waiting\na:waiting \na:waiting x\na:waiting{a=\"1} 2\na:waiting{a=\"1\" 2\n"
                 "a:waiting 1,5\na:waiting 0x10\n{\"a:waiting\"} 1\nb 2\n"),
           "3{}2;");
    assert_int_equal(seen->exposition.malformed, 7);
    assert_int_equal(seen->exposition.samples, 1);
    assert_int_equal(seen->exposition.lines, 9);
}

static void long_lines_need_no_memory(void **state)
{
    struct seen *seen = *state;
    static char filler[EXPOSITION_LINE_MAX];
    memset(filler, 'x', sizeof(filler));
    struct slice piece = slice_of(filler, sizeof(filler));
    // An unwanted line of any length, a wanted one that is too long, and an endless name.
    static const char *const begins[] = {"other{l=\"", "a:waiting{l=\"", ""};
    for (size_t i = 0; i < ARRAY_LEN(begins); i++) {
        exposition_feed(&seen->exposition, slice_of_str(begins[i]));
        for (int k = 0; k < 50; k++) {
            exposition_feed(&seen->exposition, piece);
        }
        exposition_feed(&seen->exposition, SLICE("\"} 1\nb 2\n"));
    }
    exposition_finish(&seen->exposition);
    assert_string_equal(strbuf_cstr(&seen->text), "3{}2;3{}2;3{}2;");
    assert_int_equal(seen->exposition.malformed, 1);
}

static void labels_are_found_and_unescaped(void **state)
{
    (void)state;
    struct slice labels = SLICE("a=\"1\", reason = \"x\\\\y\\\"z\\n\" ,c=\"\"");
    char buf[16];
    assert_true(exposition_label(labels, SLICE("reason"), buf, sizeof(buf)));
    assert_string_equal(buf, "x\\y\"z\n");
    assert_true(exposition_label(labels, SLICE("c"), buf, sizeof(buf)));
    assert_string_equal(buf, "");
    assert_false(exposition_label(labels, SLICE("reaso"), buf, sizeof(buf)));
    assert_true(exposition_label(labels, SLICE("reason"), buf, 3));
    assert_string_equal(buf, "x\\");
    static const char *const bad[] = {"", "a", "a=", "a=1", "=\"1\"", "a=\"1", "a=\"1\\\""};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_false(exposition_label(slice_of_str(bad[i]), SLICE("a"), buf, sizeof(buf)));
    }
}

static void a_filter_takes_any_names_but_no_nonsense(void **state)
{
    (void)state;
    struct exposition_names *names = malloc(sizeof(*names));
    char text[EXPOSITION_NAMES_MAX + 1][EXPOSITION_NAME_LEN_MAX + 2];
    struct slice list[EXPOSITION_NAMES_MAX + 1];
    for (size_t i = 0; i < ARRAY_LEN(list); i++) {
        snprintf(text[i], sizeof(text[i]), "vllm:some_metric_with_a_long_name_%zu_total", i);
        list[i] = slice_of_str(text[i]);
    }
    assert_int_equal(exposition_names_init(names, list, EXPOSITION_NAMES_MAX), 0);
    for (size_t i = 0; i < EXPOSITION_NAMES_MAX; i++) {
        assert_int_equal(exposition_names_find(names, list[i]), i);
        char other[EXPOSITION_NAME_LEN_MAX + 2];
        memcpy(other, text[i], sizeof(other));
        other[i % 30] ^= 1;
        assert_int_equal(exposition_names_find(names, slice_of_str(other)), -1);
    }
    assert_int_equal(exposition_names_init(names, list, ARRAY_LEN(list)), -ENOSPC);
    list[1] = list[0];
    assert_int_equal(exposition_names_init(names, list, 2), -EINVAL);
    list[1] = SLICE("");
    assert_int_equal(exposition_names_init(names, list, 2), -EINVAL);
    assert_int_equal(exposition_names_init(names, NULL, 0), 0);
    assert_int_equal(exposition_names_find(names, SLICE("x")), -1);
    free(names);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, up, down)
    const struct CMUnitTest tests[] = {
        CASE(only_exact_names_are_taken),
        CASE(everything_that_the_format_allows_is_read),
        CASE(a_line_like_the_one_before_is_looked_at_for_itself),
        CASE(what_is_malformed_is_counted_and_left_out),
        CASE(long_lines_need_no_memory),
        CASE(labels_are_found_and_unescaped),
        CASE(a_filter_takes_any_names_but_no_nonsense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
