// The strict response parser: an inference pod is not trusted more than a client.
#include "http/h1.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct result {
    ptrdiff_t rc;
    char *buf;
    struct http_header headers[100];
    struct http_response response;
};

static void parse(struct result *r, struct slice text, enum http_method method)
{
    *r = (struct result){.rc = 0};
    r->buf = malloc(text.len > 0 ? text.len : 1);
    assert_non_null(r->buf);
    memcpy(r->buf, text.ptr, text.len);
    r->rc = h1_parse_response(r->buf, text.len, 0, &H1_LIMITS_DEFAULT, method, r->headers,
                              &r->response);
}

static const struct {
    const char *what;
    struct slice text;
    enum http_reject reason;
} refusals[] = {
#define ROW(what, text, reason)                                                                    \
    {                                                                                              \
        what, SLICE(text), HTTP_REJECT_##reason                                                    \
    }
    ROW("length and chunked",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        LENGTH_AND_CHUNKED),
    ROW("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        CONTENT_LENGTH),
    ROW("length +3", "HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\n", CONTENT_LENGTH),
    ROW("empty length", "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n", CONTENT_LENGTH),
    ROW("two codings",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        TRANSFER_ENCODING),
    ROW("empty element", "HTTP/1.1 200 OK\r\nTransfer-Encoding: ,chunked\r\n\r\n",
        TRANSFER_ENCODING),
    ROW("identity", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
        TRANSFER_ENCODING_UNKNOWN),
    ROW("gzip, chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        TRANSFER_ENCODING_UNKNOWN),
    ROW("coding in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        TRANSFER_ENCODING),
    ROW("space before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\n", HEADER_SYNTAX),
    ROW("folded line", "HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n", OBS_FOLD),
    ROW("bare LF", "HTTP/1.1 200 OK\nX: y\n\n", BARE_LF),
    ROW("bare LF after a header", "HTTP/1.1 200 OK\r\nX: y\nContent-Length: 0\r\n\r\n", BARE_LF),
    ROW("NUL in a value", "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n", HEADER_VALUE),
    ROW("CR in a value", "HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", HEADER_VALUE),
    ROW("empty name", "HTTP/1.1 200 OK\r\n: y\r\n\r\n", HEADER_NAME),
    ROW("no colon", "HTTP/1.1 200 OK\r\nX\r\n\r\n", HEADER_SYNTAX),
    ROW("NUL in the reason", "HTTP/1.1 200 O\0K\r\n\r\n", STATUS_LINE),
    ROW("CR in the reason", "HTTP/1.1 200 O\rK\r\n\r\n", STATUS_LINE),
    ROW("two digits", "HTTP/1.1 20 OK\r\n\r\n", STATUS_LINE),
    ROW("four digits", "HTTP/1.1 2000 OK\r\n\r\n", STATUS_LINE),
    ROW("sign", "HTTP/1.1 +20 OK\r\n\r\n", STATUS_LINE),
    ROW("status 099", "HTTP/1.1 099 OK\r\n\r\n", STATUS_LINE),
    ROW("status 600", "HTTP/1.1 600 OK\r\n\r\n", STATUS_LINE),
    ROW("two spaces", "HTTP/1.1  200 OK\r\n\r\n", STATUS_LINE),
    ROW("no status", "HTTP/1.1\r\n\r\n", STATUS_LINE),
    ROW("HTTP/1.10", "HTTP/1.10 200 OK\r\n\r\n", STATUS_LINE),
    ROW("HTTP/2.0", "HTTP/2.0 200 OK\r\n\r\n", VERSION_UNSUPPORTED),
    ROW("lower case", "http/1.1 200 OK\r\n\r\n", VERSION),
    ROW("no HTTP", "SSH-2.0-OpenSSH_9.2\r\n", VERSION),
    ROW("empty line before", "\r\nHTTP/1.1 200 OK\r\n\r\n", VERSION),
    ROW("unasked switch of protocols", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        UPGRADE_UNSUPPORTED),
};

static void refuses_what_the_grammar_forbids(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        struct result r;
        parse(&r, refusals[i].text, HTTP_METHOD_GET);
        if (r.rc != -(ptrdiff_t)refusals[i].reason) {
            fail_msg("%s: %td (%s)", refusals[i].what, r.rc,
                     r.rc < 0 ? http_reject_label((enum http_reject) - r.rc) : "");
        }
        free(r.buf);
    }
}

static void framing_follows_status_method_and_fields(void **state)
{
    (void)state;
#define LEN "Content-Length: 5\r\n"
#define TE  "Transfer-Encoding: chunked\r\n"
    static const struct {
        const char *text;
        enum http_method method;
        enum http_framing framing;
        bool keep_alive;
    } rows[] = {
        {"HTTP/1.1 200 OK\r\n" LEN "\r\n", HTTP_METHOD_GET, HTTP_FRAMING_LENGTH, true},
        {"HTTP/1.1 200 OK\r\n" TE "\r\n", HTTP_METHOD_GET, HTTP_FRAMING_CHUNKED, true},
        {"HTTP/1.1 200 OK\r\n\r\n", HTTP_METHOD_GET, HTTP_FRAMING_CLOSE, false},
        {"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n", HTTP_METHOD_GET, HTTP_FRAMING_CLOSE,
         false},
        {"HTTP/1.1 200 OK\r\nConnection: close\r\n" LEN "\r\n", HTTP_METHOD_GET,
         HTTP_FRAMING_LENGTH, false},
        {"HTTP/1.0 200 OK\r\n" LEN "\r\n", HTTP_METHOD_GET, HTTP_FRAMING_LENGTH, false},
        {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" LEN "\r\n", HTTP_METHOD_GET,
         HTTP_FRAMING_LENGTH, true},
        {"HTTP/1.1 200 OK\r\n\r\n", HTTP_METHOD_HEAD, HTTP_FRAMING_NONE, true},
        {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", HTTP_METHOD_HEAD, HTTP_FRAMING_NONE,
         true},
        {"HTTP/1.1 304 Not Modified\r\n\r\n", HTTP_METHOD_GET, HTTP_FRAMING_NONE, true},
        {"HTTP/1.1 204 No Content\r\n\r\n", HTTP_METHOD_GET, HTTP_FRAMING_NONE, true},
        {"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", HTTP_METHOD_GET, HTTP_FRAMING_NONE,
         true},
        // A body is announced where there is none: whatever follows is not trusted.
        {"HTTP/1.1 200 OK\r\n" LEN "\r\n", HTTP_METHOD_HEAD, HTTP_FRAMING_NONE, false},
        {"HTTP/1.1 200 OK\r\n" TE "\r\n", HTTP_METHOD_HEAD, HTTP_FRAMING_NONE, false},
        {"HTTP/1.1 304 Not Modified\r\n" LEN "\r\n", HTTP_METHOD_GET, HTTP_FRAMING_NONE, false},
        {"HTTP/1.1 204 No Content\r\n" LEN "\r\n", HTTP_METHOD_GET, HTTP_FRAMING_NONE, false},
        {"HTTP/1.1 204 No Content\r\n" TE "\r\n", HTTP_METHOD_GET, HTTP_FRAMING_NONE, false},
        {"HTTP/1.1 100 Continue\r\n\r\n", HTTP_METHOD_POST, HTTP_FRAMING_NONE, true},
        {"HTTP/1.1 103 Early Hints\r\n" LEN "\r\n", HTTP_METHOD_POST, HTTP_FRAMING_NONE, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct result r;
        parse(&r, slice_of_str(rows[i].text), rows[i].method);
        if (r.rc != (ptrdiff_t)strlen(rows[i].text) || r.response.framing != rows[i].framing ||
            r.response.keep_alive != rows[i].keep_alive) {
            fail_msg("row %zu: %td, framing %d, keep-alive %d", i, r.rc, (int)r.response.framing,
                     r.response.keep_alive);
        }
        free(r.buf);
    }
}

static void reads_the_status_line(void **state)
{
    (void)state;
    struct result r;
    parse(&r, SLICE("HTTP/1.1 404 Not  Found\tat \xc3\xa4ll\r\nServer: uvicorn\r\n\r\nbody"),
          HTTP_METHOD_GET);
    assert_int_equal(r.rc, 52);
    assert_int_equal(r.response.status, 404);
    assert_true(slice_eq(r.response.reason, SLICE("Not  Found\tat \xc3\xa4ll")));
    assert_int_equal(r.response.header_count, 1);
    free(r.buf);
    parse(&r, SLICE("HTTP/1.1 200 \r\n\r\n"), HTTP_METHOD_GET);
    assert_int_equal(r.rc, 17);
    assert_int_equal(r.response.reason.len, 0);
    free(r.buf);
    parse(&r, SLICE("HTTP/1.1 200\r\n\r\n"), HTTP_METHOD_GET);
    assert_int_equal(r.rc, 16);
    free(r.buf);
}

static void every_prefix_asks_for_more(void **state)
{
    (void)state;
    static const char text[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                               "Transfer-Encoding: chunked\r\nX:\r\n\r\n";
    for (size_t len = 0; len < sizeof text - 1; len++) {
        struct result r;
        parse(&r, slice_of(text, len), HTTP_METHOD_GET);
        assert_int_equal(r.rc, 0);
        for (size_t seen = 0; seen <= len; seen++) {
            assert_int_equal(h1_parse_response(r.buf, len, seen, &H1_LIMITS_DEFAULT,
                                               HTTP_METHOD_GET, r.headers, &r.response),
                             0);
        }
        free(r.buf);
    }
    struct result r;
    parse(&r, slice_of_str(text), HTTP_METHOD_GET);
    for (size_t seen = 0; seen < sizeof text - 1; seen++) {
        assert_int_equal(h1_parse_response(r.buf, sizeof text - 1, seen, &H1_LIMITS_DEFAULT,
                                           HTTP_METHOD_GET, r.headers, &r.response),
                         sizeof text - 1);
    }
    free(r.buf);
}

static void an_endless_head_is_refused(void **state)
{
    (void)state;
    enum { SIZE = 40000 };
    char *text = malloc(SIZE);
    struct http_header headers[100];
    struct http_response response;
    assert_non_null(text);
    memset(text, 'a', SIZE);
    memcpy(text, "HTTP/1.1 200 OK\r\nX: ", 20);
    assert_int_equal(
        h1_parse_response(text, SIZE, 0, &H1_LIMITS_DEFAULT, HTTP_METHOD_GET, headers, &response),
        -HTTP_REJECT_HEADERS_TOO_LARGE);
    assert_int_equal(h1_parse_response(text, SIZE, 30000, &H1_LIMITS_DEFAULT, HTTP_METHOD_GET,
                                       headers, &response),
                     -HTTP_REJECT_HEADERS_TOO_LARGE);
    free(text);
}

static void a_switch_that_was_asked_for_is_taken(void **state)
{
    (void)state;
#define SWITCH "HTTP/1.1 101 Switching Protocols\r\n"
    static const struct {
        const char *text;
        bool taken;
    } answers[] = {
        {SWITCH "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n",
         true},
        {SWITCH "upgrade: WebSocket\r\nconnection: keep-alive, upgrade\r\n\r\n", true},
        {SWITCH "Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n", true},
        {SWITCH "Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 1\r\n\r\n", false},
        {SWITCH "Upgrade: websocket\r\nConnection: Upgrade\r\nTransfer-Encoding: chunked\r\n\r\n",
         false},
        {SWITCH "Upgrade: websocket\r\n\r\n", false},
        {SWITCH "Connection: upgrade\r\n\r\n", false},
        {SWITCH "Upgrade: h2c\r\nConnection: upgrade\r\n\r\n", false},
        {SWITCH "Upgrade: websocket\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", false},
        {"HTTP/1.0 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
         false},
    };
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        struct http_header headers[10];
        struct http_response response;
        char text[200];
        size_t len = strlen(answers[i].text);
        memcpy(text, answers[i].text, len);
        ptrdiff_t rc = h1_parse_upgrade_response(text, len, 0, &H1_LIMITS_DEFAULT,
                                                 SLICE("WebSocket"), headers, &response);
        if (rc != (answers[i].taken ? (ptrdiff_t)len : -HTTP_REJECT_UPGRADE_UNSUPPORTED)) {
            fail_msg("row %zu: %td", i, rc);
        }
        assert_true(!answers[i].taken || response.framing == HTTP_FRAMING_NONE);
    }
}

static void a_server_may_decline_an_upgrade(void **state)
{
    (void)state;
    struct http_header headers[10];
    struct http_response response;
    char text[] = "HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\n";
    assert_int_equal(h1_parse_upgrade_response(text, sizeof(text) - 1, 0, &H1_LIMITS_DEFAULT,
                                               SLICE("websocket"), headers, &response),
                     sizeof(text) - 1);
    assert_true(response.status == 404 && response.framing == HTTP_FRAMING_LENGTH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_what_the_grammar_forbids),
        cmocka_unit_test(framing_follows_status_method_and_fields),
        cmocka_unit_test(reads_the_status_line),
        cmocka_unit_test(every_prefix_asks_for_more),
        cmocka_unit_test(an_endless_head_is_refused),
        cmocka_unit_test(a_switch_that_was_asked_for_is_taken),
        cmocka_unit_test(a_server_may_decline_an_upgrade),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
