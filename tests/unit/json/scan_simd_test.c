// The vector scans give what their scalar twins give.
#include "json/scan_simd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"

static void plain_runs_end_where_the_scalar_twin_says(void **state)
{
    (void)state;
    for (size_t len = 0; len <= 160; len++) {
        char *text = malloc(len + 1);
        assert_non_null(text);
        for (size_t at = 0; at < len; at++) {
            for (int c = 0; c < 256; c++) {
                memset(text, 'x', len);
                text[at] = (char)c;
                bool stops = c < 0x20 || c >= 0x80 || c == '"' || c == '\\';
                const char *want = stops ? text + at : text + len;
                assert_ptr_equal(json_skip_plain_scalar(text, text + len), want);
                assert_ptr_equal(json_skip_plain(text, text + len), want);
            }
        }
        free(text);
    }
}

// The vector form works in blocks, so it may stop earlier; it must never go farther, and must stop
// right after a comma.
static void integers_are_skipped_no_farther_than_valid(void **state)
{
    (void)state;
    static const char usual[] = "0123456789,, ";
    struct rand_state rng = {.state = 7};
    size_t skipped = 0;
    for (int round = 0; round < 200000; round++) {
        char text[260];
        size_t len = 64 + (size_t)rand_below(&rng, sizeof text - 64);
        bool clean = round % 2 == 0;
        size_t at = 0;
        while (at < len) {
            // Mostly well-formed numbers; in the other rounds anything of the alphabet now and
            // then.
            for (uint64_t digits = 1 + rand_below(&rng, 6); digits > 0 && at < len; digits--) {
                text[at++] = (char)('1' + rand_below(&rng, 9));
            }
            if (at < len) {
                text[at++] = ',';
            }
            if (at < len && rand_below(&rng, 2) == 0) {
                text[at++] = rand_below(&rng, 8) == 0 ? '\n' : ' ';
            }
            if (!clean && rand_below(&rng, 20) == 0 && at < len) {
                text[at++] =
                    rand_below(&rng, 10) == 0 ? '-' : usual[rand_below(&rng, sizeof usual - 1)];
            }
        }
        const char *scalar = json_skip_integers_scalar(text, text + len);
        const char *vector = json_skip_integers(text, text + len);
#ifdef __SSE2__
        assert_ptr_equal(json_skip_integers_sse2(text, text + len), vector);
#endif
        assert_true(vector >= text && vector <= scalar);
        assert_true(vector == text || vector[-1] == ',');
        if (clean) {
            // Only the part that fills no block, and the number that it cuts, are left.
            assert_true(vector + 64 + 8 > scalar);
        }
        skipped += (size_t)(vector - text);
    }
    assert_true(skipped > 0);
}

static void space_ends_where_the_scalar_twin_says(void **state)
{
    (void)state;
    for (size_t len = 0; len <= 50; len++) {
        char *text = malloc(len + 1);
        assert_non_null(text);
        for (size_t at = 0; at < len; at++) {
            for (int c = 0; c < 256; c++) {
                memset(text, "\t\r\n "[at % 4], len);
                text[at] = (char)c;
                bool blank = c == ' ' || c == '\t' || c == '\r' || c == '\n';
                const char *want = blank ? text + len : text + at;
                assert_ptr_equal(json_skip_space_scalar(text, text + len), want);
                assert_ptr_equal(json_skip_space(text, text + len), want);
            }
        }
        free(text);
    }
}

static void digits_end_where_the_scalar_twin_says(void **state)
{
    (void)state;
    for (size_t len = 0; len <= 50; len++) {
        char *text = malloc(len + 1);
        assert_non_null(text);
        for (size_t at = 0; at < len; at++) {
            for (int c = 0; c < 256; c++) {
                memset(text, '0' + (int)(at % 10), len);
                text[at] = (char)c;
                const char *want = c >= '0' && c <= '9' ? text + len : text + at;
                assert_ptr_equal(json_skip_digits_scalar(text, text + len), want);
                assert_ptr_equal(json_skip_digits(text, text + len), want);
            }
        }
        free(text);
    }
}

static void triples_are_skipped_as_the_scalar_twin_says(void **state)
{
    (void)state;
    static const char *const usual[] = {"\xe4\xbd\xa0", "\xef\xbf\xbf", "\xe1\x80\x80"};
    static const char odd[] = "\xe0\xed\xf0\xc3\x7f a\xe4\xbf\x80";
    struct rand_state rng = {.state = 11};
    for (int round = 0; round < 100000; round++) {
        char text[120];
        size_t len = 3 * (1 + (size_t)rand_below(&rng, sizeof text / 3));
        for (size_t at = 0; at < len; at += 3) {
            memcpy(text + at, usual[rand_below(&rng, 3)], 3);
        }
        for (uint64_t n = rand_below(&rng, 3); n > 0; n--) {
            text[rand_below(&rng, len)] = odd[rand_below(&rng, sizeof odd - 1)];
        }
        // The scalar twin looks one sequence at a time while 16 bytes are left, the vector form
        // takes up to five: both leave less than 16 good bytes.
        const char *scalar = json_skip_triples_scalar(text, text + len);
        const char *vector = json_skip_triples(text, text + len);
        assert_true((vector - text) % 3 == 0);
        if (text + len - scalar >= 16) {
            assert_ptr_equal(vector, scalar); // both stopped at something odd
        } else {
            assert_true(text + len - vector < 16 || vector == scalar);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_runs_end_where_the_scalar_twin_says),
        cmocka_unit_test(space_ends_where_the_scalar_twin_says),
        cmocka_unit_test(digits_end_where_the_scalar_twin_says),
        cmocka_unit_test(triples_are_skipped_as_the_scalar_twin_says),
        cmocka_unit_test(integers_are_skipped_no_farther_than_valid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
