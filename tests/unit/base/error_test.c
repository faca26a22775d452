#include "base/error.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void prefixes_go_before_the_text(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    assert_int_equal(error_set(&err, -EINVAL, "bad %s", "thing"), -EINVAL);
    assert_int_equal(error_prefix(&err, -EIO, "file %d", 7), -EIO);
    assert_string_equal(err.text, "file 7: bad thing");
    assert_int_equal(error_set(NULL, -ENOENT, "nobody reads this"), -ENOENT);
    assert_int_equal(error_prefix(NULL, -ENOENT, "nor this"), -ENOENT);
}

static void long_texts_are_cut_not_overrun(void **state)
{
    (void)state;
    char text[3000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    for (size_t len = 1000; len < 1060; len++) {
        struct error err = ERROR_INIT;
        (void)error_set(&err, -1, "old");
        (void)error_prefix(&err, -1, "%.*s", (int)len, text);
        assert_true(strlen(err.text) < sizeof err.text);
        (void)error_set(&err, -1, "%.*s", (int)len, text);
        (void)error_prefix(&err, -1, "prefix");
        assert_memory_equal(err.text, "prefix: xxx", 11);
        assert_true(strlen(err.text) < sizeof err.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prefixes_go_before_the_text),
        cmocka_unit_test(long_texts_are_cut_not_overrun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
