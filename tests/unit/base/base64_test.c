// Base64 as Secrets and kubeconfigs hold it.
#include "base/base64.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void expect(const char *text, const char *wanted, size_t wanted_len)
{
    size_t len = 99;
    char *out = base64_decode(slice_of_str(text), &len);
    if (wanted == NULL) {
        assert_null(out);
        return;
    }
    assert_non_null(out);
    assert_int_equal(len, wanted_len);
    assert_memory_equal(out, wanted, wanted_len);
    assert_int_equal(out[len], '\0');
    free(out);
}

static void test_whole_and_padded_groups(void **state)
{
    (void)state;
    expect("", "", 0);
    expect("TWFu", "Man", 3);
    expect("TWE=", "Ma", 2);
    expect("TQ==", "M", 1);
    expect("AP+/", "\0\xff\xbf", 3);
}

static void test_line_breaks_and_missing_padding_are_fine(void **state)
{
    (void)state;
    expect("TW\r\nFu\n", "Man", 3);
    expect("TWE", "Ma", 2);
}

static void test_what_is_no_base64_is_refused(void **state)
{
    (void)state;
    expect("TWE=TQ==", NULL, 0);
    expect("T-_E", NULL, 0);
    expect("pass:word", NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_and_padded_groups),
        cmocka_unit_test(test_line_breaks_and_missing_padding_are_fine),
        cmocka_unit_test(test_what_is_no_base64_is_refused),
    };
    return cmocka_run_group_tests_name("base64", tests, NULL, NULL);
}
