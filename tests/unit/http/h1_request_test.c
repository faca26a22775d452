// The strict request parser: every row of what must be refused, and what is made of what is not.
#include "http/h1.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define REST "Host: a.example\r\n"

struct result {
    ptrdiff_t rc;
    char *buf;
    struct http_header headers[100];
    struct http_request request;
};

static void parse_bytes(struct result *r, struct slice text, const struct h1_limits *limits)
{
    *r = (struct result){.rc = 0};
    // An exact heap copy, so that a sanitizer sees every read beyond the end.
    r->buf = malloc(text.len > 0 ? text.len : 1);
    assert_non_null(r->buf);
    memcpy(r->buf, text.ptr, text.len);
    r->rc = h1_parse_request(r->buf, text.len, 0, limits, r->headers, &r->request);
}

static void parse(struct result *r, struct slice text)
{
    parse_bytes(r, text, &H1_LIMITS_DEFAULT);
}

static void parse_ok(struct result *r, const char *text)
{
    parse(r, slice_of_str(text));
    if (r->rc <= 0) {
        fail_msg("refused with %s:\n%s",
                 r->rc < 0 ? http_reject_label((enum http_reject) - r->rc) : "more", text);
    }
}

static void done(struct result *r)
{
    free(r->buf);
}

static void assert_slice(struct slice s, const char *want)
{
    if (!slice_eq_str(s, want)) {
        fail_msg("\"%.*s\" is not \"%s\"", SLICE_FMT(s), want);
    }
}

struct refusal {
    const char *what;
    struct slice text;
    enum http_reject reason;
};
#define ROW(what, text, reason)                                                                    \
    {                                                                                              \
        what, SLICE(text), HTTP_REJECT_##reason                                                    \
    }

static const struct refusal refusals[] = {
    // Framing that two parties could read in two ways.
    ROW("length and chunked",
        "POST / HTTP/1.1\r\n" REST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        LENGTH_AND_CHUNKED),
    ROW("chunked and length",
        "POST / HTTP/1.1\r\n" REST "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
        LENGTH_AND_CHUNKED),
    ROW("two lengths", "POST / HTTP/1.1\r\n" REST "Content-Length: 3\r\nContent-Length: 4\r\n\r\n",
        CONTENT_LENGTH),
    ROW("the same length twice",
        "POST / HTTP/1.1\r\n" REST "Content-Length: 3\r\nContent-Length: 3\r\n\r\n",
        CONTENT_LENGTH),
    ROW("a list of lengths", "POST / HTTP/1.1\r\n" REST "Content-Length: 3, 3\r\n\r\n",
        CONTENT_LENGTH),
    ROW("length +3", "POST / HTTP/1.1\r\n" REST "Content-Length: +3\r\n\r\n", CONTENT_LENGTH),
    ROW("length -3", "POST / HTTP/1.1\r\n" REST "Content-Length: -3\r\n\r\n", CONTENT_LENGTH),
    ROW("empty length", "POST / HTTP/1.1\r\n" REST "Content-Length:\r\n\r\n", CONTENT_LENGTH),
    ROW("hexadecimal length", "POST / HTTP/1.1\r\n" REST "Content-Length: 0x3\r\n\r\n",
        CONTENT_LENGTH),
    ROW("length 3_0", "POST / HTTP/1.1\r\n" REST "Content-Length: 3_0\r\n\r\n", CONTENT_LENGTH),
    ROW("length with a space inside", "POST / HTTP/1.1\r\n" REST "Content-Length: 3 0\r\n\r\n",
        CONTENT_LENGTH),
    ROW("length over 64 bits",
        "POST / HTTP/1.1\r\n" REST "Content-Length: 18446744073709551619\r\n\r\n", CONTENT_LENGTH),
    ROW("length over 63 bits",
        "POST / HTTP/1.1\r\n" REST "Content-Length: 9223372036854775808\r\n\r\n", CONTENT_LENGTH),
    ROW("two codings",
        "POST / HTTP/1.1\r\n" REST
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        TRANSFER_ENCODING),
    ROW("coding in two lines",
        "POST / HTTP/1.1\r\n" REST "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
        TRANSFER_ENCODING),
    ROW("empty element", "POST / HTTP/1.1\r\n" REST "Transfer-Encoding: ,chunked\r\n\r\n",
        TRANSFER_ENCODING),
    ROW("empty element after", "POST / HTTP/1.1\r\n" REST "Transfer-Encoding: chunked,\r\n\r\n",
        TRANSFER_ENCODING),
    ROW("empty coding", "POST / HTTP/1.1\r\n" REST "Transfer-Encoding:\r\n\r\n", TRANSFER_ENCODING),
    ROW("chunked twice", "POST / HTTP/1.1\r\n" REST "Transfer-Encoding: chunked, chunked\r\n\r\n",
        TRANSFER_ENCODING),
    ROW("chunked not last", "POST / HTTP/1.1\r\n" REST "Transfer-Encoding: chunked, gzip\r\n\r\n",
        TRANSFER_ENCODING),
    ROW("chunked with a parameter",
        "POST / HTTP/1.1\r\n" REST "Transfer-Encoding: chunked;q=1\r\n\r\n", TRANSFER_ENCODING),
    ROW("quoted coding", "POST / HTTP/1.1\r\n" REST "Transfer-Encoding: \"chunked\"\r\n\r\n",
        TRANSFER_ENCODING),
    ROW("vertical tab before the coding",
        "POST / HTTP/1.1\r\n" REST "Transfer-Encoding: \vchunked\r\n\r\n", HEADER_VALUE),
    ROW("identity", "POST / HTTP/1.1\r\n" REST "Transfer-Encoding: identity\r\n\r\n",
        TRANSFER_ENCODING_UNKNOWN),
    ROW("unknown coding", "POST / HTTP/1.1\r\n" REST "Transfer-Encoding: xchunked\r\n\r\n",
        TRANSFER_ENCODING_UNKNOWN),
    ROW("gzip, chunked", "POST / HTTP/1.1\r\n" REST "Transfer-Encoding: gzip, chunked\r\n\r\n",
        TRANSFER_ENCODING_UNKNOWN),
    ROW("coding in HTTP/1.0", "POST / HTTP/1.0\r\n" REST "Transfer-Encoding: chunked\r\n\r\n",
        TRANSFER_ENCODING),
    // Header lines.
    ROW("space before the colon", "GET / HTTP/1.1\r\n" REST "X : y\r\n\r\n", HEADER_SYNTAX),
    ROW("tab before the colon", "GET / HTTP/1.1\r\n" REST "X\t: y\r\n\r\n", HEADER_SYNTAX),
    ROW("space before the colon of the length",
        "POST / HTTP/1.1\r\n" REST "Content-Length : 3\r\n\r\n", HEADER_SYNTAX),
    ROW("folded line", "GET / HTTP/1.1\r\n" REST "X: y\r\n z\r\n\r\n", OBS_FOLD),
    ROW("folded with a tab", "GET / HTTP/1.1\r\n" REST "X: y\r\n\tz\r\n\r\n", OBS_FOLD),
    ROW("space before the first header", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", OBS_FOLD),
    ROW("bare LF after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", BARE_LF),
    ROW("bare LF after a header", "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", BARE_LF),
    ROW("bare LF everywhere", "GET / HTTP/1.1\nHost: a\n\n", BARE_LF),
    ROW("bare LF as the empty line", "GET / HTTP/1.1\r\n" REST "\n", BARE_LF),
    ROW("NUL in a value", "GET / HTTP/1.1\r\n" REST "X: a\0b\r\n\r\n", HEADER_VALUE),
    ROW("CR in a value", "GET / HTTP/1.1\r\n" REST "X: a\rb\r\n\r\n", HEADER_VALUE),
    ROW("CR CR LF", "GET / HTTP/1.1\r\n" REST "X: a\r\r\n\r\n", HEADER_VALUE),
    ROW("DEL in a value", "GET / HTTP/1.1\r\n" REST "X: a\x7f\r\n\r\n", HEADER_VALUE),
    ROW("escape in a value",
        "GET / HTTP/1.1\r\n" REST "X: 0123456789abcdef0123456789\x1b[0m\r\n\r\n", HEADER_VALUE),
    ROW("empty name", "GET / HTTP/1.1\r\n" REST ": y\r\n\r\n", HEADER_NAME),
    ROW("no colon", "GET / HTTP/1.1\r\n" REST "X\r\n\r\n", HEADER_SYNTAX),
    ROW("slash in a name", "GET / HTTP/1.1\r\n" REST "X/Y: z\r\n\r\n", HEADER_NAME),
    ROW("NUL in a name", "GET / HTTP/1.1\r\n" REST "X\0Y: z\r\n\r\n", HEADER_NAME),
    ROW("high byte in a name", "GET / HTTP/1.1\r\n" REST "X\xc3\xa4: z\r\n\r\n", HEADER_NAME),
    ROW("CR without LF as the empty line", "GET / HTTP/1.1\r\n" REST "\rX", HEADER_SYNTAX),
    // Host.
    ROW("no Host", "GET / HTTP/1.1\r\nX: y\r\n\r\n", HOST_MISSING),
    ROW("two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", HOST_INVALID),
    ROW("the same Host twice", "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", HOST_INVALID),
    ROW("two Hosts in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", HOST_INVALID),
    ROW("empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", HOST_INVALID),
    ROW("list of Hosts", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", HOST_INVALID),
    ROW("Host with user", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", HOST_INVALID),
    ROW("Host with path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", HOST_INVALID),
    ROW("Host with space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", HOST_INVALID),
    ROW("Host with escape", "GET / HTTP/1.1\r\nHost: a%2eb\r\n\r\n", HOST_INVALID),
    ROW("Host with a port of letters", "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", HOST_INVALID),
    ROW("Host with a port too high", "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", HOST_INVALID),
    ROW("Host with port 0", "GET / HTTP/1.1\r\nHost: a:0\r\n\r\n", HOST_INVALID),
    ROW("Host with two ports", "GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n", HOST_INVALID),
    ROW("Host with half a bracket", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", HOST_INVALID),
    ROW("Host with no address in brackets", "GET / HTTP/1.1\r\nHost: [a]\r\n\r\n", HOST_INVALID),
    ROW("Host with text after brackets", "GET / HTTP/1.1\r\nHost: [::1]a\r\n\r\n", HOST_INVALID),
    ROW("Host that is only a port", "GET / HTTP/1.1\r\nHost: :80\r\n\r\n", HOST_INVALID),
    // The request line.
    ROW("HTTP/1.10", "GET / HTTP/1.10\r\n" REST "\r\n", VERSION),
    ROW("HTTP/01.1", "GET / HTTP/01.1\r\n" REST "\r\n", VERSION),
    ROW("HTTP/1.", "GET / HTTP/1.\r\n" REST "\r\n", VERSION),
    ROW("http/1.1", "GET / http/1.1\r\n" REST "\r\n", VERSION),
    ROW("space after the version", "GET / HTTP/1.1 \r\n" REST "\r\n", VERSION),
    ROW("HTTP/1.2", "GET / HTTP/1.2\r\n" REST "\r\n", VERSION_UNSUPPORTED),
    ROW("HTTP/2.0", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", VERSION_UNSUPPORTED),
    ROW("HTTP/0.9", "GET / HTTP/0.9\r\n\r\n", VERSION_UNSUPPORTED),
    ROW("simple request", "GET /\r\n\r\n", REQUEST_LINE),
    ROW("only a method", "GET\r\n\r\n", REQUEST_LINE),
    ROW("two spaces before the target", "GET  / HTTP/1.1\r\n" REST "\r\n", REQUEST_LINE),
    ROW("two spaces after the target", "GET /  HTTP/1.1\r\n" REST "\r\n", VERSION),
    ROW("tab in the request line", "GET\t/ HTTP/1.1\r\n" REST "\r\n", METHOD),
    ROW("tab after the target", "GET /\tHTTP/1.1\r\n" REST "\r\n", TARGET),
    ROW("space before the method", " GET / HTTP/1.1\r\n" REST "\r\n", METHOD),
    ROW("method with a slash", "G/T / HTTP/1.1\r\n" REST "\r\n", METHOD),
    ROW("method without end", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", METHOD),
    ROW("two empty lines before", "\r\n\r\nGET / HTTP/1.1\r\n" REST "\r\n", REQUEST_LINE),
    ROW("LF before", "\nGET / HTTP/1.1\r\n" REST "\r\n", BARE_LF),
    ROW("CR before", "\rGET / HTTP/1.1\r\n" REST "\r\n", METHOD),
    ROW("TLS hello", "\x16\x03\x01\x02\x00\x01", METHOD),
    ROW("TRACE", "TRACE / HTTP/1.1\r\n" REST "\r\n", METHOD_UNSUPPORTED),
    ROW("HEAD in another case", "head / HTTP/1.1\r\n" REST "\r\n", METHOD),
    ROW("CONNECT in another case", "Connect a:443 HTTP/1.1\r\n" REST "\r\n", METHOD),
    ROW("CONNECT", "CONNECT a:443 HTTP/1.1\r\n" REST "\r\n", UPGRADE_UNSUPPORTED),
    // The target.
    ROW("control character in the target", "GET /a\x01 HTTP/1.1\r\n" REST "\r\n", TARGET),
    ROW("DEL in the target", "GET /a\x7f HTTP/1.1\r\n" REST "\r\n", TARGET),
    ROW("NUL in the target", "GET /a\0b HTTP/1.1\r\n" REST "\r\n", TARGET),
    ROW("high byte in the target", "GET /\xc3\xa4 HTTP/1.1\r\n" REST "\r\n", TARGET),
    ROW("backslash in the path", "GET /a\\..\\b HTTP/1.1\r\n" REST "\r\n", TARGET),
    ROW("fragment", "GET /a#b HTTP/1.1\r\n" REST "\r\n", TARGET),
    ROW("fragment in the query", "GET /a?b#c HTTP/1.1\r\n" REST "\r\n", TARGET),
    ROW("relative path", "GET a HTTP/1.1\r\n" REST "\r\n", TARGET),
    ROW("only a query", "GET ?a HTTP/1.1\r\n" REST "\r\n", TARGET),
    ROW("asterisk for GET", "GET * HTTP/1.1\r\n" REST "\r\n", TARGET),
    ROW("asterisk and more", "OPTIONS *a HTTP/1.1\r\n" REST "\r\n", TARGET),
    ROW("encoded NUL", "GET /a%00b HTTP/1.1\r\n" REST "\r\n", PATH),
    ROW("encoded CR LF", "GET /a%0d%0ab HTTP/1.1\r\n" REST "\r\n", PATH),
    ROW("half an escape", "GET /a%4 HTTP/1.1\r\n" REST "\r\n", PATH),
    ROW("no escape", "GET /a%zz HTTP/1.1\r\n" REST "\r\n", PATH),
    ROW("no escape in the query", "GET /a?b=%zz HTTP/1.1\r\n" REST "\r\n", TARGET),
    ROW("over the root", "GET /../a HTTP/1.1\r\n" REST "\r\n", PATH),
    ROW("over the root, encoded", "GET /a/%2e%2E/.%2e/b HTTP/1.1\r\n" REST "\r\n", PATH),
    ROW("ftp", "GET ftp://a/ HTTP/1.1\r\n" REST "\r\n", TARGET),
    ROW("absolute without host", "GET http:///a HTTP/1.1\r\n" REST "\r\n", TARGET),
    ROW("absolute with user", "GET http://u:p@a.example/ HTTP/1.1\r\n" REST "\r\n", TARGET),
    ROW("absolute against Host", "GET http://b.example/ HTTP/1.1\r\n" REST "\r\n", HOST_INVALID),
    ROW("absolute against Host's port", "GET http://a.example:81/ HTTP/1.1\r\n" REST "\r\n",
        HOST_INVALID),
    ROW("absolute without Host", "GET http://a.example/ HTTP/1.1\r\n\r\n", HOST_MISSING),
    // Others.
    ROW("unknown expectation", "POST / HTTP/1.1\r\n" REST "Expect: 200-ok\r\n\r\n", EXPECT),
    ROW("two expectations",
        "POST / HTTP/1.1\r\n" REST "Expect: 100-continue\r\nExpect: 100-continue\r\n\r\n", EXPECT),
};

static void refuses_what_the_grammar_forbids(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        struct result r;
        parse(&r, refusals[i].text);
        if (r.rc != -(ptrdiff_t)refusals[i].reason) {
            fail_msg("%s: %td (%s)", refusals[i].what, r.rc,
                     r.rc < 0 ? http_reject_label((enum http_reject) - r.rc) : "");
        }
        assert_memory_equal(r.buf, refusals[i].text.ptr, refusals[i].text.len);
        done(&r);
    }
}

static void out_parameter_stays_untouched_when_refused(void **state)
{
    (void)state;
    char text[] = "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n";
    struct http_header headers[100];
    struct http_request request;
    memset(&request, 0x5a, sizeof request);
    struct http_request before = request;
    assert_true(h1_parse_request(text, sizeof text - 1, 0, &H1_LIMITS_DEFAULT, headers, &request) <
                0);
    assert_memory_equal(&request, &before, sizeof before);
}

static const char sdk_request[] = "POST /v1/chat/completions HTTP/1.1\r\n"
                                  "Host: Gateway.Example.com:8080\r\n"
                                  "Accept: application/json\r\n"
                                  "Accept-Encoding: gzip, deflate, br\r\n"
                                  "Connection: keep-alive\r\n"
                                  "Content-Length: 87\r\n"
                                  "Content-Type: application/json\r\n"
                                  "User-Agent: OpenAI/Python 2.8.1\r\n"
                                  "X-Stainless-Lang: python\r\n"
                                  "Authorization:   Bearer sk-test \t \r\n"
                                  "X-Empty:\r\n"
                                  "\r\n";

static void reads_a_request_as_an_sdk_sends_it(void **state)
{
    (void)state;
    struct result r;
    parse_ok(&r, sdk_request);
    const struct http_request *q = &r.request;
    assert_int_equal(r.rc, sizeof sdk_request - 1);
    assert_int_equal(q->method, HTTP_METHOD_POST);
    assert_slice(q->method_text, "POST");
    assert_slice(q->path, "/v1/chat/completions");
    assert_null(q->query.ptr);
    assert_slice(q->host, "gateway.example.com");
    assert_slice(q->authority, "gateway.example.com:8080");
    assert_int_equal(q->minor_version, 1);
    assert_true(q->keep_alive);
    assert_false(q->expect_continue);
    assert_int_equal(q->framing, HTTP_FRAMING_LENGTH);
    assert_int_equal(q->content_length, 87);
    assert_int_equal(q->header_count, 10);
    const struct http_header *h =
        http_header_find(q->headers, q->header_count, HTTP_TOKEN_AUTHORIZATION);
    assert_non_null(h);
    assert_slice(h->value, "Bearer sk-test");
    h = http_header_find_name(q->headers, q->header_count, SLICE("x-stainless-LANG"));
    assert_non_null(h);
    assert_int_equal(h->token, HTTP_TOKEN_UNKNOWN);
    h = http_header_find_name(q->headers, q->header_count, SLICE("x-empty"));
    assert_int_equal(h->value.len, 0);
    assert_true(http_header_find(q->headers, q->header_count, HTTP_TOKEN_CONNECTION)->drop);
    done(&r);
}

// Every prefix asks for more or refuses like the whole; the whole gives one result, however the
// bytes drip in. (What is wrong may be noticed only with the empty line.)
static void drip(struct slice text, ptrdiff_t want)
{
    char *buf = malloc(text.len);
    struct http_header headers[100];
    struct http_request request;
    memcpy(buf, text.ptr, text.len);
    for (size_t step = 1; step <= 7; step += 2) {
        size_t seen = 0;
        for (size_t len = step; len < text.len; len += step) {
            ptrdiff_t rc = h1_parse_request(buf, len, seen, &H1_LIMITS_DEFAULT, headers, &request);
            if (rc != 0 && (rc > 0 || rc != want)) {
                fail_msg("%td after %zu of %.*s", rc, len, SLICE_FMT(text));
            }
            if (rc != 0) {
                free(buf);
                return;
            }
            seen = len;
        }
        if (step == 7) {
            ptrdiff_t rc =
                h1_parse_request(buf, text.len, seen, &H1_LIMITS_DEFAULT, headers, &request);
            if (rc != want && (want > 0 || rc != 0)) {
                fail_msg("%td at the end of %.*s", rc, SLICE_FMT(text));
            }
        }
    }
    free(buf);
}

static void drips_give_the_same_result(void **state)
{
    (void)state;
    drip(slice_of_str(sdk_request), sizeof sdk_request - 1);
    drip(SLICE("\r\nGET /a/../b?c HTTP/1.1\r\n" REST "\r\n"), 45);
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        drip(refusals[i].text, -(ptrdiff_t)refusals[i].reason);
    }
}

static void assert_path(const char *target, const char *path, const char *query)
{
    char text[512];
    struct result r;
    snprintf(text, sizeof text, "GET %s HTTP/1.1\r\n" REST "\r\n", target);
    parse_ok(&r, text);
    assert_slice(r.request.path, path);
    if (query == NULL) {
        assert_null(r.request.query.ptr);
    } else {
        assert_slice(r.request.query, query);
    }
    if (target[0] == '/') {
        // What is forwarded in one piece is what was matched.
        snprintf(text, sizeof text, "%s%s%s", path, query != NULL ? "?" : "",
                 query != NULL ? query : "");
        assert_slice(r.request.target, text);
    }
    done(&r);
}

static void normalises_paths(void **state)
{
    (void)state;
    assert_path("/", "/", NULL);
    assert_path("/a/b", "/a/b", NULL);
    assert_path("/a?b=c", "/a", "b=c");
    assert_path("/a?", "/a", "");
    assert_path("/?a/../b", "/", "a/../b");
    assert_path("/a/./b", "/a/b", NULL);
    assert_path("/a/../b", "/b", NULL);
    assert_path("/a/b/..", "/a/", NULL);
    assert_path("/a/..", "/", NULL);
    assert_path("/a/.", "/a/", NULL);
    assert_path("/.", "/", NULL);
    assert_path("/a/%2e%2E/b", "/b", NULL);
    assert_path("/a/.%2e/b?x", "/b", "x");
    assert_path("/a/...", "/a/...", NULL);
    assert_path("/.a/..b", "/.a/..b", NULL);
    assert_path("/%41%7a%2D%5F", "/Az-_", NULL);
    assert_path("/a%2fb", "/a%2Fb", NULL);
    assert_path("/a%2fb?c=%2f", "/a%2Fb", "c=%2f");
    assert_path("/%252e%252e/a", "/%252e%252e/a", NULL);
    assert_path("/a%5c..%5cb", "/a%5C..%5Cb", NULL);
    assert_path("//a//b", "//a//b", NULL);
    assert_path("/a//../b", "/a/b", NULL);
    assert_path("/%e4%bd%a0", "/%E4%BD%A0", NULL);
    assert_path("/v2/models/a:b@c;d,e=f'(g)!$&*+/infer", "/v2/models/a:b@c;d,e=f'(g)!$&*+/infer",
                NULL);
    assert_path("/a?x={1}|[2]^`", "/a", "x={1}|[2]^`");
    assert_path("http://A.Example", "/", NULL);
    assert_path("HTTP://a.example:80?q", "/", "q");
    assert_path("http://a.example/x/../y?q", "/y", "q");
}

static void absolute_form_names_the_host(void **state)
{
    (void)state;
    struct result r;
    parse_ok(&r, "GET https://API.example/v1 HTTP/1.1\r\nHost: api.EXAMPLE:443\r\n\r\n");
    assert_slice(r.request.host, "api.example");
    assert_slice(r.request.authority, "api.example");
    done(&r);
    parse_ok(&r, "OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\n\r\n");
    assert_slice(r.request.host, "::1");
    assert_slice(r.request.path, "*");
    done(&r);
    parse_ok(&r, "GET / HTTP/1.1\r\nHost: a.example.:80\r\n\r\n");
    assert_slice(r.request.host, "a.example");
    done(&r);
    // HTTP/1.0 may come without a Host.
    parse_ok(&r, "GET / HTTP/1.0\r\n\r\n");
    assert_int_equal(r.request.host.len, 0);
    assert_false(r.request.keep_alive);
    done(&r);
}

static bool dropped(const struct result *r, const char *name)
{
    const struct http_header *h =
        http_header_find_name(r->request.headers, r->request.header_count, slice_of_str(name));
    assert_non_null(h);
    return h->drop;
}

static void connection_options_drop_what_they_may(void **state)
{
    (void)state;
    struct result r;
    parse_ok(&r,
             "GET / HTTP/1.1\r\n" REST "X-Hop: 1\r\nX-End: 2\r\nCookie: c\r\nAuthorization: a\r\n"
             "X-Forwarded-For: 1.2.3.4\r\nUpgrade: websocket\r\nTE: trailers\r\n"
             "Connection: x-hop, Cookie ,authorization,,host, x-forwarded-for, upgrade\r\n"
             "Connection: Close\r\n\r\n");
    assert_true(dropped(&r, "x-hop"));
    assert_true(dropped(&r, "upgrade"));
    assert_true(dropped(&r, "te"));
    assert_true(dropped(&r, "connection"));
    assert_false(dropped(&r, "x-end"));
    assert_false(dropped(&r, "cookie"));
    assert_false(dropped(&r, "authorization"));
    assert_false(dropped(&r, "host"));
    assert_false(dropped(&r, "x-forwarded-for"));
    assert_false(r.request.keep_alive);
    done(&r);

    char text[1024] = "GET / HTTP/1.1\r\n" REST "Connection: a";
    size_t len = strlen(text);
    for (int i = 0; i < 40; i++) {
        text[len++] = ',';
        text[len++] = 'a';
    }
    memcpy(text + len, "\r\n\r\n", 4);
    parse(&r, slice_of(text, len + 4));
    assert_int_equal(r.rc, -HTTP_REJECT_TOO_MANY_HEADERS);
    done(&r);
}

static void look_alikes_of_known_names_are_dropped(void **state)
{
    (void)state;
    struct result r;
    parse_ok(&r, "GET / HTTP/1.1\r\n" REST "Content_Length: 3\r\nTransfer_ENCODING: chunked\r\n"
                 "X_Forwarded-For: 1.2.3.4\r\nmy_header: 1\r\n_: 2\r\n"
                 "a_very_long_name_that_is_longer_than_any_known_one_______________: 3\r\n\r\n");
    assert_int_equal(r.request.framing, HTTP_FRAMING_NONE);
    assert_true(dropped(&r, "content_length"));
    assert_true(dropped(&r, "transfer_encoding"));
    assert_true(dropped(&r, "x_forwarded-for"));
    assert_false(dropped(&r, "my_header"));
    assert_false(dropped(&r, "_"));
    done(&r);
}

static void persistence_follows_version_and_options(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool keep_alive;
    } rows[] = {
        {"GET / HTTP/1.1\r\n" REST "\r\n", true},
        {"GET / HTTP/1.1\r\n" REST "Connection: close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\n" REST "Connection: keep-alive, close\r\n\r\n", false},
        {"GET / HTTP/1.0\r\n" REST "\r\n", false},
        {"GET / HTTP/1.0\r\n" REST "Connection: Keep-Alive\r\n\r\n", true},
        {"GET / HTTP/1.0\r\n" REST "Connection: Keep-Alive, close\r\n\r\n", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct result r;
        parse_ok(&r, rows[i].text);
        assert_int_equal(r.request.keep_alive, rows[i].keep_alive);
        done(&r);
    }
}

static void framing_and_expectation(void **state)
{
    (void)state;
    struct result r;
    parse_ok(&r, "POST / HTTP/1.1\r\n" REST
                 "Transfer-Encoding: Chunked\r\nExpect: 100-Continue\r\n\r\nbody");
    assert_int_equal(r.request.framing, HTTP_FRAMING_CHUNKED);
    assert_true(r.request.expect_continue);
    assert_true(dropped(&r, "transfer-encoding"));
    done(&r);
    parse_ok(&r, "POST / HTTP/1.1\r\n" REST "Content-Length: 0\r\nExpect: 100-continue\r\n\r\n");
    assert_int_equal(r.request.framing, HTTP_FRAMING_LENGTH);
    assert_false(r.request.expect_continue);
    done(&r);
    parse_ok(&r, "POST / HTTP/1.0\r\n" REST "Content-Length: 9\r\nExpect: something\r\n\r\n");
    assert_false(r.request.expect_continue);
    done(&r);
    parse_ok(&r, "GET / HTTP/1.1\r\n" REST "\r\n");
    assert_int_equal(r.request.framing, HTTP_FRAMING_NONE);
    done(&r);
    parse_ok(&r, "POST / HTTP/1.1\r\n" REST "Content-Length: 9223372036854775807\r\n\r\n");
    assert_int_equal(r.request.content_length, INT64_MAX);
    done(&r);
}

static void limits_hold(void **state)
{
    (void)state;
    static const char head[] = "GET /0123456789 HTTP/1.1\r\nHost: a\r\nX: y\r\nZ: 1\r\n\r\n";
    size_t len = sizeof head - 1;
    struct result r;
    struct h1_limits limits = {.max_head_bytes = len, .max_headers = 3, .max_target_bytes = 11};
    parse_bytes(&r, slice_of_str(head), &limits);
    assert_int_equal(r.rc, len);
    done(&r);
    limits.max_head_bytes = len - 1;
    parse_bytes(&r, slice_of_str(head), &limits);
    assert_int_equal(r.rc, -HTTP_REJECT_HEADERS_TOO_LARGE);
    done(&r);
    limits.max_head_bytes = len;
    limits.max_headers = 2;
    parse_bytes(&r, slice_of_str(head), &limits);
    assert_int_equal(r.rc, -HTTP_REJECT_TOO_MANY_HEADERS);
    done(&r);
    limits.max_headers = 3;
    limits.max_target_bytes = 10;
    parse_bytes(&r, slice_of_str(head), &limits);
    assert_int_equal(r.rc, -HTTP_REJECT_URI_TOO_LONG);
    done(&r);
    // A target without end is refused before the head is.
    parse_bytes(&r, SLICE("GET /01234567890"), &limits);
    assert_int_equal(r.rc, -HTTP_REJECT_URI_TOO_LONG);
    done(&r);
    // Without an end, also when only the new part is looked at.
    char *buf = malloc(len);
    memcpy(buf, head, len);
    limits.max_head_bytes = 20;
    assert_int_equal(h1_parse_request(buf, 25, 19, &limits, r.headers, &r.request),
                     -HTTP_REJECT_HEADERS_TOO_LARGE);
    free(buf);
}

static void a_pipelined_request_is_left_alone(void **state)
{
    (void)state;
    struct result r;
    parse_ok(&r, "GET /a HTTP/1.1\r\n" REST "\r\nGET /B HTTP/1.1\r\nHost: UPPER\r\n\r\n");
    assert_int_equal(r.rc, 36);
    assert_memory_equal(r.buf + 36, "GET /B HTTP/1.1\r\nHost: UPPER", 28);
    done(&r);
}

static void only_websocket_is_an_upgrade(void **state)
{
    (void)state;
#define GET_WS "GET /v1/realtime HTTP/1.1\r\nHost: a\r\n"
    static const struct {
        const char *text;
        bool asks;
    } requests[] = {
        {GET_WS "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n", true},
        {GET_WS "Connection: keep-alive, upgrade\r\nUpgrade: WebSocket\r\n\r\n", true},
        {GET_WS "Upgrade: websocket\r\n\r\n", false},
        {GET_WS "Connection: upgrade\r\n\r\n", false},
        {GET_WS "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n", false},
        {GET_WS "Upgrade: websocket, h2c\r\nConnection: Upgrade\r\n\r\n", false},
        {GET_WS "Upgrade: websocket\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", false},
        {GET_WS "Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 4\r\n\r\n", false},
        {GET_WS "Upgrade: websocket\r\nConnection: Upgrade\r\nTransfer-Encoding: chunked\r\n\r\n",
         false},
        {"GET / HTTP/1.0\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", false},
        {"POST / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        struct result r;
        parse_ok(&r, requests[i].text);
        if ((r.request.upgrade.ptr != NULL) != requests[i].asks) {
            fail_msg("row %zu", i);
        }
        for (size_t k = 0; k < r.request.header_count; k++) {
            assert_true(r.request.headers[k].token != HTTP_TOKEN_UPGRADE ||
                        r.request.headers[k].drop);
        }
        done(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_what_the_grammar_forbids),
        cmocka_unit_test(out_parameter_stays_untouched_when_refused),
        cmocka_unit_test(reads_a_request_as_an_sdk_sends_it),
        cmocka_unit_test(drips_give_the_same_result),
        cmocka_unit_test(normalises_paths),
        cmocka_unit_test(absolute_form_names_the_host),
        cmocka_unit_test(connection_options_drop_what_they_may),
        cmocka_unit_test(look_alikes_of_known_names_are_dropped),
        cmocka_unit_test(persistence_follows_version_and_options),
        cmocka_unit_test(framing_and_expectation),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(a_pipelined_request_is_left_alone),
        cmocka_unit_test(only_websocket_is_an_upgrade),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
