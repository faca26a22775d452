// Options from flags and from the environment, and what is said of wrong ones.
#include "base/options.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct values {
    uint64_t number;
    uint32_t small;
    const char *text;
    size_t calls;
};

static int count_call(const char *value, void *target, struct error *err)
{
    size_t *calls = target;
    if (strcmp(value, "bad") == 0) {
        return error_set(err, -EINVAL, "not this one");
    }
    (*calls)++;
    return 0;
}

static int parse(struct values *values, const char *const *words, struct error *err)
{
#define FIELD(member) OPTION_FIELD(struct values, member)
    static const struct option_row rows[] = {
        {"a-number", "N", "", OPTION_NUMBER, FIELD(number), 1, 9, NULL},
        {"small", "N", "", OPTION_NUMBER, FIELD(small), 0, 0, NULL},
        {"text", "TEXT", "", OPTION_STRING, FIELD(text), 0, 0, NULL},
        {"call", "X", "", OPTION_CALL, FIELD(calls), 0, 0, count_call},
    };
    char *argv[8];
    int argc = 0;
    int kept;
    for (; words[argc] != NULL; argc++) {
        argv[argc] = (char *)(uintptr_t)words[argc];
    }
    return options_parse(rows, ARRAY_LEN(rows), "TEST_OPTIONS", values, argc, argv, &kept, err);
}

static int clear_environment(void **state)
{
    (void)state;
    unsetenv("TEST_OPTIONS_A_NUMBER");
    unsetenv("TEST_OPTIONS_TEXT");
    unsetenv("TEST_OPTIONS_CALL");
    return 0;
}

static void flags_go_before_the_environment(void **state)
{
    struct values values = {0};
    struct error err = ERROR_INIT;
    (void)state;
    setenv("TEST_OPTIONS_A_NUMBER", "3", 1);
    setenv("TEST_OPTIONS_CALL", "x,y", 1);
    assert_int_equal(parse(&values, (const char *[]){"--call", "z", NULL}, &err), 0);
    assert_int_equal(values.number, 3);
    assert_int_equal(values.calls, 3);
    assert_int_equal(parse(&values, (const char *[]){"--a-number=4", NULL}, &err), 0);
    assert_int_equal(values.number, 4);
}

static void a_wrong_value_is_told_by_where_it_came_from(void **state)
{
    static const char *const none[] = {NULL};
    struct values values = {0};
    struct error err = ERROR_INIT;
    (void)state;
    assert_int_equal(parse(&values, (const char *[]){"--a-number", "12", NULL}, &err), -EINVAL);
    assert_string_equal(err.text, "--a-number 12: must be 1 to 9");
    setenv("TEST_OPTIONS_CALL", "x,bad", 1);
    assert_int_equal(parse(&values, none, &err), -EINVAL);
    assert_non_null(strstr(err.text, "environment variable TEST_OPTIONS_CALL"));
    unsetenv("TEST_OPTIONS_CALL");
    setenv("TEST_OPTIONS_A_NUMBER", "12", 1);
    assert_int_equal(parse(&values, none, &err), -EINVAL);
    assert_non_null(strstr(err.text, "environment variable TEST_OPTIONS_A_NUMBER"));
}

static void a_number_fits_its_member(void **state)
{
    struct values values = {.number = 5};
    struct error err = ERROR_INIT;
    (void)state;
    assert_int_equal(parse(&values, (const char *[]){"--small", "4294967295", NULL}, &err), 0);
    assert_true(values.small == UINT32_MAX && values.number == 5 && values.text == NULL);
    assert_int_equal(parse(&values, (const char *[]){"--small", "4294967296", NULL}, &err),
                     -EINVAL);
    assert_string_equal(err.text, "--small 4294967296: must be 0 to 4294967295");
}

static void what_is_checked_later_is_told_by_where_it_came_from_too(void **state)
{
    char where[OPTIONS_WHERE_MAX];
    struct values values = {0};
    struct error err = ERROR_INIT;
    (void)state;
    setenv("TEST_OPTIONS_TEXT", "same", 1);
    assert_int_equal(parse(&values, (const char *[]){NULL}, &err), 0);
    assert_string_equal(options_where("TEST_OPTIONS", "text", values.text, where),
                        "environment variable TEST_OPTIONS_TEXT");
    assert_int_equal(parse(&values, (const char *[]){"--text", "same", NULL}, &err), 0);
    assert_string_equal(options_where("TEST_OPTIONS", "text", values.text, where), "--text");
    assert_string_equal(options_where("TEST_OPTIONS", "text", NULL, where), "--text");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup(name, clear_environment)
    const struct CMUnitTest tests[] = {
        CASE(flags_go_before_the_environment),
        CASE(a_wrong_value_is_told_by_where_it_came_from),
        CASE(a_number_fits_its_member),
        CASE(what_is_checked_later_is_told_by_where_it_came_from_too),
    };
    return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
