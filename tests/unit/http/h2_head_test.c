// Header sections of HTTP/2: what could not be said in HTTP/1 is refused, and what is taken means
// the same in both.
#include "http/h2_head.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { FIELDS_MAX = 12, SMALL_HEADERS = 6 };

struct field {
    struct slice name;
    struct slice value;
};
#define F(name, value)                                                                             \
    {                                                                                              \
        {name, sizeof(name) - 1},                                                                  \
        {                                                                                          \
            value, sizeof(value) - 1                                                               \
        }                                                                                          \
    }
#define GET F(":method", "GET"), F(":scheme", "http"), F(":authority", "a.example")
#define POST F(":method", "POST"), F(":scheme", "http"), F(":authority", "a.example")
#define PATH F(":path", "/v1/x")
#define CONNECT F(":method", "CONNECT"), F(":scheme", "https"), F(":authority", "a.example")
#define WEBSOCKET CONNECT, PATH, F(":protocol", "websocket")

struct row {
    const char *what;
    bool open; // payload follows
    enum http_reject reason;
    struct field fields[FIELDS_MAX];
};

static const struct h1_limits small = {
    .max_head_bytes = 512, .max_headers = SMALL_HEADERS, .max_target_bytes = 100};

static void add_all(struct h2_head *head, const struct field *fields)
{
    for (size_t i = 0; i < FIELDS_MAX && fields[i].name.ptr != NULL; i++) {
        h2_head_add(head, fields[i].name, fields[i].value);
    }
}

static enum http_reject request_of(struct h2_head *head, const struct row *row,
                                   struct http_request *ret)
{
    static struct http_header headers[100];
    h2_head_reset(head, H2_REQUEST);
    add_all(head, row->fields);
    return h2_head_request(head, !row->open, headers, ret);
}

static const struct row requests[] = {
    // Pseudo-header fields: once, first, and all of them.
    {"no method", false, HTTP_REJECT_REQUEST_LINE,
     {F(":scheme", "http"), F(":authority", "a"), PATH}},
    {"no path", false, HTTP_REJECT_REQUEST_LINE, {GET}},
    {"no scheme", false, HTTP_REJECT_REQUEST_LINE,
     {F(":method", "GET"), F(":authority", "a"), PATH}},
    {"no authority and no host", false, HTTP_REJECT_HOST_MISSING,
     {F(":method", "GET"), F(":scheme", "http"), PATH}},
    {"two methods", false, HTTP_REJECT_HEADER_SYNTAX, {GET, PATH, F(":method", "POST")}},
    {"two paths", false, HTTP_REJECT_HEADER_SYNTAX, {GET, PATH, F(":path", "/admin")}},
    {"two authorities", false, HTTP_REJECT_HEADER_SYNTAX, {GET, PATH, F(":authority", "b")}},
    {"two empty authorities", false, HTTP_REJECT_HEADER_SYNTAX,
     {F(":authority", ""), F(":authority", "a")}},
    {"a path behind regular fields", false, HTTP_REJECT_REQUEST_LINE,
     {F(":method", "GET"), F(":scheme", "http"), F(":authority", "a"), F("x", "y"), PATH}},
    {"an authority behind regular fields", false, HTTP_REJECT_HEADER_SYNTAX,
     {F(":method", "GET"), F(":scheme", "http"), PATH, F("host", "a"), F(":authority", "a")}},
    {"an unknown pseudo field", false, HTTP_REJECT_HEADER_NAME, {GET, PATH, F(":x", "y")}},
    {"a status in a request", false, HTTP_REJECT_HEADER_NAME, {GET, PATH, F(":status", "200")}},
    // Extended CONNECT.
    {"another protocol", true, HTTP_REJECT_PROTOCOL_UNSUPPORTED,
     {CONNECT, PATH, F(":protocol", "connect-udp")}},
    {"no protocol's name", true, HTTP_REJECT_PROTOCOL_UNSUPPORTED,
     {CONNECT, PATH, F(":protocol", "")}},
    {"a protocol with a line", true, HTTP_REJECT_PROTOCOL_UNSUPPORTED,
     {CONNECT, PATH, F(":protocol", "websocket\r\nx: y")}},
    {"two protocols", true, HTTP_REJECT_HEADER_SYNTAX,
     {WEBSOCKET, F(":protocol", "websocket")}},
    {"a protocol without CONNECT", false, HTTP_REJECT_REQUEST_LINE,
     {GET, PATH, F(":protocol", "websocket")}},
    {"a protocol and POST", true, HTTP_REJECT_REQUEST_LINE,
     {POST, PATH, F(":protocol", "websocket")}},
    {"a protocol behind regular fields", true, HTTP_REJECT_UPGRADE_UNSUPPORTED,
     {CONNECT, PATH, F("x", "y"), F(":protocol", "websocket")}},
    {"a WebSocket without an authority", true, HTTP_REJECT_HOST_MISSING,
     {F(":method", "CONNECT"), F(":scheme", "http"), PATH, F(":protocol", "websocket"),
      F("host", "a")}},
    {"a WebSocket without a path", true, HTTP_REJECT_REQUEST_LINE,
     {CONNECT, F(":protocol", "websocket")}},
    {"a WebSocket without a scheme", true, HTTP_REJECT_REQUEST_LINE,
     {F(":method", "CONNECT"), F(":authority", "a"), PATH, F(":protocol", "websocket")}},
    {"a WebSocket to a star", true, HTTP_REJECT_TARGET,
     {CONNECT, F(":path", "*"), F(":protocol", "websocket")}},
    {"a WebSocket to an absolute path", true, HTTP_REJECT_TARGET,
     {CONNECT, F(":path", "http://b/x"), F(":protocol", "websocket")}},
    {"a WebSocket with a line in its path", true, HTTP_REJECT_TARGET,
     {CONNECT, F(":path", "/x\r\ny: z"), F(":protocol", "websocket")}},
    {"a WebSocket that ends at once", false, HTTP_REJECT_HTTP2_MESSAGE, {WEBSOCKET}},
    {"a WebSocket with a length", true, HTTP_REJECT_CONTENT_LENGTH,
     {WEBSOCKET, F("content-length", "3")}},
    {"a WebSocket with no length", true, HTTP_REJECT_CONTENT_LENGTH,
     {WEBSOCKET, F("content-length", "0")}},
    {"a WebSocket with an upgrade", true, HTTP_REJECT_TRANSFER_ENCODING,
     {WEBSOCKET, F("upgrade", "websocket")}},
    {"a WebSocket with a coding", true, HTTP_REJECT_TRANSFER_ENCODING,
     {WEBSOCKET, F("transfer-encoding", "chunked")}},
    {"CONNECT in lower case", true, HTTP_REJECT_REQUEST_LINE,
     {F(":method", "connect"), F(":scheme", "http"), F(":authority", "a"), PATH,
      F(":protocol", "websocket")}},
    {"a WebSocket", true, HTTP_REJECT_NONE, {WEBSOCKET}},
    {"a WebSocket in capitals", true, HTTP_REJECT_NONE,
     {CONNECT, PATH, F(":protocol", "WebSocket")}},
    {"CONNECT", false, HTTP_REJECT_UPGRADE_UNSUPPORTED,
     {F(":method", "CONNECT"), F(":authority", "a:80")}},
    // The request line must have three parts and one line.
    {"a space in the method", false, HTTP_REJECT_METHOD,
     {F(":method", "GET /x"), F(":scheme", "http"), F(":authority", "a"), PATH}},
    {"a line in the method", false, HTTP_REJECT_METHOD,
     {F(":method", "GET\r\n"), F(":scheme", "http"), F(":authority", "a"), PATH}},
    {"TRACE", false, HTTP_REJECT_METHOD_UNSUPPORTED,
     {F(":method", "TRACE"), F(":scheme", "http"), F(":authority", "a"), PATH}},
    {"an empty method", false, HTTP_REJECT_REQUEST_LINE,
     {F(":method", ""), F(":scheme", "http"), F(":authority", "a"), PATH}},
    {"another scheme", false, HTTP_REJECT_TARGET,
     {F(":method", "GET"), F(":scheme", "ftp"), F(":authority", "a"), PATH}},
    {"a scheme that goes on", false, HTTP_REJECT_TARGET,
     {F(":method", "GET"), F(":scheme", "http://b/?"), F(":authority", "a"), PATH}},
    {"a space in the path", false, HTTP_REJECT_TARGET, {GET, F(":path", "/x HTTP/1.1")}},
    {"a line in the path", false, HTTP_REJECT_TARGET, {GET, F(":path", "/x\r\nhost: b")}},
    {"NUL in the path", false, HTTP_REJECT_TARGET, {GET, F(":path", "/x\0y")}},
    {"a tab in the path", false, HTTP_REJECT_TARGET, {GET, F(":path", "/x\ty")}},
    {"DEL in the path", false, HTTP_REJECT_TARGET, {GET, F(":path", "/x\177")}},
    {"an empty path", false, HTTP_REJECT_TARGET, {GET, F(":path", "")}},
    {"an absolute path", false, HTTP_REJECT_TARGET, {GET, F(":path", "http://b.example/x")}},
    {"a path that is an authority", false, HTTP_REJECT_TARGET, {GET, F(":path", "b.example:80")}},
    {"a path without a slash", false, HTTP_REJECT_TARGET, {GET, F(":path", "x")}},
    {"a fragment", false, HTTP_REJECT_TARGET, {GET, F(":path", "/x#y")}},
    {"a path that climbs out", false, HTTP_REJECT_PATH, {GET, F(":path", "/../x")}},
    {"a star for GET", false, HTTP_REJECT_TARGET, {GET, F(":path", "*")}},
    // One authority.
    {"a line in the authority", false, HTTP_REJECT_HOST_INVALID,
     {F(":method", "GET"), F(":scheme", "http"), F(":authority", "a\r\nx: y"), PATH}},
    {"a user in the authority", false, HTTP_REJECT_HOST_INVALID,
     {F(":method", "GET"), F(":scheme", "http"), F(":authority", "u@a"), PATH}},
    {"a path in the authority", false, HTTP_REJECT_HOST_INVALID,
     {F(":method", "GET"), F(":scheme", "http"), F(":authority", "a/x"), PATH}},
    {"a list of authorities", false, HTTP_REJECT_HOST_INVALID,
     {F(":method", "GET"), F(":scheme", "http"), F(":authority", "a,b"), PATH}},
    {"another host", false, HTTP_REJECT_HOST_INVALID, {GET, PATH, F("host", "b.example")}},
    {"two hosts", false, HTTP_REJECT_HOST_INVALID,
     {F(":method", "GET"), F(":scheme", "http"), PATH, F("host", "a"), F("host", "a")}},
    // Fields.
    {"CR LF in a value", false, HTTP_REJECT_HEADER_VALUE, {GET, PATH, F("x", "a\r\ny: b")}},
    {"LF in a value", false, HTTP_REJECT_HEADER_VALUE, {GET, PATH, F("x", "a\ny: b")}},
    {"CR in a value", false, HTTP_REJECT_HEADER_VALUE, {GET, PATH, F("x", "a\rb")}},
    {"NUL in a value", false, HTTP_REJECT_HEADER_VALUE, {GET, PATH, F("x", "a\0b")}},
    {"a line in a cookie", false, HTTP_REJECT_HEADER_VALUE,
     {GET, PATH, F("cookie", "a=1"), F("cookie", "b\r\nx: y")}},
    {"a space before a value", false, HTTP_REJECT_HEADER_VALUE, {GET, PATH, F("x", " a")}},
    {"a tab behind a value", false, HTTP_REJECT_HEADER_VALUE, {GET, PATH, F("x", "a\t")}},
    {"an upper-case name", false, HTTP_REJECT_HEADER_NAME, {GET, PATH, F("X", "y")}},
    {"an empty name", false, HTTP_REJECT_HEADER_NAME, {GET, PATH, F("", "y")}},
    {"a colon in a name", false, HTTP_REJECT_HEADER_NAME, {GET, PATH, F("x: y", "z")}},
    {"a space in a name", false, HTTP_REJECT_HEADER_NAME, {GET, PATH, F("x y", "z")}},
    {"a line in a name", false, HTTP_REJECT_HEADER_NAME, {GET, PATH, F("x\r\ny", "z")}},
    {"obs-text in a name", false, HTTP_REJECT_HEADER_NAME, {GET, PATH, F("x\xc3\xa4", "z")}},
    // What belongs to a connection of HTTP/1, framing before all.
    {"transfer-encoding", true, HTTP_REJECT_TRANSFER_ENCODING,
     {POST, PATH, F("transfer-encoding", "chunked")}},
    {"connection", false, HTTP_REJECT_TRANSFER_ENCODING, {GET, PATH, F("connection", "close")}},
    {"keep-alive", false, HTTP_REJECT_TRANSFER_ENCODING, {GET, PATH, F("keep-alive", "5")}},
    {"proxy-connection", false, HTTP_REJECT_TRANSFER_ENCODING,
     {GET, PATH, F("proxy-connection", "close")}},
    {"upgrade", false, HTTP_REJECT_TRANSFER_ENCODING, {GET, PATH, F("upgrade", "h2c")}},
    {"te with more", false, HTTP_REJECT_HEADER_VALUE, {GET, PATH, F("te", "trailers, gzip")}},
    {"te: chunked", false, HTTP_REJECT_HEADER_VALUE, {GET, PATH, F("te", "chunked")}},
    // Lengths.
    {"a length where nothing follows", false, HTTP_REJECT_CONTENT_LENGTH,
     {POST, PATH, F("content-length", "3")}},
    {"two lengths", true, HTTP_REJECT_CONTENT_LENGTH,
     {POST, PATH, F("content-length", "3"), F("content-length", "4")}},
    {"the same length twice", true, HTTP_REJECT_CONTENT_LENGTH,
     {POST, PATH, F("content-length", "3"), F("content-length", "3")}},
    {"a length with a sign", true, HTTP_REJECT_CONTENT_LENGTH,
     {POST, PATH, F("content-length", "+3")}},
    {"a list of lengths", true, HTTP_REJECT_CONTENT_LENGTH,
     {POST, PATH, F("content-length", "3, 3")}},
    {"a length that does not fit", true, HTTP_REJECT_CONTENT_LENGTH,
     {POST, PATH, F("content-length", "99999999999999999999")}},
    {"an expectation", true, HTTP_REJECT_EXPECT, {POST, PATH, F("expect", "the unexpected")}},
    // Taken.
    {"a plain request", false, HTTP_REJECT_NONE, {GET, PATH}},
    {"https", false, HTTP_REJECT_NONE,
     {F(":method", "GET"), F(":scheme", "https"), F(":authority", "a"), PATH}},
    {"host instead of an authority", false, HTTP_REJECT_NONE,
     {F(":method", "GET"), F(":scheme", "http"), PATH, F("host", "a")}},
    {"the same host", false, HTTP_REJECT_NONE, {GET, PATH, F("host", "A.Example")}},
    {"obs-text in a value", false, HTTP_REJECT_NONE, {GET, PATH, F("x", "\xff\x80")}},
    {"an empty value", false, HTTP_REJECT_NONE, {GET, PATH, F("x", "")}},
    {"te: trailers", false, HTTP_REJECT_NONE, {GET, PATH, F("te", "trailers")}},
    {"a length of nothing", false, HTTP_REJECT_NONE, {POST, PATH, F("content-length", "0")}},
    {"OPTIONS *", false, HTTP_REJECT_NONE,
     {F(":method", "OPTIONS"), F(":scheme", "http"), F(":authority", "a"), F(":path", "*")}},
};

static void check_rows(const struct row *rows, size_t count,
                       enum http_reject (*parse)(struct h2_head *, const struct row *))
{
    struct h2_head head;
    h2_head_init(&head, &H1_LIMITS_DEFAULT);
    for (size_t i = 0; i < count; i++) {
        enum http_reject got = parse(&head, &rows[i]);
        if (got != rows[i].reason) {
            fail_msg("%s: %s, not %s", rows[i].what, http_reject_label(got),
                     http_reject_label(rows[i].reason));
        }
    }
    h2_head_fini(&head);
}

static enum http_reject parse_request_row(struct h2_head *head, const struct row *row)
{
    struct http_request request;
    return request_of(head, row, &request);
}

static void requests_by_table(void **state)
{
    (void)state;
    check_rows(requests, ARRAY_LEN(requests), parse_request_row);
}

#define S(status) F(":status", status)
static const struct row responses[] = {
    {"no status", false, HTTP_REJECT_STATUS_LINE, {F("x", "y")}},
    {"two statuses", false, HTTP_REJECT_HEADER_SYNTAX, {S("200"), S("500")}},
    {"a status behind", false, HTTP_REJECT_STATUS_LINE, {F("x", "y"), S("200")}},
    {"a status of two digits", false, HTTP_REJECT_STATUS_LINE, {S("20")}},
    {"a status of four digits", false, HTTP_REJECT_STATUS_LINE, {S("2000")}},
    {"a status that is none", false, HTTP_REJECT_STATUS_LINE, {S("2x0")}},
    {"a status with a line", false, HTTP_REJECT_STATUS_LINE, {S("2\r\n")}},
    {"switching protocols", true, HTTP_REJECT_UPGRADE_UNSUPPORTED, {S("101")}},
    {"a method in a response", false, HTTP_REJECT_HEADER_NAME, {F(":method", "GET"), S("200")}},
    {"a line in a value", true, HTTP_REJECT_HEADER_VALUE, {S("200"), F("x", "a\r\n\r\nb")}},
    {"transfer-encoding", true, HTTP_REJECT_TRANSFER_ENCODING,
     {S("200"), F("transfer-encoding", "chunked")}},
    {"a length where nothing follows", false, HTTP_REJECT_CONTENT_LENGTH,
     {S("200"), F("content-length", "3")}},
    {"two lengths", true, HTTP_REJECT_CONTENT_LENGTH,
     {S("200"), F("content-length", "3"), F("content-length", "3")}},
    {"of unknown length", true, HTTP_REJECT_NONE, {S("200")}},
    {"a whole answer", true, HTTP_REJECT_NONE, {S("200"), F("content-length", "3")}},
    {"nothing follows", false, HTTP_REJECT_NONE, {S("200")}},
    {"no content", false, HTTP_REJECT_NONE, {S("204")}},
    {"no content, ended by an empty DATA frame", true, HTTP_REJECT_NONE, {S("204")}},
    {"not modified, with the length of what is", false, HTTP_REJECT_NONE,
     {S("304"), F("content-length", "3")}},
    {"not modified, ended later", true, HTTP_REJECT_NONE, {S("304")}},
    {"early hints", true, HTTP_REJECT_NONE, {S("103"), F("link", "</x>")}},
};

static enum http_reject parse_response_row(struct h2_head *head, const struct row *row)
{
    static struct http_header headers[100];
    struct http_response response;
    h2_head_reset(head, H2_RESPONSE);
    add_all(head, row->fields);
    return h2_head_response(head, !row->open, HTTP_METHOD_GET, headers, &response);
}

static void responses_by_table(void **state)
{
    (void)state;
    check_rows(responses, ARRAY_LEN(responses), parse_response_row);
}

static void a_head_may_tell_a_length_without_payload(void **state)
{
    (void)state;
    struct h2_head head;
    struct http_header headers[10];
    struct http_response response;
    h2_head_init(&head, &H1_LIMITS_DEFAULT);
    for (int open = 0; open < 2; open++) {
        h2_head_reset(&head, H2_RESPONSE);
        h2_head_add(&head, SLICE(":status"), SLICE("200"));
        h2_head_add(&head, SLICE("content-length"), SLICE("1234"));
        assert_int_equal(h2_head_response(&head, open == 0, HTTP_METHOD_HEAD, headers, &response),
                         HTTP_REJECT_NONE);
        assert_int_equal(response.framing, HTTP_FRAMING_NONE);
    }
    h2_head_fini(&head);
}

static void framing_follows_the_end_of_the_stream(void **state)
{
    (void)state;
    struct h2_head head;
    struct http_request q;
    h2_head_init(&head, &H1_LIMITS_DEFAULT);
    assert_int_equal(request_of(&head, &(struct row){.open = true, .fields = {POST, PATH}}, &q), 0);
    assert_int_equal(q.framing, HTTP_FRAMING_CHUNKED);
    assert_int_equal(request_of(&head, &(struct row){.fields = {POST, PATH}}, &q), 0);
    assert_int_equal(q.framing, HTTP_FRAMING_NONE);
    const struct row length = {.open = true, .fields = {POST, PATH, F("content-length", "7")}};
    assert_int_equal(request_of(&head, &length, &q), 0);
    assert_int_equal(q.framing, HTTP_FRAMING_LENGTH);
    assert_int_equal(q.content_length, 7);
    h2_head_fini(&head);
}

static void a_websocket_is_the_get_that_asks_for_it(void **state)
{
    (void)state;
    struct h2_head head;
    struct http_request q;
    const struct row row = {.open = true,
                            .fields = {WEBSOCKET, F("sec-websocket-key", "mine"),
                                       F("sec-websocket-accept", "x"),
                                       F("sec-websocket-version", "13")}};
    h2_head_init(&head, &H1_LIMITS_DEFAULT);
    assert_int_equal(request_of(&head, &row, &q), HTTP_REJECT_NONE);
    assert_int_equal(q.method, HTTP_METHOD_GET);
    assert_true(slice_eq(q.upgrade, SLICE("websocket")));
    assert_int_equal(q.framing, HTTP_FRAMING_NONE);
    assert_int_equal(q.header_count, 2); // host and the version
    assert_true(slice_eq(q.headers[1].name, SLICE("sec-websocket-version")));
    // The next one on the connection is none.
    const struct row get = {.fields = {GET, PATH, F("sec-websocket-key", "mine")}};
    assert_int_equal(request_of(&head, &get, &q), HTTP_REJECT_NONE);
    assert_null(q.upgrade.ptr);
    assert_int_equal(q.header_count, 2);
    h2_head_fini(&head);
}

static void crumbs_of_cookies_are_one_field(void **state)
{
    (void)state;
    struct h2_head head;
    struct http_request q;
    const struct row row = {.fields = {GET, PATH, F("cookie", "a=1"), F("x", "y"),
                                       F("cookie", "b=2"), F("cookie", "c=3")}};
    h2_head_init(&head, &H1_LIMITS_DEFAULT);
    assert_int_equal(request_of(&head, &row, &q), HTTP_REJECT_NONE);
    size_t cookies = 0;
    for (size_t i = 0; i < q.header_count; i++) {
        if (slice_ieq(q.headers[i].name, SLICE("cookie"))) {
            assert_true(slice_eq(q.headers[i].value, SLICE("a=1; b=2; c=3")));
            cookies++;
        }
    }
    assert_int_equal(cookies, 1);
    h2_head_fini(&head);
}

static void the_path_is_normalised_as_in_http_1(void **state)
{
    (void)state;
    struct h2_head head;
    struct http_request q;
    const struct row row = {.fields = {GET, F(":path", "/a/./b/../c%41?x=%20")}};
    h2_head_init(&head, &H1_LIMITS_DEFAULT);
    assert_int_equal(request_of(&head, &row, &q), HTTP_REJECT_NONE);
    assert_true(slice_eq(q.path, SLICE("/a/cA")));
    assert_true(slice_eq(q.query, SLICE("x=%20")));
    assert_true(slice_eq(q.host, SLICE("a.example")));
    h2_head_fini(&head);
}

// ---- limits -------------------------------------------------------------------------------------

static enum http_reject with_fields(size_t count, const char *name, size_t value_len)
{
    static char value[1024];
    struct h2_head head;
    struct http_header headers[SMALL_HEADERS];
    struct http_request q;
    memset(value, 'v', sizeof(value));
    h2_head_init(&head, &small);
    h2_head_reset(&head, H2_REQUEST);
    const struct field pseudo[FIELDS_MAX] = {GET, PATH};
    add_all(&head, pseudo);
    for (size_t i = 0; i < count; i++) {
        h2_head_add(&head, slice_of_str(name), slice_of(value, value_len));
    }
    enum http_reject reject = h2_head_request(&head, true, headers, &q);
    h2_head_fini(&head);
    return reject;
}

static void sizes_are_limited(void **state)
{
    (void)state;
    assert_int_equal(with_fields(SMALL_HEADERS - 1, "x", 1), HTTP_REJECT_NONE); // and the host
    assert_int_equal(with_fields(SMALL_HEADERS, "x", 1), HTTP_REJECT_TOO_MANY_HEADERS);
    assert_int_equal(with_fields(100000, "x", 1), HTTP_REJECT_TOO_MANY_HEADERS);
    assert_int_equal(with_fields(2, "x", 200), HTTP_REJECT_NONE);
    assert_int_equal(with_fields(2, "x", 300), HTTP_REJECT_HEADERS_TOO_LARGE);
    assert_int_equal(with_fields(1, "x", 1000), HTTP_REJECT_HEADERS_TOO_LARGE);
    assert_int_equal(with_fields(20, "cookie", 10), HTTP_REJECT_NONE); // one field
    assert_int_equal(with_fields(2, "cookie", 300), HTTP_REJECT_HEADERS_TOO_LARGE);
    assert_int_equal(with_fields(100000, "cookie", 0), HTTP_REJECT_HEADERS_TOO_LARGE);
}

static void a_long_pseudo_field_is_refused(void **state)
{
    (void)state;
    static char path[2000];
    struct h2_head head;
    struct http_header headers[SMALL_HEADERS];
    struct http_request q;
    memset(path, '/', sizeof(path));
    const size_t lengths[] = {150, 2000};
    const enum http_reject reasons[] = {HTTP_REJECT_URI_TOO_LONG, HTTP_REJECT_HEADERS_TOO_LARGE};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        const struct field before[FIELDS_MAX] = {GET};
        h2_head_init(&head, &small);
        h2_head_reset(&head, H2_REQUEST);
        add_all(&head, before);
        h2_head_add(&head, SLICE(":path"), slice_of(path, lengths[i]));
        assert_int_equal(h2_head_request(&head, true, headers, &q), reasons[i]);
        h2_head_fini(&head);
    }
}

// ---- the other way ------------------------------------------------------------------------------

static void assert_field(const nghttp2_nv *field, const char *name, const char *value)
{
    struct slice n = slice_of((const char *)field->name, field->namelen);
    struct slice v = slice_of((const char *)field->value, field->valuelen);
    if (!slice_eq_str(n, name) || !slice_eq_str(v, value)) {
        fail_msg("\"%.*s: %.*s\" is not \"%s: %s\"", SLICE_FMT(n), SLICE_FMT(v), name, value);
    }
}

static void fields_of_a_request(void **state)
{
    (void)state;
    char text[] = "POST /v1/x?y HTTP/1.1\r\nHost: a.example\r\nX-Mine:  b \r\nTE: trailers\r\n"
                  "Connection: te\r\nTransfer-Encoding: chunked\r\nKeep-Alive: 5\r\n"
                  "Upgrade: x\r\nProxy-Connection: y\r\nEmpty:\r\n\r\n";
    nghttp2_nv fields[10];
    assert_int_equal(h2_fields_of_request(text, sizeof(text) - 1, SLICE("https"), SLICE_NULL,
                                          fields, 10),
                     7);
    assert_field(&fields[0], ":method", "POST");
    assert_field(&fields[1], ":scheme", "https");
    assert_field(&fields[2], ":authority", "a.example");
    assert_field(&fields[3], ":path", "/v1/x?y");
    assert_field(&fields[4], "x-mine", "b");
    assert_field(&fields[5], "te", "trailers");
    assert_field(&fields[6], "empty", "");
}

static void fields_of_an_upgrade(void **state)
{
    (void)state;
    char text[] = "GET /v1/x HTTP/1.1\r\nhost: a\r\nSec-WebSocket-Key: abc\r\n"
                  "Sec-WebSocket-Version: 13\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    nghttp2_nv fields[10];
    assert_int_equal(h2_fields_of_request(text, sizeof(text) - 1, SLICE("http"),
                                          SLICE("websocket"), fields, 10),
                     6);
    assert_field(&fields[0], ":method", "CONNECT");
    assert_field(&fields[3], ":path", "/v1/x");
    assert_field(&fields[4], ":protocol", "websocket");
    assert_field(&fields[5], "sec-websocket-version", "13");
    char again[] = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    assert_int_equal(h2_fields_of_request(again, sizeof(again) - 1, SLICE("http"),
                                          SLICE("websocket"), fields, 4),
                     0);
}

static void fields_of_a_response_and_of_trailers(void **state)
{
    (void)state;
    char text[] = "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n";
    char lines[] = "Grpc-Status: 0\r\nX: y\r\n";
    nghttp2_nv fields[10];
    assert_int_equal(h2_fields_of_response(text, sizeof(text) - 1, fields, 10), 2);
    assert_field(&fields[0], ":status", "200");
    assert_field(&fields[1], "content-type", "a/b");
    assert_int_equal(h2_fields_of_trailers(lines, sizeof(lines) - 1, fields, 10), 2);
    assert_field(&fields[0], "grpc-status", "0");
    assert_field(&fields[1], "x", "y");
}

static void more_fields_than_fit_are_none(void **state)
{
    (void)state;
    char request[] = "GET / HTTP/1.1\r\nhost: a\r\nx: 1\r\ny: 2\r\n\r\n";
    char response[] = "HTTP/1.1 200 OK\r\nx: 1\r\ny: 2\r\n\r\n";
    nghttp2_nv fields[10];
    assert_int_equal(h2_fields_of_request(request, sizeof(request) - 1, SLICE("http"),
                                          SLICE_NULL, fields, 6),
                     6);
    assert_int_equal(h2_fields_of_request(request, sizeof(request) - 1, SLICE("http"),
                                          SLICE_NULL, fields, 5),
                     0);
    assert_int_equal(h2_fields_of_request(request, sizeof(request) - 1, SLICE("http"),
                                          SLICE_NULL, fields, 3),
                     0);
    assert_int_equal(h2_fields_of_response(response, sizeof(response) - 1, fields, 2), 0);
    assert_int_equal(h2_fields_of_response(response, 5, fields, 10), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_by_table),
        cmocka_unit_test(responses_by_table),
        cmocka_unit_test(a_head_may_tell_a_length_without_payload),
        cmocka_unit_test(framing_follows_the_end_of_the_stream),
        cmocka_unit_test(a_websocket_is_the_get_that_asks_for_it),
        cmocka_unit_test(crumbs_of_cookies_are_one_field),
        cmocka_unit_test(the_path_is_normalised_as_in_http_1),
        cmocka_unit_test(sizes_are_limited),
        cmocka_unit_test(a_long_pseudo_field_is_refused),
        cmocka_unit_test(fields_of_a_request),
        cmocka_unit_test(fields_of_an_upgrade),
        cmocka_unit_test(fields_of_a_response_and_of_trailers),
        cmocka_unit_test(more_fields_than_fit_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
