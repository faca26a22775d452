// Patterns match whole texts, and none can cost more than its bounds.
#include "snapshot/regex.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static struct snapshot *snapshot;

static int up(void **state)
{
    (void)state;
    snapshot = snapshot_new();
    return snapshot != NULL ? 0 : -1;
}

static int down(void **state)
{
    (void)state;
    snapshot_unref(snapshot);
    snap_regex_thread_fini();
    return 0;
}

static struct snap_regex *compile(const char *pattern)
{
    struct error err = ERROR_INIT;
    struct snap_regex *regex = snapshot_add_regex(snapshot, slice_of_str(pattern), &err);
    if (regex == NULL) {
        fail_msg("%s: %s", pattern, err.text);
    }
    return regex;
}

static void patterns_match_the_whole_text(void **state)
{
    (void)state;
    struct snap_regex *regex = compile("llama|qwen-[0-9]+b");
    assert_true(snap_regex_matches(regex, SLICE("llama")));
    assert_true(snap_regex_matches(regex, SLICE("qwen-72b")));
    assert_false(snap_regex_matches(regex, SLICE("llama-3")));
    assert_false(snap_regex_matches(regex, SLICE("my-llama")));
    assert_false(snap_regex_matches(regex, SLICE("qwen-72b\n")));
    assert_false(snap_regex_matches(regex, SLICE_NULL));
    assert_true(snap_regex_matches(compile(".*"), SLICE_NULL));
    assert_true(snap_regex_matches(compile("m.dell"), SLICE("m\xc3\xb6" "dell")));
}

static void text_that_is_not_utf_8_matches_nothing(void **state)
{
    (void)state;
    struct snap_regex *regex = compile(".*");
    assert_false(snap_regex_matches(regex, SLICE("a\xff")));
    assert_false(snap_regex_matches(regex, SLICE("\xed\xa0\x80")));
    assert_true(snap_regex_matches(regex, SLICE("a")));
}

static void bad_patterns_say_where(void **state)
{
    (void)state;
    static const char *const bad[] = {"(", "a{2,1}", "[z-a]", "\\C", "(?<n>a)(?<n>b)", "*"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct error err = ERROR_INIT;
        if (snapshot_add_regex(snapshot, slice_of_str(bad[i]), &err) != NULL) {
            fail_msg("%s is taken", bad[i]);
        }
        assert_non_null(strstr(err.text, "offset"));
    }
    char wide[SNAP_REGEX_PATTERN_MAX + 1];
    memset(wide, 'a', sizeof(wide));
    struct error err = ERROR_INIT;
    assert_null(snapshot_add_regex(snapshot, slice_of(wide, sizeof(wide)), &err));
    assert_non_null(snapshot_add_regex(snapshot, slice_of(wide, sizeof(wide) - 1), &err));
}

static void no_pattern_takes_long(void **state)
{
    (void)state;
    static const char *const evil[] = {"(a+)+b", "(a|a)*b", "(.*a){20}b", "((a*)*)*b",
                                       "(?:a?){200}a{200}b"};
    char text[256];
    memset(text, 'a', sizeof(text));
    for (size_t i = 0; i < ARRAY_LEN(evil); i++) {
        struct snap_regex *regex = compile(evil[i]);
        clock_t before = clock();
        assert_false(snap_regex_matches(regex, slice_of(text, sizeof(text))));
        // Unbounded these take years; the bound is some ten thousand steps.
        assert_true(clock() - before < CLOCKS_PER_SEC);
    }
    // Repeats of repeats are refused when they would grow beyond measure.
    struct error err = ERROR_INIT;
    assert_null(snapshot_add_regex(snapshot, SLICE("(((a{1,500}){1,500}){1,500})"), &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(patterns_match_the_whole_text, up, down),
        cmocka_unit_test_setup_teardown(text_that_is_not_utf_8_matches_nothing, up, down),
        cmocka_unit_test_setup_teardown(bad_patterns_say_where, up, down),
        cmocka_unit_test_setup_teardown(no_pattern_takes_long, up, down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
