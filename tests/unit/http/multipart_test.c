#include "http/multipart.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/strbuf.h"
#include "http/multipart_params.h"

#define TYPE "multipart/form-data; boundary=xYz"
#define FIELD(name, value)                                                                         \
    "--xYz\r\nContent-Disposition: form-data; name=\"" name "\"\r\n\r\n" value "\r\n"
#define FILE_PART(value)                                                                           \
    "--xYz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n"               \
    "Content-Type: audio/wav\r\n\r\n" value "\r\n"
#define PART(headers, value) "--xYz\r\n" headers "\r\n\r\n" value "\r\n"
#define LAST "--xYz--\r\n"

static const struct {
    const char *what;
    struct slice text;
    enum multipart_error error;
    const char *model; // NULL: none
    bool stream;
} rows[] = {
#define GOOD(what, text, model, stream) {what, SLICE(text), MULTIPART_NONE, model, stream}
#define BAD(what, text, error) {what, SLICE(text), MULTIPART_##error, NULL, false}
    GOOD("model first", FIELD("model", "whisper-1") FILE_PART("RIFF") LAST, "whisper-1", false),
    GOOD("model last", FILE_PART("RIFF\r\n\r\n--xY\r\n-") FIELD("model", "w") LAST, "w", false),
    GOOD("no line after the end", FIELD("model", "w") "--xYz--", "w", false),
    GOOD("line before the beginning", "\r\n" FIELD("model", "w") LAST, "w", false),
    GOOD("stream", FIELD("stream", "true") FIELD("model", "w") LAST, "w", true),
    GOOD("stream as Python says it", FIELD("stream", "True") LAST, NULL, true),
    GOOD("no stream", FIELD("stream", "false") LAST, NULL, false),
    GOOD("no part", LAST, NULL, false),
    GOOD("no model", FILE_PART("") FIELD("models", "a") FIELD("Model", "b") LAST, NULL, false),
    GOOD("empty field", FIELD("prompt", "") FIELD("model", "w") LAST, "w", false),
    GOOD("CR LF in a file", FILE_PART("\r\n\r\r\n\n\r") FIELD("model", "w") LAST, "w", false),
    GOOD("headers in any case and order",
         PART("content-type: text/plain; charset=utf-8\r\nCONTENT-DISPOSITION:form-data;name=model",
              "org/w")
             LAST,
         "org/w", false),
    GOOD("identity encoding",
         PART("Content-Transfer-Encoding: 8bit\r\nContent-Disposition: form-data; name=\"model\"",
              "\xc3\xa4")
             LAST,
         "\xc3\xa4", false),
    GOOD("odd file names",
         PART("Content-Disposition: form-data; filename=\"a\\b; name=model\"; name=\"f\"", "x")
             FIELD("model", "w") LAST,
         "w", false),
    BAD("model twice", FIELD("model", "a") FIELD("model", "a") LAST, TWICE),
    BAD("stream twice", FIELD("stream", "true") FIELD("stream", "true") LAST, TWICE),
    BAD("model as a file",
        PART("Content-Disposition: form-data; name=\"model\"; filename=\"a\"", "w") LAST, ENCODING),
    BAD("model in base64",
        PART("Content-Disposition: form-data; name=\"model\"\r\n"
             "Content-Transfer-Encoding: base64",
             "dw==")
            LAST,
        ENCODING),
    BAD("empty model", FIELD("model", "") LAST, VALUE),
    BAD("model of two lines", FIELD("model", "a\r\nb") LAST, VALUE),
    BAD("model with NUL", FIELD("model", "a\0b") LAST, VALUE),
    BAD("model in no UTF-8", FIELD("model", "\xff") LAST, VALUE),
    BAD("preamble", "hello\r\n" FIELD("model", "a") LAST, PREAMBLE),
    BAD("two lines before", "\r\n\r\n" FIELD("model", "a") LAST, PREAMBLE),
    BAD("other boundary", "--xYy\r\n\r\n", PREAMBLE),
    BAD("CR alone before", "\r" FIELD("model", "a") LAST, PREAMBLE),
    BAD("epilogue", FIELD("model", "a") LAST "x", EPILOGUE),
    BAD("epilogue at once", FIELD("model", "a") "--xYz--x", EPILOGUE),
    BAD("part after the end", FIELD("model", "a") LAST FIELD("model", "b") LAST, EPILOGUE),
    BAD("cut in the data", FILE_PART("RIFF"), CUT),
    BAD("cut in the header", "--xYz\r\nContent-Disp", CUT),
    BAD("cut in the boundary", FIELD("model", "a") "--xY", CUT),
    BAD("cut at the end", FIELD("model", "a") "--xYz-", CUT),
    BAD("cut in the last line", FIELD("model", "a") "--xYz--\r", CUT),
    BAD("nothing", "", CUT),
    BAD("boundary after LF", FILE_PART("a\n--xYz\r\nb") FIELD("model", "a") LAST, BOUNDARY_LINE),
    BAD("boundary within a line", FILE_PART("a--xYz") LAST, BOUNDARY_LINE),
    BAD("boundary right after the header", "--xYz\r\nContent-Disposition: form-data; name=\"f\"\r\n"
        "\r\n--xYz--\r\n", BOUNDARY_LINE),
    BAD("boundary with a tail", FILE_PART("a") "--xYzz\r\n", BOUNDARY_LINE),
    BAD("boundary with a space", FILE_PART("a") "--xYz \r\n", BOUNDARY_LINE),
    BAD("boundary and LF", FILE_PART("a") "--xYz\n", BOUNDARY_LINE),
    BAD("boundary and one dash", FILE_PART("a") "--xYz-\r\n", BOUNDARY_LINE),
    BAD("header ends with LF", "--xYz\r\nContent-Disposition: form-data; name=\"model\"\n\r\n",
        HEADER),
    BAD("empty line of LF", "--xYz\r\nContent-Disposition: form-data; name=\"model\"\r\n\n",
        HEADER),
    BAD("space before the colon", PART("Content-Disposition : form-data; name=\"model\"", "a"),
        HEADER),
    BAD("folded", PART("Content-Disposition: form-data\r\n ; name=\"model\"", "a"), DISPOSITION),
    BAD("folded later", PART("Content-Disposition: form-data; name=a\r\n ; x=y", "a"), HEADER),
    BAD("no colon", PART("Content-Disposition", "a"), HEADER),
    BAD("NUL in a header", PART("Content-Disposition: form-data; name=\"mo\0del\"", "a"), HEADER),
    BAD("CR in a header", PART("Content-Disposition: form-data; name=\"mo\rdel\"", "a"), HEADER),
    BAD("no disposition", PART("Content-Type: text/plain", "a"), DISPOSITION),
    BAD("no header at all", "--xYz\r\n\r\na\r\n" LAST, DISPOSITION),
    BAD("other disposition", PART("Content-Disposition: attachment; name=\"model\"", "a"),
        DISPOSITION),
    BAD("no name", PART("Content-Disposition: form-data", "a"), DISPOSITION),
    BAD("name twice", PART("Content-Disposition: form-data; name=\"a\"; name=\"model\"", "a"),
        DISPOSITION),
    BAD("disposition twice",
        PART("Content-Disposition: form-data; name=\"a\"\r\n"
             "Content-Disposition: form-data; name=\"model\"",
             "a"),
        DISPOSITION),
    BAD("extended name", PART("Content-Disposition: form-data; name*=utf-8''model", "a"),
        DISPOSITION),
    BAD("escaped name", PART("Content-Disposition: form-data; name=\"mo\\del\"", "a"), DISPOSITION),
    BAD("escaped quote",
        PART("Content-Disposition: form-data; name=\"f\"; filename=\"a\\\"; name=\\\"model\"", "a"),
        DISPOSITION),
    BAD("open quote", PART("Content-Disposition: form-data; name=\"model", "a"), DISPOSITION),
    BAD("text after a quote", PART("Content-Disposition: form-data; name=\"a\"model", "a"),
        DISPOSITION),
    BAD("space around =", PART("Content-Disposition: form-data; name =\"model\"", "a"),
        DISPOSITION),
};

static void feed(struct multipart_scan *scan, struct slice text, size_t step)
{
    assert_int_equal(multipart_init(scan, SLICE(TYPE)), MULTIPART_NONE);
    while (text.len > 0) {
        size_t len = MIN_OF(step, text.len);
        char *copy = malloc(len);
        assert_non_null(copy);
        memcpy(copy, text.ptr, len);
        (void)!multipart_feed(scan, slice_of(copy, len));
        free(copy);
        text = slice_skip(text, len);
    }
    enum multipart_error error = multipart_finish(scan);
    assert_int_equal(error, scan->error);
}

static void reads_or_refuses_however_it_is_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (size_t step = 1; step <= rows[i].text.len + 1; step++) {
            struct multipart_scan scan;
            feed(&scan, rows[i].text, step);
            if (scan.error != rows[i].error) {
                fail_msg("%s, step %zu: %s", rows[i].what, step, multipart_error_text(scan.error));
            }
            if (scan.error != MULTIPART_NONE) {
                continue;
            }
            struct slice model = multipart_value(&scan.model);
            assert_int_equal(model.ptr != NULL, rows[i].model != NULL);
            assert_int_equal(multipart_wants_stream(&scan), rows[i].stream);
            if (rows[i].model != NULL) {
                assert_true(slice_eq_str(model, rows[i].model));
                assert_memory_equal(rows[i].text.ptr + scan.model.start, model.ptr, model.len);
            }
        }
    }
}

static void boundaries_are_read_in_one_way(void **state)
{
    (void)state;
    static const struct {
        const char *type;
        const char *boundary; // NULL: refused
    } types[] = {
        {"multipart/form-data; boundary=abc", "abc"},
        {"Multipart/Form-Data;charset=utf-8 ; Boundary=\"a b'()+_,-./:=?\"", "a b'()+_,-./:=?"},
        {"multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxk",
         "----WebKitFormBoundary7MA4YWxk"},
        {"multipart/form-data", NULL},
        {"multipart/form-data; boundary=", NULL},
        {"multipart/form-data; boundary=\"\"", NULL},
        {"multipart/form-data; boundary=\"a \"", NULL},
        {"multipart/form-data; boundary=\"a\\b\"", NULL},
        {"multipart/form-data; boundary=a/b", NULL},
        {"multipart/form-data; boundary=a; boundary=b", NULL},
        {"multipart/form-data; boundary=a b", NULL},
        {"multipart/form-data; boundary*=a", NULL},
        {"multipart/form-data; boundary=a;", NULL},
        {"multipart/form-data, boundary=a", NULL},
        {"multipart/mixed; boundary=a", NULL},
        {"multipart/form-data; boundary="
         "01234567890123456789012345678901234567890123456789012345678901234567890",
         NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        struct multipart_scan scan;
        struct slice boundary = multipart_boundary(slice_of_str(types[i].type));
        if ((boundary.ptr != NULL) != (types[i].boundary != NULL) ||
            (boundary.ptr != NULL && !slice_eq_str(boundary, types[i].boundary))) {
            fail_msg("%s", types[i].type);
        }
        enum multipart_error want = boundary.ptr != NULL ? MULTIPART_NONE : MULTIPART_BOUNDARY;
        assert_int_equal(multipart_init(&scan, slice_of_str(types[i].type)), want);
        assert_int_equal(multipart_feed(&scan, SLICE("x")),
                         want == MULTIPART_NONE ? MULTIPART_PREAMBLE : want);
    }
}

static void the_model_is_known_before_the_file(void **state)
{
    (void)state;
    struct multipart_scan scan;
    assert_int_equal(multipart_init(&scan, SLICE(TYPE)), MULTIPART_NONE);
    assert_int_equal(multipart_feed(&scan, SLICE(FIELD("model", "w") "--xY")), MULTIPART_NONE);
    assert_false(scan.model.found);
    assert_int_equal(multipart_feed(&scan, SLICE("z\r\n")), MULTIPART_NONE);
    assert_true(scan.model.found);
}

static void limits_hold(void **state)
{
    (void)state;
    struct multipart_scan scan;
    struct strbuf text;
    strbuf_init(&text, 1 << 20);
    for (size_t len = 255; len <= 257; len++) {
        strbuf_reset(&text);
        strbuf_printf(&text, FIELD("model", "%0*d") LAST, (int)len, 0);
        for (size_t step = 1; step < text.len; step++) {
            feed(&scan, strbuf_slice(&text), step);
            assert_int_equal(scan.error,
                             len <= MULTIPART_VALUE_MAX ? MULTIPART_NONE : MULTIPART_VALUE);
        }
    }
    strbuf_reset(&text);
    strbuf_printf(&text, "--xYz\r\nX: %02100d\r\n", 0);
    feed(&scan, strbuf_slice(&text), 100);
    assert_int_equal(scan.error, MULTIPART_HEADER_SIZE);
    strbuf_reset(&text);
    strbuf_add_str(&text, "--xYz\r\n");
    for (int i = 0; i < 100; i++) {
        strbuf_printf(&text, "X: %0100d\r\n", 0);
    }
    feed(&scan, strbuf_slice(&text), 100);
    assert_int_equal(scan.error, MULTIPART_HEADER_SIZE);
    strbuf_reset(&text);
    for (int i = 0; i <= MULTIPART_PARTS_MAX; i++) {
        strbuf_add_str(&text, FIELD("a", "b"));
    }
    feed(&scan, strbuf_slice(&text), 1000);
    assert_int_equal(scan.error, MULTIPART_PARTS);
    strbuf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_or_refuses_however_it_is_cut),
        cmocka_unit_test(boundaries_are_read_in_one_way),
        cmocka_unit_test(the_model_is_known_before_the_file),
        cmocka_unit_test(limits_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
