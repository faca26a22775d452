#include "http/h1.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

// Decodes in pieces of `step` bytes. Returns the bytes consumed in total when done, 0 when the text
// ended before, or the refusal; the data is collected.
static ptrdiff_t decode(struct slice text, size_t step, struct strbuf *data)
{
    struct h1_chunked decoder = {.left = 0};
    size_t at = 0;
    strbuf_reset(data);
    while (at < text.len && !decoder.done) {
        size_t piece = text.len - at < step ? text.len - at : step;
        char *copy = malloc(piece);
        assert_non_null(copy);
        memcpy(copy, text.ptr + at, piece);
        size_t used = 0;
        while (used < piece && !decoder.done) {
            struct slice out;
            ptrdiff_t rc = h1_chunked_decode(&decoder, copy + used, piece - used, &out);
            if (rc < 0) {
                free(copy);
                return rc;
            }
            assert_true(rc > 0);
            strbuf_add(data, out);
            used += (size_t)rc;
        }
        free(copy);
        at += used;
    }
    return decoder.done ? (ptrdiff_t)at : 0;
}

static const struct {
    const char *what;
    struct slice text;
    ptrdiff_t rc; // < 0: the reason
    const char *data;
} rows[] = {
#define GOOD(what, text, data)                                                                     \
    {                                                                                              \
        what, SLICE(text), sizeof(text) - 1, data                                                  \
    }
#define BAD(what, text, reason)                                                                    \
    {                                                                                              \
        what, SLICE(text), -(ptrdiff_t)HTTP_REJECT_##reason, NULL                                  \
    }
    GOOD("empty body", "0\r\n\r\n", ""),
    GOOD("two chunks", "3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n", "abc0123456789"),
    GOOD("leading zeros", "0003\r\nabc\r\n000\r\n\r\n", "abc"),
    GOOD("upper and lower case", "0a\r\n0123456789\r\n0B\r\n0123456789a\r\n0\r\n\r\n",
         "01234567890123456789a"),
    GOOD("CR and LF in data", "4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n"),
    GOOD("extension", "3;a\r\nabc\r\n0;b=c;d=\"e\\\"; f\"\r\n\r\n", "abc"),
    GOOD("trailers", "1\r\nx\r\n0\r\nX-Checksum: 1\r\nY:\r\n\r\n", "x"),
    BAD("0x3", "0x3\r\nabc\r\n0\r\n\r\n", CHUNK_SIZE),
    BAD("+3", "+3\r\nabc\r\n", CHUNK_SIZE),
    BAD("-1", "-1\r\nabc\r\n", CHUNK_SIZE),
    BAD("3_0", "3_0\r\nabc\r\n", CHUNK_SIZE),
    BAD("empty size", "\r\nabc\r\n", CHUNK_SIZE),
    BAD("size of 65 bits", "10000000000000003\r\nabc\r\n", CHUNK_SIZE),
    BAD("size of 64 bits", "8000000000000000\r\nabc\r\n", CHUNK_SIZE),
    BAD("17 digits", "00000000000000003\r\nabc\r\n", CHUNK_SIZE),
    BAD("space before the size", " 3\r\nabc\r\n", CHUNK_SIZE),
    BAD("space after the size", "3 \r\nabc\r\n", CHUNK_SIZE),
    BAD("space before the extension", "3 ;a\r\nabc\r\n", CHUNK_SIZE),
    BAD("NUL after the size", "3\0\r\nabc\r\n", CHUNK_SIZE),
    BAD("bare LF after the size", "3\nabc\r\n0\r\n\r\n", BARE_LF),
    BAD("bare CR after the size", "3\rabc", CHUNK_SIZE),
    BAD("bare LF after the data", "3\r\nabc\n0\r\n\r\n", BARE_LF),
    BAD("bare LF after an extension", "3;a\nabc\r\n", BARE_LF),
    BAD("bare LF in a quoted extension", "3;a=\"\n\"\r\nabc\r\n", BARE_LF),
    BAD("CR in a quoted extension", "3;a=\"\r\n\"\r\nabc\r\n", CHUNK_EXTENSION),
    BAD("CR in an extension", "3;a\rb\r\nabc\r\n", CHUNK_SIZE),
    BAD("empty extension", "3;\r\nabc\r\n", CHUNK_EXTENSION),
    BAD("no extension value", "3;a=\r\nabc\r\n", CHUNK_EXTENSION),
    BAD("text after a quoted extension", "3;a=\"b\"c\r\nabc\r\n", CHUNK_EXTENSION),
    BAD("more data than said", "3\r\nabcd\r\n0\r\n\r\n", CHUNK_DATA),
    BAD("no CR LF after the data", "3\r\nabc0\r\n\r\n", CHUNK_DATA),
    BAD("CR without LF after the data", "3\r\nabc\r0\r\n\r\n", CHUNK_DATA),
    BAD("bare LF at the end", "0\r\n\n", BARE_LF),
    BAD("CR without LF at the end", "0\r\n\rX", TRAILER),
    BAD("trailer without colon", "0\r\nX\r\n\r\n", TRAILER),
    BAD("space before the trailer's colon", "0\r\nX : y\r\n\r\n", TRAILER),
    BAD("folded trailer", "0\r\nX: y\r\n z\r\n\r\n", TRAILER),
    BAD("empty trailer name", "0\r\n: y\r\n\r\n", TRAILER),
    BAD("NUL in a trailer", "0\r\nX: \0\r\n\r\n", TRAILER),
    BAD("CR in a trailer", "0\r\nX: a\rb\r\n\r\n", TRAILER),
    BAD("bare LF in a trailer", "0\r\nX: y\n\r\n", BARE_LF),
};

static void decodes_or_refuses_however_it_is_cut(void **state)
{
    (void)state;
    struct strbuf data;
    strbuf_init(&data, 4096);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (size_t step = 1; step <= rows[i].text.len; step++) {
            ptrdiff_t rc = decode(rows[i].text, step, &data);
            if (rc != rows[i].rc) {
                fail_msg("%s, step %zu: %td", rows[i].what, step, rc);
            }
            if (rc > 0) {
                assert_true(slice_eq_str(strbuf_slice(&data), rows[i].data));
            }
        }
    }
    strbuf_fini(&data);
}

static void what_follows_is_left_alone(void **state)
{
    (void)state;
    struct h1_chunked decoder = {.left = 0};
    struct slice data;
    struct slice text = SLICE("3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1\r\n");
    ptrdiff_t used = h1_chunked_decode(&decoder, text.ptr, text.len, &data);
    assert_int_equal(used, 8); // the end of the chunk comes with its data
    assert_true(slice_eq(data, SLICE("abc")));
    assert_int_equal(h1_chunked_decode(&decoder, text.ptr + used, text.len - 8, &data), 5);
    assert_int_equal(data.len, 0);
    assert_true(decoder.done);
    assert_int_equal(h1_chunked_decode(&decoder, text.ptr + 13, text.len - 13, &data), 0);
}

static void no_prefix_is_done(void **state)
{
    (void)state;
    struct strbuf data;
    struct slice text = rows[5].text;
    strbuf_init(&data, 4096);
    for (size_t len = 0; len < text.len; len++) {
        assert_int_equal(decode(slice_first(text, len), 1000, &data), 0);
    }
    strbuf_fini(&data);
}

// Feeds `count` copies of `text` to one decoder; the first refusal or 0.
static ptrdiff_t repeat(struct slice text, size_t count)
{
    struct h1_chunked decoder = {.left = 0};
    for (size_t i = 0; i < count; i++) {
        size_t at = 0;
        while (at < text.len) {
            struct slice data;
            ptrdiff_t rc = h1_chunked_decode(&decoder, text.ptr + at, text.len - at, &data);
            if (rc < 0) {
                return rc;
            }
            at += (size_t)rc;
        }
    }
    return 0;
}

static void overhead_is_bounded_by_the_data(void **state)
{
    (void)state;
    // A signature of 64 digits on chunks of 1 KB is fine for ever, one on each byte is not.
    char chunk[1200];
    int len = snprintf(chunk, sizeof chunk, "400;chunk-signature=%064d\r\n%01024d\r\n", 0, 0);
    assert_int_equal(repeat(slice_of(chunk, (size_t)len), 1000), 0);
    len = snprintf(chunk, sizeof chunk, "1;chunk-signature=%064d\r\nx\r\n", 0);
    assert_int_equal(repeat(slice_of(chunk, (size_t)len), 1000), -HTTP_REJECT_CHUNK_EXTENSION);
    struct strbuf text;
    struct strbuf data;
    strbuf_init(&text, 100000);
    strbuf_init(&data, 10);
    strbuf_add(&text, SLICE("0\r\n"));
    for (int i = 0; i < 1000; i++) {
        strbuf_add(&text, SLICE("Trailer: 0123456789\r\n"));
    }
    assert_int_equal(decode(strbuf_slice(&text), 1000, &data), -HTTP_REJECT_TRAILER);
    strbuf_fini(&text);
    strbuf_fini(&data);
}

static void trailers_are_kept_for_who_wants_them(void **state)
{
    (void)state;
    struct slice text = SLICE("1\r\nx\r\n0\r\nGrpc-Status: 0\r\nY:\r\n\r\n");
    for (size_t step = 1; step <= text.len; step++) {
        struct strbuf trailers;
        strbuf_init(&trailers, H1_TRAILERS_MAX);
        struct h1_chunked decoder = {.trailers = &trailers};
        size_t at = 0;
        while (at < text.len) {
            struct slice data;
            size_t len = MIN_OF(step, text.len - at);
            ptrdiff_t rc = h1_chunked_decode(&decoder, text.ptr + at, len, &data);
            assert_true(rc > 0);
            at += (size_t)rc;
            assert_true(at > 9 || trailers.ptr == NULL); // no memory before there is a trailer
        }
        assert_true(decoder.done && !trailers.failed);
        assert_true(slice_eq(strbuf_slice(&trailers), SLICE("Grpc-Status: 0\r\nY:\r\n")));
        strbuf_fini(&trailers);
    }
}

static void the_largest_trailer_section_fits(void **state)
{
    (void)state;
    char text[H1_TRAILERS_MAX + 8];
    int head = snprintf(text, sizeof(text), "0\r\nX:");
    memset(text + head, 'y', sizeof(text) - (size_t)head);
    memcpy(text + 3 + H1_TRAILERS_MAX - 2, "\r\n\r\n", 4);
    struct strbuf trailers;
    strbuf_init(&trailers, H1_TRAILERS_MAX);
    struct h1_chunked decoder = {.trailers = &trailers};
    struct slice data;
    assert_int_equal(h1_chunked_decode(&decoder, text, 3 + H1_TRAILERS_MAX + 2, &data),
                     3 + H1_TRAILERS_MAX + 2);
    assert_true(decoder.done && !trailers.failed && trailers.len == H1_TRAILERS_MAX);
    strbuf_fini(&trailers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_or_refuses_however_it_is_cut),
        cmocka_unit_test(what_follows_is_left_alone),
        cmocka_unit_test(no_prefix_is_done),
        cmocka_unit_test(overhead_is_bounded_by_the_data),
        cmocka_unit_test(trailers_are_kept_for_who_wants_them),
        cmocka_unit_test(the_largest_trailer_section_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
