// The vector scan gives what its scalar twin gives, for every byte at every place.
#include "http/h1_scan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"

static void finds_what_the_scalar_twin_finds(void **state)
{
    (void)state;
    for (size_t len = 0; len <= 70; len++) {
        char *text = malloc(len + 1);
        assert_non_null(text);
        for (size_t at = 0; at < len; at++) {
            for (int c = 0; c < 256; c++) {
                memset(text, 'x', len);
                text[at] = (char)c;
                const char *want = h1_scan_value_scalar(text, text + len);
                assert_ptr_equal(h1_scan_value(text, text + len), want);
                bool stops = (c < 0x20 && c != '\t') || c == 0x7f;
                assert_ptr_equal(want, stops ? text + at : text + len);
            }
        }
        free(text);
    }
}

static void token_characters_are_those_of_the_rfc(void **state)
{
    (void)state;
    // RFC 9110 section 5.6.2.
    static const char symbols[] = "!#$%&'*+-.^_`|~";
    for (int c = 0; c < 256; c++) {
        bool want = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                    (c != 0 && strchr(symbols, c) != NULL);
        assert_int_equal((h1_class[c] & H1_TCHAR) != 0, want);
    }
}

static void uri_characters_are_those_of_the_rfc(void **state)
{
    (void)state;
    // RFC 3986 section 2.3, 3.3, 3.4, and what the header says is tolerated.
    static const char unreserved[] = "-._~";
    static const char path[] = "-._~!$&'()*+,;=:@/%|[]^";
    static const char query[] = "-._~!$&'()*+,;=:@/%|[]^?{}`";
    for (int c = 1; c < 256; c++) {
        bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        assert_int_equal((h1_class[c] & H1_UNRESERVED) != 0,
                         alnum || strchr(unreserved, c) != NULL);
        assert_int_equal((h1_class[c] & H1_PATH) != 0, alnum || strchr(path, c) != NULL);
        assert_int_equal((h1_class[c] & H1_QUERY) != 0, alnum || strchr(query, c) != NULL);
    }
    assert_int_equal(h1_class[0], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_the_scalar_twin_finds),
        cmocka_unit_test(token_characters_are_those_of_the_rfc),
        cmocka_unit_test(uri_characters_are_those_of_the_rfc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
