#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

// Every code point encodes to a valid character; surrogates do not.
static void every_code_point_is_known(void **state)
{
    (void)state;
    for (uint32_t code = 0; code < 0x110000; code++) {
        char c[4];
        size_t len = 0;
        if (code < 0x80) {
            c[len++] = (char)code;
        } else if (code < 0x800) {
            c[len++] = (char)(0xc0 | code >> 6);
        } else if (code < 0x10000) {
            c[len++] = (char)(0xe0 | code >> 12);
            c[len++] = (char)(0x80 | (code >> 6 & 0x3f));
        } else {
            c[len++] = (char)(0xf0 | code >> 18);
            c[len++] = (char)(0x80 | (code >> 12 & 0x3f));
            c[len++] = (char)(0x80 | (code >> 6 & 0x3f));
        }
        if (code >= 0x80) {
            c[len++] = (char)(0x80 | (code & 0x3f));
        }
        bool surrogate = code >= 0xd800 && code < 0xe000;
        assert_int_equal(utf8_char_len(slice_of(c, len)), surrogate ? 0 : len);
        if (len > 1) {
            assert_int_equal(utf8_char_len(slice_of(c, len - 1)), 0);
        }
    }
}

static void other_bytes_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\x80",         "\xbf",         "\xc0\x80",     "\xc1\xbf", "\xe0\x80\x80",
        "\xe0\x9f\xbf", "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff",
        "\xc3\x28",     "\xe2\x28\xa1", "\xe2\x82\x28", "\xf0\x9f\x98\x28",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(utf8_char_len(slice_of_str(bad[i])), 0);
    }
    assert_int_equal(utf8_char_len(SLICE_NULL), 0);
    assert_int_equal(utf8_char_len(SLICE("\0")), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point_is_known),
        cmocka_unit_test(other_bytes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
