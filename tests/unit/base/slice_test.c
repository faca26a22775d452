#include "base/slice.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void comparison(void **state)
{
    (void)state;
    assert_true(slice_eq(SLICE("a"), SLICE("a")));
    assert_false(slice_eq(SLICE("a"), SLICE("ab")));
    assert_true(slice_eq(SLICE(""), SLICE_NULL));
    assert_true(slice_ieq(SLICE("Content-LENGTH"), SLICE("content-length")));
    // Only letters fold: these pairs differ by the same bit.
    assert_false(slice_ieq(SLICE("@"), SLICE("`")));
    assert_false(slice_ieq(SLICE("["), SLICE("{")));
    assert_false(slice_ieq(SLICE("\r"), SLICE("-")));
    assert_true(slice_cmp(SLICE("a"), SLICE("b")) < 0);
    assert_true(slice_cmp(SLICE("ab"), SLICE("a")) > 0);
    assert_true(slice_cmp(SLICE("\xff"), SLICE("a")) > 0);
    assert_int_equal(slice_cmp(SLICE_NULL, SLICE("")), 0);
    assert_true(slice_has_prefix(SLICE("abc"), SLICE("ab")));
    assert_false(slice_has_prefix(SLICE("a"), SLICE("ab")));
    assert_true(slice_has_suffix(SLICE("abc"), SLICE("bc")));
    assert_false(slice_has_suffix(SLICE("c"), SLICE("bc")));
}

static void cutting(void **state)
{
    (void)state;
    assert_true(slice_eq(slice_trim(SLICE(" \t a b \r\n")), SLICE("a b")));
    assert_int_equal(slice_trim(SLICE(" \t ")).len, 0);
    assert_int_equal(slice_find_byte(SLICE("abc"), 'c'), 2);
    assert_int_equal(slice_find_byte(SLICE_NULL, 'c'), -1);
    assert_int_equal(slice_find(SLICE("abcabd"), SLICE("abd")), 3);
    assert_int_equal(slice_find(SLICE("abc"), SLICE("")), 0);
    assert_int_equal(slice_find(SLICE("ab"), SLICE("abc")), -1);
    assert_true(slice_eq(slice_skip(SLICE("abc"), 2), SLICE("c")));
    assert_int_equal(slice_skip(SLICE("abc"), 9).len, 0);
    assert_true(slice_eq(slice_first(SLICE("abc"), 9), SLICE("abc")));
}

static void splitting(void **state)
{
    (void)state;
    struct slice rest = SLICE("a,,b,");
    struct slice part;
    static const char *const parts[] = {"a", "", "b", ""};
    for (size_t i = 0; i < 4; i++) {
        assert_true(slice_split(&rest, ',', &part));
        assert_true(slice_eq_str(part, parts[i]));
    }
    assert_false(slice_split(&rest, ',', &part));
    rest = SLICE("");
    assert_true(slice_split(&rest, ',', &part));
    assert_int_equal(part.len, 0);
    assert_false(slice_split(&rest, ',', &part));
}

static void unsigned_integers(void **state)
{
    (void)state;
    uint64_t value = 1;
    assert_int_equal(slice_to_u64(SLICE("0"), &value), 0);
    assert_int_equal(value, 0);
    assert_int_equal(slice_to_u64(SLICE("18446744073709551615"), &value), 0);
    assert_int_equal(value, UINT64_MAX);
    assert_int_equal(slice_to_u64(SLICE("18446744073709551616"), &value), -ERANGE);
    assert_int_equal(slice_to_u64(SLICE("99999999999999999999999"), &value), -ERANGE);
    static const char *const bad[] = {"", " 1", "1 ", "+1", "-1", "0x1", "1.0", "1e3", "a", "\xb1"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(slice_to_u64(slice_of_str(bad[i]), &value), -EINVAL);
    }
    assert_int_equal(value, UINT64_MAX);
}

static void printed_integers_read_back(void **state)
{
    (void)state;
    static const uint64_t values[] = {0, 7, 9, 10, 99, 100, 1234567890, UINT64_MAX - 1, UINT64_MAX};
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        char text[SLICE_U64_MAX + 1];
        char wanted[32];
        memset(text, '#', sizeof(text));
        size_t len = slice_print_u64(values[i], text);
        assert_int_equal(text[len], '#');
        snprintf(wanted, sizeof(wanted), "%llu", (unsigned long long)values[i]);
        assert_true(slice_eq_str(slice_of(text, len), wanted));
    }
}

static void doubles(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double value;
    } good[] = {{"0", 0},
                {"-1.5", -1.5},
                {"+2", 2},
                {"1e3", 1000},
                {"1E-2", 0.01},
                {".5", 0.5},
                {"5.", 5},
                {"Inf", INFINITY},
                {"+Inf", INFINITY},
                {"-inf", -INFINITY},
                {"1.7976931348623157e+308", 1.7976931348623157e+308}};
    double value = 0;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_int_equal(slice_to_double(slice_of_str(good[i].text), &value), 0);
        assert_true(value == good[i].value);
    }
    assert_int_equal(slice_to_double(SLICE("NaN"), &value), 0);
    assert_true(isnan(value));
    static const char *const bad[] = {"",   ".",  "-",   "e5",   "1e",      "1e+",   "0x10",
                                      " 1", "1 ", "1,5", "nano", "infinit", "1.2.3", "--1"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(slice_to_double(slice_of_str(bad[i]), &value), -EINVAL);
    }
}

static void copies(void **state)
{
    (void)state;
    char *copy = slice_dup(SLICE("abc"));
    assert_string_equal(copy, "abc");
    free(copy);
    copy = slice_dup(SLICE_NULL);
    assert_string_equal(copy, "");
    free(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comparison),
        cmocka_unit_test(cutting),
        cmocka_unit_test(splitting),
        cmocka_unit_test(unsigned_integers),
        cmocka_unit_test(printed_integers_read_back),
        cmocka_unit_test(doubles),
        cmocka_unit_test(copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
