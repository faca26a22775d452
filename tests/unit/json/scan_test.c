// The skip-scanner: what it accepts, what it captures, and that pieces of any size change nothing.
#include "json/scan.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rand.h"
#include "base/strbuf.h"

static const struct slice keys[] = {SLICE("model"),    SLICE("stream"), SLICE("max_tokens"),
                                    SLICE("messages"), SLICE("prompt"), SLICE("\xc3\xa4")};

static void feed_copy(struct json_scan *scan, struct slice piece)
{
    char *copy = malloc(piece.len > 0 ? piece.len : 1);
    assert_non_null(copy);
    memcpy(copy, piece.ptr, piece.len);
    (void)json_scan_feed(scan, slice_of(copy, piece.len));
    free(copy);
}

static struct json_scan scan_whole(struct slice text)
{
    struct json_scan scan;
    json_scan_init(&scan, keys, ARRAY_LEN(keys));
    feed_copy(&scan, text);
    (void)json_scan_finish(&scan);
    return scan;
}

static void assert_same(const struct json_scan *a, const struct json_scan *b, struct slice text,
                        size_t cut)
{
    bool same = a->error == b->error && a->error_at == b->error_at && a->done == b->done;
    if (a->error == JSON_OK) {
        same = same && a->string_bytes == b->string_bytes && a->offset == b->offset;
        for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
            same = same && a->captures[i].type == b->captures[i].type &&
                   a->captures[i].start == b->captures[i].start &&
                   a->captures[i].end == b->captures[i].end;
        }
    }
    if (!same) {
        fail_msg("cut at %zu: error %d at %zu instead of %d at %zu in %.200s", cut, (int)b->error,
                 (size_t)b->error_at, (int)a->error, (size_t)a->error_at, text.ptr);
    }
}

// In two pieces cut everywhere, and byte by byte.
static struct json_scan scan_all_ways(struct slice text)
{
    struct json_scan whole = scan_whole(text);
    struct json_scan scan;
    for (size_t cut = 0; cut <= text.len; cut++) {
        json_scan_init(&scan, keys, ARRAY_LEN(keys));
        feed_copy(&scan, slice_first(text, cut));
        feed_copy(&scan, slice_skip(text, cut));
        (void)json_scan_finish(&scan);
        assert_same(&whole, &scan, text, cut);
    }
    json_scan_init(&scan, keys, ARRAY_LEN(keys));
    for (size_t i = 0; i < text.len; i++) {
        feed_copy(&scan, slice_of(text.ptr + i, 1));
    }
    (void)json_scan_finish(&scan);
    assert_same(&whole, &scan, text, SIZE_MAX);
    return whole;
}

static void expect(const char *value, enum json_error error)
{
    char text[1024];
    int len = snprintf(text, sizeof text, "{\"x\":%s}", value);
    assert_in_range(len, 1, sizeof text - 1);
    struct json_scan scan = scan_all_ways(slice_of(text, (size_t)len));
    if (scan.error != error) {
        fail_msg("%s: error %d at %zu", text, (int)scan.error, (size_t)scan.error_at);
    }
}

static void accepts_every_form_of_value(void **state)
{
    (void)state;
    static const char *const values[] = {
        "null",
        "true",
        "false",
        "0",
        "-0",
        "1",
        "-12",
        "1.5",
        "-0.0",
        "1e5",
        "1E+5",
        "0e-0",
        "12.34e56",
        "123456789012345678901234567890",
        "\"\"",
        "\"a\"",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "\"\\u0041\\u00e4\\uFFFF\\u0000\"",
        "\"\\ud83d\\ude00\"",
        "\"\\uD83D\\uDE00x\"",
        "\"\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80 \xed\x9f\xbf \xee\x80\x80 \xf4\x8f\xbf\xbf\"",
        "\"\x7f\"",
        "[]",
        "[ ]",
        "[1]",
        "[1,2]",
        "[ 1 , 2 ]",
        "{}",
        "{ }",
        "{\"a\":1}",
        "{ \"a\" : 1 , \"b\" : [ { } ] }",
        "[[[[]]]]",
        "[{},{}]",
        " \t\r\n1 \t\r\n",
        "[\"a\",\"b\"]",
        "{\"a\":1,\"a\":2}",
        "\"0123456789abcdef0123456789abcdef\\n0123456789abcdef0123456789\"",
        "[true,false,null]",
        "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28]",
        ("[128000, 9906, 11, 0, 1917, 0, 128009,\n 128006, 882, 128007, 271, 3923, 374, 279, 6864, "
         "315, 9822, 30]"),
    };
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        expect(values[i], JSON_OK);
    }
}

static void refuses_what_is_not_json(void **state)
{
    (void)state;
    static const char *const values[] = {
        "",
        ",",
        "nul",
        "nulll",
        "True",
        "NaN",
        "Infinity",
        "-",
        "+1",
        "01",
        "-01",
        "1.",
        ".5",
        "1.e5",
        "1e",
        "1e+",
        "1e5.5",
        "0x1",
        "1_000",
        "--1",
        "1 2",
        "00",
        "0123",
        "- 1",
        "1.5.5",
        "1e5e5",
        "'a'",
        "\"\\x41\"",
        "\"\\u004\"",
        "\"\\u00g0\"",
        "\"\\ud83d\\ude0\"",
        "\"\t\"",
        "\"\n\"",
        "\"\x01\"",
        "\"a\" \"b\"",
        "[",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1}",
        "{",
        "{1:2}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,\"a\":1}",
        "{\"a\" 1}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":1]",
        "{a:1}",
        "]",
        "}",
        ":",
        "1,",
        "// c\n1",
        "/* c */ 1",
        "\v1",
        "\f1",
        "[1]]",
        ("\xef\xbb\xbf"
         "1"),
        "\"\\",
        "\"\\\"",
        "[1,2,3,4,5,6,7,8,9,10,11,12,13,014,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31]",
        "[1,2,3,4,5,6,7,8,9,10,11,12,13,,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32]",
        "[1,2,3,4,5,6,7,8,9,10,11,12,13 14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32]",
        "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, , 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25]",
    };
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        char text[1024];
        int len = snprintf(text, sizeof text, "{\"x\":%s}", values[i]);
        struct json_scan scan = scan_all_ways(slice_of(text, (size_t)len));
        if (scan.error != JSON_ERROR_SYNTAX && scan.error != JSON_ERROR_TRUNCATED) {
            fail_msg("%s: error %d", text, (int)scan.error);
        }
    }
}

static void refuses_broken_unicode(void **state)
{
    (void)state;
    static const char *const values[] = {
        "\"\x80\"",
        "\"\xbf\"",
        "\"\xc0\x80\"",
        "\"\xc1\xbf\"",
        "\"\xc3\"",
        "\"\xc3\x28\"",
        "\"\xe2\x82\"",
        "\"\xe0\x9f\xbf\"",
        "\"\xed\xa0\x80\"",
        "\"\xed\xbf\xbf\"",
        "\"\xf0\x8f\xbf\xbf\"",
        "\"\xf4\x90\x80\x80\"",
        "\"\xf5\x80\x80\x80\"",
        "\"\xff\"",
        "\"\xfe\"",
        "\"\xf0\x9f\x98\"",
        "\"\xe2\x28\xa1\"",
        "\"\xf0\x28\x8c\xbc\"",
        "\"\xe2\x82\xac\xe2\x82\"",
        "\"0123456789abcdef\xf0\x9f\x98 0123456789\"",
        "\"\\ud83d\"",
        "\"\\ude00\"",
        "\"\\ud83d\\n\"",
        "\"\\ud83dx\"",
        "\"\\ud83d\\u0041\"",
        "\"\\ud83d\\ud83d\"",
        "\"\\ude00\\ud83d\"",
        "\"\\ud83d\\ude00\\ud83d       \"",
    };
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        expect(values[i], JSON_ERROR_UTF8);
    }
}

static void the_top_level_must_be_an_object(void **state)
{
    (void)state;
    static const char *const others[] = {"[]", "1", "\"a\"", "null", " [{}]", "-1", "true"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        assert_int_equal(scan_all_ways(slice_of_str(others[i])).error, JSON_ERROR_NOT_OBJECT);
    }
    assert_int_equal(scan_all_ways(SLICE("")).error, JSON_ERROR_TRUNCATED);
    assert_int_equal(scan_all_ways(SLICE(" \n")).error, JSON_ERROR_TRUNCATED);
    assert_int_equal(scan_all_ways(SLICE("x")).error, JSON_ERROR_SYNTAX);
    assert_int_equal(scan_all_ways(SLICE("\xef\xbb\xbf{}")).error, JSON_ERROR_SYNTAX);
    assert_int_equal(scan_all_ways(SLICE("{}{}")).error, JSON_ERROR_SYNTAX);
    assert_int_equal(scan_all_ways(SLICE("{} x")).error, JSON_ERROR_SYNTAX);
    assert_int_equal(scan_all_ways(SLICE("{}\0")).error, JSON_ERROR_SYNTAX);
    assert_int_equal(scan_all_ways(SLICE("{} \r\n\t ")).error, JSON_OK);
}

static void depth_is_bounded(void **state)
{
    (void)state;
    char text[2 * JSON_MAX_DEPTH + 100];
    for (int extra = 0; extra <= 1; extra++) {
        int depth = JSON_MAX_DEPTH - 1 + extra;
        int len = snprintf(text, sizeof text, "{\"x\":");
        memset(text + len, '[', (size_t)depth);
        len += depth;
        memset(text + len, ']', (size_t)depth);
        len += depth;
        text[len++] = '}';
        assert_int_equal(scan_whole(slice_of(text, (size_t)len)).error,
                         extra == 0 ? JSON_OK : JSON_ERROR_DEPTH);
    }
    // Objects and arrays in turn: each bracket must match its own.
    struct strbuf buf;
    strbuf_init(&buf, 4096);
    for (int i = 0; i < 100; i++) {
        strbuf_add(&buf, SLICE("{\"a\":["));
    }
    for (int i = 0; i < 100; i++) {
        strbuf_add(&buf, SLICE("]}"));
    }
    assert_int_equal(scan_all_ways(strbuf_slice(&buf)).error, JSON_OK);
    buf.ptr[buf.len - 100] = '}';
    assert_int_equal(scan_all_ways(strbuf_slice(&buf)).error, JSON_ERROR_SYNTAX);
    strbuf_fini(&buf);
}

static void assert_capture(struct slice text, const struct json_scan *scan, size_t key,
                           enum json_value_type type, const char *value)
{
    const struct json_capture *c = &scan->captures[key];
    assert_int_equal(c->type, type);
    if (type != JSON_ABSENT) {
        assert_true(
            slice_eq_str(slice_of(text.ptr + c->start, (size_t)(c->end - c->start)), value));
    }
}

static void captures_top_level_members(void **state)
{
    (void)state;
    struct slice text =
        SLICE("{ \"messages\" : [{\"role\":\"user\",\"content\":\"model\",\"model\":\"no\"}, [1] ],"
              " \"mod\\u0065l\" : \"a\\\"b\" ,\"stream\":true\n,\"max_tokens\":12 ,"
              "\"modelx\":1,\"mode\":2,\"\\u00E4\":{\"model\":3},"
              "\"a key that is much longer than any of those watched\":null}");
    struct json_scan scan = scan_all_ways(text);
    assert_int_equal(scan.error, JSON_OK);
    assert_true(scan.done);
    assert_int_equal(scan.offset, text.len);
    assert_capture(text, &scan, 0, JSON_STRING, "\"a\\\"b\"");
    assert_capture(text, &scan, 1, JSON_TRUE, "true");
    assert_capture(text, &scan, 2, JSON_NUMBER, "12");
    assert_capture(text, &scan, 3, JSON_ARRAY,
                   "[{\"role\":\"user\",\"content\":\"model\",\"model\":\"no\"}, [1] ]");
    assert_capture(text, &scan, 4, JSON_ABSENT, "");
    assert_capture(text, &scan, 5, JSON_OBJECT, "{\"model\":3}");
    // "user", "model", "no", and a\"b with its escape.
    assert_int_equal(scan.string_bytes, 4 + 5 + 2 + 4);
}

static void every_type_is_captured(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        enum json_value_type type;
    } rows[] = {
        {"null", JSON_NULL},     {"true", JSON_TRUE},   {"false", JSON_FALSE},
        {"-1.5e3", JSON_NUMBER}, {"\"\"", JSON_STRING}, {"[]", JSON_ARRAY},
        {"{}", JSON_OBJECT},     {"0", JSON_NUMBER},    {"[1,[2],{\"model\":[]}]", JSON_ARRAY},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[100];
        int len = snprintf(text, sizeof text, "{\"model\":%s}", rows[i].value);
        struct json_scan scan = scan_all_ways(slice_of(text, (size_t)len));
        assert_capture(slice_of(text, (size_t)len), &scan, 0, rows[i].type, rows[i].value);
        len = snprintf(text, sizeof text, "{\"a\":\"model\",\"model\" :\t%s\n, \"b\":1}",
                       rows[i].value);
        scan = scan_all_ways(slice_of(text, (size_t)len));
        assert_capture(slice_of(text, (size_t)len), &scan, 0, rows[i].type, rows[i].value);
    }
}

static void a_watched_key_comes_once(void **state)
{
    (void)state;
    static const char *const twice[] = {
        "{\"model\":\"a\",\"model\":\"b\"}",
        "{\"model\":\"a\",\"\\u006dodel\":\"a\"}",
        "{\"model\":1,\"x\":{},\"m\\u006Fdel\":2}",
        "{\"\xc3\xa4\":1,\"\\u00e4\":2}",
    };
    for (size_t i = 0; i < ARRAY_LEN(twice); i++) {
        assert_int_equal(scan_all_ways(slice_of_str(twice[i])).error, JSON_ERROR_DUPLICATE_KEY);
    }
    // Deeper ones are no concern of ours, nor unwatched ones.
    assert_int_equal(
        scan_all_ways(SLICE("{\"model\":{\"model\":1,\"model\":2},\"y\":1,\"y\":2}")).error,
        JSON_OK);
    assert_int_equal(scan_all_ways(SLICE("{\"model\\u0000\":1,\"model\":2,\"Model\":3}")).error,
                     JSON_OK);
}

static void white_space_in_strings_is_text(void **state)
{
    (void)state;
    struct json_scan scan =
        scan_all_ways(SLICE("{\" model\":\"  a  \",\"model \":1 , \"model\" : \" \" }"));
    assert_int_equal(scan.error, JSON_OK);
    assert_int_equal(scan.string_bytes, 6);
    assert_int_equal(scan.captures[0].type, JSON_STRING);
}

static void the_error_says_where(void **state)
{
    (void)state;
    struct json_scan scan = scan_whole(SLICE("{\"model\": nope}"));
    assert_int_equal(scan.error_at, 11);
    scan = scan_whole(SLICE("{\"model\": 1"));
    assert_int_equal(scan.error, JSON_ERROR_TRUNCATED);
    assert_int_equal(scan.error_at, 11);
    // It stays.
    assert_int_equal(json_scan_feed(&scan, SLICE("}")), JSON_ERROR_TRUNCATED);
    for (int error = JSON_ERROR_SYNTAX; error <= JSON_ERROR_NOT_OBJECT; error++) {
        assert_true(strlen(json_error_text((enum json_error)error)) > 0);
    }
}

static void strings_decode(void **state)
{
    (void)state;
    static const struct {
        const char *token;
        const char *text; // NULL: invalid
    } rows[] = {
        {"\"\"", ""},
        {"\"abc\"", "abc"},
        {"\"a\\n\\\"\\\\\\/\\t\"", "a\n\"\\/\t"},
        {"\"\\u0041\\u00e4\\u20ac\"", "A\xc3\xa4\xe2\x82\xac"},
        {"\"\\uD83D\\uDE00\"", "\xf0\x9f\x98\x80"},
        {"\"\xc3\xa4\"", "\xc3\xa4"},
        {"", NULL},
        {"\"", NULL},
        {"abc", NULL},
        {"\"\\\"", NULL},
        {"\"\\x\"", NULL},
        {"\"\\u12\"", NULL},
        {"\"\\ud83d\"", NULL},
        {"\"\\ud83d\\u0041\"", NULL},
        {"\"\\ude00\"", NULL},
        {"\"a\"b\"", NULL},
        {"\"\n\"", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char out[32];
        ptrdiff_t len = json_string_decode(slice_of_str(rows[i].token), out, sizeof out);
        if (rows[i].text == NULL) {
            assert_int_equal(len, -EINVAL);
        } else {
            assert_int_equal(len, strlen(rows[i].text));
            assert_memory_equal(out, rows[i].text, (size_t)len);
        }
    }
    char small[3];
    assert_int_equal(json_string_decode(SLICE("\"abc\""), small, 3), 3);
    assert_int_equal(json_string_decode(SLICE("\"abcd\""), small, 3), -ENOSPC);
    assert_int_equal(json_string_decode(SLICE("\"ab\\u00e4\""), small, 3), -ENOSPC);
}

static void numbers_convert(void **state)
{
    (void)state;
    uint64_t value = 7;
    assert_int_equal(json_number_u64(SLICE("18446744073709551615"), &value), 0);
    assert_int_equal(value, UINT64_MAX);
    assert_int_equal(json_number_u64(SLICE("18446744073709551616"), &value), -ERANGE);
    assert_int_equal(json_number_u64(SLICE("1.0"), &value), -EINVAL);
    assert_int_equal(json_number_u64(SLICE("-1"), &value), -EINVAL);
    assert_int_equal(json_number_u64(SLICE("1e3"), &value), -EINVAL);
    assert_int_equal(value, UINT64_MAX);
}

// A mutation of valid text, in one piece and in random ones: the same verdict.
static void random_pieces_of_broken_text_agree(void **state)
{
    (void)state;
    static const char base[] = "{\"model\":\"m\\u0041\xc3\xa4\",\"messages\":[{\"role\":\"user\","
                               "\"content\":\"Hello \\\"you\\\"\\n"
                               "0123456789012345678901234567890123456789\"}],\"stream\":true,"
                               "\"prompt\":[1, 20, 300, 4000, 50000, 0,"
                               "600000, 7, 88, 999, 1010, 11111, 12, 13, 14, 15, 16, 17, 18, 19, "
                               "20, 21, 22, 23, 24, 25, 26],"
                               "\"max_tokens\":16,\"temperature\":-0.5e-1}";
    static const char bytes[] = "\"\\{}[]:,0123.eE+-tfnu \n\x01\x80\xc3\xe2\xed\xf0\xff";
    struct rand_state rng = {.state = 42};
    char text[sizeof base];
    for (int round = 0; round < 20000; round++) {
        memcpy(text, base, sizeof base);
        size_t len = sizeof base - 1;
        for (uint64_t n = rand_below(&rng, 3); n > 0; n--) {
            text[rand_below(&rng, len)] = bytes[rand_below(&rng, sizeof bytes - 1)];
        }
        struct json_scan whole = scan_whole(slice_of(text, len));
        struct json_scan scan;
        json_scan_init(&scan, keys, ARRAY_LEN(keys));
        for (size_t at = 0; at < len;) {
            size_t piece = 1 + (size_t)rand_below(&rng, 100);
            piece = piece < len - at ? piece : len - at;
            feed_copy(&scan, slice_of(text + at, piece));
            at += piece;
        }
        (void)json_scan_finish(&scan);
        assert_same(&whole, &scan, slice_of(text, len), SIZE_MAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_every_form_of_value),
        cmocka_unit_test(refuses_what_is_not_json),
        cmocka_unit_test(refuses_broken_unicode),
        cmocka_unit_test(the_top_level_must_be_an_object),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(captures_top_level_members),
        cmocka_unit_test(every_type_is_captured),
        cmocka_unit_test(a_watched_key_comes_once),
        cmocka_unit_test(white_space_in_strings_is_text),
        cmocka_unit_test(the_error_says_where),
        cmocka_unit_test(strings_decode),
        cmocka_unit_test(numbers_convert),
        cmocka_unit_test(random_pieces_of_broken_text_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
