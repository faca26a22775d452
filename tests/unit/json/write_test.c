#include "json/write.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rand.h"
#include "json/scan.h"

static void expect(struct slice text, const char *json)
{
    struct strbuf out;
    strbuf_init(&out, 1000);
    json_write_string(&out, text);
    assert_false(out.failed);
    assert_string_equal(strbuf_cstr(&out), json);
    strbuf_fini(&out);
}

static void strings_are_escaped(void **state)
{
    (void)state;
    expect(SLICE(""), "\"\"");
    expect(SLICE_NULL, "\"\"");
    expect(SLICE("abc"), "\"abc\"");
    expect(SLICE("a\"b\\c/"), "\"a\\\"b\\\\c/\"");
    expect(SLICE("\b\f\n\r\t"), "\"\\b\\f\\n\\r\\t\"");
    expect(SLICE("a\0b\x1f\x7f"), "\"a\\u0000b\\u001f\x7f\"");
    expect(SLICE("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"),
           "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"");
}

static void invalid_utf8_is_replaced(void **state)
{
    (void)state;
    expect(SLICE("a\xff"
                 "b"),
           "\"a\xef\xbf\xbd"
           "b\"");
    expect(SLICE("\xc3"), "\"\xef\xbf\xbd\"");
    expect(SLICE("\xed\xa0\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
    expect(SLICE("\xe2\x82"), "\"\xef\xbf\xbd\xef\xbf\xbd\"");
    expect(SLICE("\xc0\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\"");
}

static void any_bytes_give_a_string_that_the_scanner_accepts(void **state)
{
    (void)state;
    struct rand_state rng = {.state = 1};
    struct strbuf out;
    struct slice key = SLICE("k");
    strbuf_init(&out, 10000);
    for (int round = 0; round < 20000; round++) {
        char text[40];
        size_t len = (size_t)rand_below(&rng, sizeof text);
        for (size_t i = 0; i < len; i++) {
            text[i] = (char)rand_u64(&rng);
        }
        strbuf_reset(&out);
        strbuf_add_char(&out, '{');
        json_write_key(&out, "k");
        json_write_string(&out, slice_of(text, len));
        strbuf_add_char(&out, '}');
        struct json_scan scan;
        json_scan_init(&scan, &key, 1);
        (void)json_scan_feed(&scan, strbuf_slice(&out));
        assert_int_equal(json_scan_finish(&scan), JSON_OK);
        struct json_capture c = scan.captures[0];
        char back[200];
        assert_true(json_string_decode(slice_of(out.ptr + c.start, (size_t)(c.end - c.start)), back,
                                       sizeof back) >= (ptrdiff_t)len);
    }
    strbuf_fini(&out);
}

static void doubles_read_back(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *text;
    } rows[] = {{0, "0"},
                {1, "1"},
                {-1.5, "-1.5"},
                {0.1, "0.1"},
                {1e21, "1e+21"},
                {100, "100"},
                {1e-7, "1e-07"},
                {1.0 / 3, "0.3333333333333333"},
                {NAN, "null"},
                {INFINITY, "null"},
                {-INFINITY, "null"},
                {0.1 + 0.2, "0.30000000000000004"},
                {123456789, "123456789"}};
    struct strbuf out;
    strbuf_init(&out, 100);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        strbuf_reset(&out);
        json_write_double(&out, rows[i].value);
        assert_string_equal(strbuf_cstr(&out), rows[i].text);
    }
    struct rand_state rng = {.state = 5};
    for (int i = 0; i < 20000; i++) {
        union {
            uint64_t bits;
            double value;
        } any = {.bits = rand_u64(&rng)};
        if (!isfinite(any.value)) {
            continue;
        }
        strbuf_reset(&out);
        json_write_double(&out, any.value);
        double back = 0;
        assert_int_equal(slice_to_double(strbuf_slice(&out), &back), 0);
        assert_true(back == any.value);
    }
    strbuf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_are_escaped),
        cmocka_unit_test(invalid_utf8_is_replaced),
        cmocka_unit_test(any_bytes_give_a_string_that_the_scanner_accepts),
        cmocka_unit_test(doubles_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
