#include "http/trailers.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "http/h1.h"

static void names_that_steer_do_not_pass(void **state)
{
    (void)state;
    static const struct slice refused[] = {
        SLICE("Transfer-Encoding"), SLICE("content-length"), SLICE("Content_Length"),
        SLICE("CONTENT-TYPE"),      SLICE("content-md5"),    SLICE("host"),
        SLICE("Authorization"),     SLICE("set_cookie"),     SLICE("cookie"),
        SLICE("Proxy-Authenticate"), SLICE("If-Match"),      SLICE("range"),
        SLICE("Connection"),        SLICE("upgrade"),        SLICE("trailer"),
        SLICE("x-forwarded-for"),   SLICE("X_Forwarded_For"), SLICE("Forwarded"),
        SLICE("x-request-id"),      SLICE("cache-control"),  SLICE("location"),
        SLICE("sec-websocket-key"), SLICE("strict-transport-security"), SLICE(""),
        SLICE("access-control-allow-origin"), SLICE("content-a-name-that-is-longer-than-the-table"),
    };
    static const struct slice fine[] = {
        SLICE("grpc-status"), SLICE("Grpc-Message"), SLICE("grpc-status-details-bin"),
        SLICE("x-checksum"), SLICE("etag"), SLICE("server-timing"), SLICE("digest"),
        SLICE("x"), SLICE("contents"), SLICE("hosts"), SLICE("iffy"),
        SLICE("a-name-that-is-longer-than-any-in-the-table-of-names"),
    };
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        if (trailers_may_pass(refused[i])) {
            fail_msg("%.*s passes", SLICE_FMT(refused[i]));
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(fine); i++) {
        if (!trailers_may_pass(fine[i])) {
            fail_msg("%.*s is refused", SLICE_FMT(fine[i]));
        }
    }
}

static void lines_become_fields(void **state)
{
    (void)state;
    struct http_header headers[3];
    struct slice section = SLICE("grpc-status:0\r\nContent-Length: 5\r\nX: \t a:b  \r\n");
    assert_int_equal(trailers_parse(section, headers, 3), 3);
    assert_true(slice_eq(headers[0].name, SLICE("grpc-status")));
    assert_true(slice_eq(headers[0].value, SLICE("0")) && !headers[0].drop);
    assert_true(headers[1].drop && headers[1].token == HTTP_TOKEN_CONTENT_LENGTH);
    assert_true(slice_eq(headers[2].value, SLICE("a:b")));
    assert_int_equal(trailers_parse(SLICE_NULL, headers, 3), 0);
    assert_int_equal(trailers_parse(section, headers, 2), -HTTP_REJECT_TOO_MANY_HEADERS);
    assert_int_equal(trailers_parse(SLICE("no colon\r\n"), headers, 3), -HTTP_REJECT_TRAILER);
    assert_int_equal(trailers_parse(SLICE(":x\r\n"), headers, 3), -HTTP_REJECT_TRAILER);
    assert_int_equal(trailers_parse(SLICE("x: no end"), headers, 3), -HTTP_REJECT_TRAILER);
}

static void what_is_written_reads_the_same(void **state)
{
    (void)state;
    struct http_header headers[2];
    struct strbuf out;
    struct strbuf trailers;
    struct slice data;
    strbuf_init(&out, 1000);
    strbuf_init(&trailers, H1_TRAILERS_MAX);
    assert_int_equal(trailers_parse(SLICE("a: 1\r\nHost: b\r\n"), headers, 2), 2);
    h1_write_trailers(&out, headers, 2);
    assert_true(slice_eq(strbuf_slice(&out), SLICE("0\r\na: 1\r\n\r\n")));
    struct h1_chunked decoder = {.trailers = &trailers};
    assert_int_equal(h1_chunked_decode(&decoder, out.ptr, out.len, &data), out.len);
    assert_true(decoder.done && slice_eq(strbuf_slice(&trailers), SLICE("a: 1\r\n")));
    strbuf_reset(&out);
    h1_write_trailers(&out, NULL, 0);
    assert_true(slice_eq(strbuf_slice(&out), H1_LAST_CHUNK));
    strbuf_fini(&out);
    strbuf_fini(&trailers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_that_steer_do_not_pass),
        cmocka_unit_test(lines_become_fields),
        cmocka_unit_test(what_is_written_reads_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
