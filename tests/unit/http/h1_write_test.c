#include "http/h1.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void writes_a_head_that_parses_back(void **state)
{
    (void)state;
    struct strbuf out;
    struct http_header headers[10];
    struct http_response response;
    strbuf_init(&out, 1000);
    h1_write_status(&out, 404);
    h1_write_header(&out, SLICE("content-type"), SLICE("text/plain"));
    h1_write_header(&out, SLICE("x-empty"), SLICE_NULL);
    h1_write_header_u64(&out, SLICE("content-length"), 1234567890123456789u);
    h1_write_end(&out);
    assert_false(out.failed);
    assert_string_equal(strbuf_cstr(&out),
                        "HTTP/1.1 404 Not Found\r\ncontent-type: text/plain\r\n"
                        "x-empty: \r\ncontent-length: 1234567890123456789\r\n\r\n");
    assert_int_equal(h1_parse_response(out.ptr, out.len, 0, &H1_LIMITS_DEFAULT, HTTP_METHOD_GET,
                                       headers, &response),
                     out.len);
    assert_int_equal(response.status, 404);
    assert_int_equal(response.content_length, 1234567890123456789u);
    strbuf_fini(&out);
}

static void a_full_buffer_is_reported(void **state)
{
    (void)state;
    struct strbuf out;
    strbuf_init(&out, 20);
    h1_write_status(&out, 200);
    assert_false(out.failed);
    size_t len = out.len;
    h1_write_header(&out, SLICE("a"), SLICE("b"));
    assert_true(out.failed);
    assert_int_equal(out.len, len);
    strbuf_fini(&out);
}

static void unknown_statuses_have_an_empty_phrase(void **state)
{
    (void)state;
    struct strbuf out;
    strbuf_init(&out, 100);
    h1_write_status(&out, 599);
    assert_string_equal(strbuf_cstr(&out), "HTTP/1.1 599 \r\n");
    strbuf_fini(&out);
}

static void chunk_heads_are_hexadecimal(void **state)
{
    (void)state;
    char buf[H1_CHUNK_HEAD_MAX];
    char want[H1_CHUNK_HEAD_MAX + 1];
    for (unsigned shift = 0; shift < 64; shift++) {
        for (int delta = -1; delta <= 1; delta++) {
            uint64_t size = (UINT64_C(1) << shift) + (uint64_t)delta;
            int len = snprintf(want, sizeof want, "%" PRIx64 "\r\n", size);
            assert_int_equal(h1_chunk_head(buf, size), len);
            assert_memory_equal(buf, want, (size_t)len);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_a_head_that_parses_back),
        cmocka_unit_test(a_full_buffer_is_reported),
        cmocka_unit_test(unknown_statuses_have_an_empty_phrase),
        cmocka_unit_test(chunk_heads_are_hexadecimal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
