#include "http/h1.h"

#include "http/h1_fields.h"
#include "http/h1_scan.h"
#include "http/h1_target.h"

enum { METHOD_MAX = 32 };

static inline ptrdiff_t refuse(enum http_reject reason)
{
    return -(ptrdiff_t)reason;
}

// The head is not complete in `len` bytes.
static ptrdiff_t need_more(size_t len, const struct h1_limits *limits)
{
    return len >= limits->max_head_bytes ? refuse(HTTP_REJECT_HEADERS_TOO_LARGE) : 0;
}

// Whether the part that was not seen yet can complete the head: it holds an empty line, ended with
// or without CR (the parser will refuse the latter).
static bool may_be_complete(const char *buf, size_t len, size_t seen)
{
    if (seen < 4) {
        return true;
    }
    const char *p = buf + seen - 3;
    const char *end = buf + len;
    while (p < end && (p = memchr(p, '\n', (size_t)(end - p))) != NULL) {
        p++;
        if (p < end && (*p == '\n' || (*p == '\r' && p + 1 < end && p[1] == '\n'))) {
            return true;
        }
    }
    return false;
}

static enum http_method method_of(struct slice text)
{
    switch (text.len) {
    case 3:
        return memcmp(text.ptr, "GET", 3) == 0   ? HTTP_METHOD_GET
               : memcmp(text.ptr, "PUT", 3) == 0 ? HTTP_METHOD_PUT
                                                 : HTTP_METHOD_OTHER;
    case 4:
        return memcmp(text.ptr, "POST", 4) == 0   ? HTTP_METHOD_POST
               : memcmp(text.ptr, "HEAD", 4) == 0 ? HTTP_METHOD_HEAD
                                                  : HTTP_METHOD_OTHER;
    case 5:
        return memcmp(text.ptr, "PATCH", 5) == 0 ? HTTP_METHOD_PATCH : HTTP_METHOD_OTHER;
    case 6:
        return memcmp(text.ptr, "DELETE", 6) == 0 ? HTTP_METHOD_DELETE : HTTP_METHOD_OTHER;
    case 7:
        return memcmp(text.ptr, "OPTIONS", 7) == 0 ? HTTP_METHOD_OPTIONS : HTTP_METHOD_OTHER;
    default:
        return HTTP_METHOD_OTHER;
    }
}

// Methods are case-sensitive (RFC 9110 section 9.1), but not to every server: one that takes "head"
// for HEAD or "connect" for CONNECT frames its answer in another way than we would. TRACE would
// show the client what was added on the way.
static enum http_reject check_method(struct slice text)
{
    static const struct slice known[] = {
        {"GET", 3},   {"HEAD", 4},   {"POST", 4},    {"PUT", 3},   {"DELETE", 6},
        {"PATCH", 5}, {"TRACE", 5}, {"CONNECT", 7}, {"OPTIONS", 7},
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (slice_ieq(text, known[i]) && !slice_eq(text, known[i])) {
            return HTTP_REJECT_METHOD;
        }
    }
    if (slice_eq(text, SLICE("CONNECT"))) {
        return HTTP_REJECT_UPGRADE_UNSUPPORTED;
    }
    return slice_eq(text, SLICE("TRACE")) ? HTTP_REJECT_METHOD_UNSUPPORTED : HTTP_REJECT_NONE;
}

// "HTTP/1.x" at p, of which `len` bytes are there. > 0: consumed; 0: more; < 0: refused. HTTP/1.2
// and later minor versions do not exist, so whoever claims one is not to be trusted.
static ptrdiff_t parse_version(const char *p, size_t len, uint8_t *ret_minor)
{
    static const char name[] = "HTTP/";
    size_t known = len < 5 ? len : 5;
    if (memcmp(p, name, known) != 0) {
        return refuse(HTTP_REJECT_VERSION);
    }
    if (len < 8) {
        return 0;
    }
    if (p[5] < '0' || p[5] > '9' || p[6] != '.' || p[7] < '0' || p[7] > '9') {
        return refuse(HTTP_REJECT_VERSION);
    }
    if (p[5] != '1' || p[7] > '1') {
        return refuse(HTTP_REJECT_VERSION_UNSUPPORTED);
    }
    *ret_minor = (uint8_t)(p[7] - '0');
    return 8;
}

// CR LF at p; `other` is the reason when something else stands there.
static ptrdiff_t parse_line_end(const char *p, const char *end, enum http_reject other)
{
    if (p == end || (*p == '\r' && p + 1 == end)) {
        return 0;
    }
    if (*p == '\n') {
        return refuse(HTTP_REJECT_BARE_LF);
    }
    return *p == '\r' && p[1] == '\n' ? 2 : refuse(other);
}

struct request_line {
    struct slice method;
    char *target;
    size_t target_len;
    uint8_t minor_version;
};

// A byte that ends the method or the target where SP was due.
static ptrdiff_t refuse_line_byte(char c, enum http_reject reason)
{
    return refuse(c == '\n' ? HTTP_REJECT_BARE_LF : c == '\r' ? HTTP_REJECT_REQUEST_LINE : reason);
}

static ptrdiff_t parse_request_line(char *buf, char *end, const struct h1_limits *limits,
                                    struct request_line *ret_line)
{
    char *p = buf;
    struct request_line line;
    while (p < end && (h1_class_of(*p) & H1_TCHAR) != 0) {
        p++;
    }
    line.method = slice_of(buf, (size_t)(p - buf));
    if (line.method.len > METHOD_MAX) {
        return refuse(HTTP_REJECT_METHOD);
    }
    if (p == end) {
        return 0;
    }
    if (*p != ' ' || line.method.len == 0) {
        return refuse_line_byte(*p, HTTP_REJECT_METHOD);
    }
    line.target = ++p;
    // What exactly may stand in a target is checked with its form.
    while (p < end && *p != 0x7f && ' ' < *p) {
        p++;
    }
    line.target_len = (size_t)(p - line.target);
    if (line.target_len > limits->max_target_bytes) {
        return refuse(HTTP_REJECT_URI_TOO_LONG);
    }
    if (p == end) {
        return 0;
    }
    if (*p != ' ' || line.target_len == 0) {
        return refuse_line_byte(*p, *p == ' ' ? HTTP_REJECT_REQUEST_LINE : HTTP_REJECT_TARGET);
    }
    p++;
    ptrdiff_t used = parse_version(p, (size_t)(end - p), &line.minor_version);
    if (used <= 0) {
        return used;
    }
    p += used;
    used = parse_line_end(p, end, HTTP_REJECT_VERSION);
    if (used <= 0) {
        return used;
    }
    *ret_line = line;
    return p + used - buf;
}

// Host against the authority of an absolute form (RFC 9112 section 3.2.2, 3.2.3). Sets authority
// and host.
static enum http_reject check_authority(const struct h1_target *target,
                                        const struct h1_fields *fields,
                                        struct http_request *request)
{
    struct h1_authority host = {.port = 0};
    struct h1_authority own;
    if (fields->host.ptr != NULL && !h1_authority_parse(fields->host, &host)) {
        return HTTP_REJECT_HOST_INVALID;
    }
    if (fields->host.ptr == NULL && request->minor_version > 0) {
        return HTTP_REJECT_HOST_MISSING;
    }
    if (target->authority.ptr == NULL) {
        request->authority = fields->host;
        request->host = host.host;
        return HTTP_REJECT_NONE;
    }
    if (!h1_authority_parse(target->authority, &own)) {
        return HTTP_REJECT_TARGET;
    }
    if (fields->host.ptr != NULL) {
        uint32_t usual = target->is_https ? 443 : 80;
        uint32_t port = own.port != 0 ? own.port : usual;
        uint32_t host_port = host.port != 0 ? host.port : usual;
        if (port != host_port || !slice_ieq(own.host, host.host)) {
            return HTTP_REJECT_HOST_INVALID;
        }
    }
    request->authority = target->authority;
    request->host = own.host;
    return HTTP_REJECT_NONE;
}

static enum http_reject check_expect(const struct h1_fields *fields, struct http_request *request)
{
    // RFC 9110 section 10.1.1: ignored in HTTP/1.0.
    if (fields->expect.ptr == NULL || request->minor_version == 0) {
        return HTTP_REJECT_NONE;
    }
    if (!slice_ieq(fields->expect, SLICE("100-continue"))) {
        return HTTP_REJECT_EXPECT;
    }
    request->expect_continue =
        request->framing == HTTP_FRAMING_CHUNKED || request->content_length > 0;
    return HTTP_REJECT_NONE;
}

static bool is_persistent(const struct h1_fields *fields, unsigned minor_version)
{
    return !fields->connection_close && (minor_version > 0 || fields->connection_keep_alive);
}

// Only WebSocket. Others stay unanswered, as RFC 9110 section 7.8 allows: h2c above all would carry
// requests past us that nobody looked at. A body could be taken for the new protocol's bytes.
static struct slice upgrade_asked(const struct h1_fields *fields,
                                  const struct http_request *request)
{
    bool fine = fields->connection_upgrade && !fields->upgrade_repeated &&
                slice_ieq(fields->upgrade, SLICE("websocket")) && request->minor_version > 0 &&
                request->method == HTTP_METHOD_GET && request->framing == HTTP_FRAMING_NONE;
    return fine ? fields->upgrade : SLICE_NULL;
}

static enum http_reject interpret_request(const struct h1_target *target, struct h1_fields *fields,
                                          struct http_header *headers, struct http_request *request)
{
    bool chunked = false;
    enum http_reject reason = h1_fields_framing(fields, request->minor_version, &chunked);
    if (reason == HTTP_REJECT_NONE) {
        reason = check_authority(target, fields, request);
    }
    if (reason == HTTP_REJECT_NONE) {
        reason = h1_fields_connection(headers, fields);
    }
    if (reason != HTTP_REJECT_NONE) {
        return reason;
    }
    request->framing = chunked                      ? HTTP_FRAMING_CHUNKED
                       : fields->has_content_length ? HTTP_FRAMING_LENGTH
                                                    : HTTP_FRAMING_NONE;
    request->content_length = fields->has_content_length ? fields->content_length : 0;
    request->keep_alive = is_persistent(fields, request->minor_version);
    request->upgrade = upgrade_asked(fields, request);
    request->headers = headers;
    request->header_count = fields->count;
    return check_expect(fields, request);
}

static void lower_in_place(char *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        p[i] = (char)(p[i] >= 'A' && p[i] <= 'Z' ? p[i] | 0x20 : p[i]);
    }
}

// Everything was accepted: only now is the buffer changed.
static void finish_request(char *buf, const struct h1_target *target, struct http_request *request)
{
    bool was_shorter = false;
    if (request->host.len > 0) {
        lower_in_place(buf + (request->host.ptr - buf), request->host.len);
    }
    request->path = h1_target_normalise(target);
    request->query = target->query;
    was_shorter = target->path != NULL && request->path.ptr != target->path;
    if (was_shorter && target->authority.ptr == NULL) {
        request->target = slice_skip(request->target, (size_t)(request->path.ptr - target->path));
    }
}

ptrdiff_t h1_parse_request(char *buf, size_t len, size_t seen, const struct h1_limits *limits,
                           struct http_header *headers, struct http_request *ret_request)
{
    size_t limit = len < limits->max_head_bytes ? len : limits->max_head_bytes;
    char *p = buf;
    char *end = buf + limit;
    struct request_line line;
    struct h1_target target;
    struct h1_fields fields;
    if (!may_be_complete(buf, limit, seen)) {
        return need_more(limit, limits);
    }
    if (limit > 0 && *p == '\r') {
        ptrdiff_t skipped = parse_line_end(p, end, HTTP_REJECT_METHOD);
        if (skipped <= 0) {
            return skipped;
        }
        p += skipped;
    }
    ptrdiff_t used = parse_request_line(p, end, limits, &line);
    if (used <= 0) {
        return used == 0 ? need_more(limit, limits) : used;
    }
    p += used;
    struct http_request request = {
        .method = method_of(line.method),
        .method_text = line.method,
        .target = slice_of(line.target, line.target_len),
        .minor_version = line.minor_version,
    };
    enum http_reject reason = request.method == HTTP_METHOD_OTHER ? check_method(line.method)
                                                                  : HTTP_REJECT_NONE;
    if (reason == HTTP_REJECT_NONE) {
        reason = h1_target_parse(line.target, line.target_len, request.method, &target);
    }
    if (reason != HTTP_REJECT_NONE) {
        return refuse(reason);
    }
    used = h1_fields_parse(p, end, limits->max_headers, headers, &fields);
    if (used <= 0) {
        return used == 0 ? need_more(limit, limits) : used;
    }
    p += used;
    reason = interpret_request(&target, &fields, headers, &request);
    if (reason != HTTP_REJECT_NONE) {
        return refuse(reason);
    }
    finish_request(buf, &target, &request);
    *ret_request = request;
    return p - buf;
}

// "HTTP/1.1 200 OK". The space after the status is missing on real servers; the reason is free
// text.
static ptrdiff_t parse_status_line(const char *buf, const char *end, struct http_response *response)
{
    const char *p = buf;
    ptrdiff_t used = parse_version(p, (size_t)(end - p), &response->minor_version);
    if (used <= 0) {
        return used;
    }
    p += used;
    for (int i = 0; i < 4; i++) {
        if (p + i == end) {
            return 0;
        }
        if (i == 0 ? p[i] != ' ' : p[i] < '0' || p[i] > '9') {
            return refuse(HTTP_REJECT_STATUS_LINE);
        }
    }
    response->status = (unsigned)((p[1] - '0') * 100 + (p[2] - '0') * 10 + (p[3] - '0'));
    if (response->status < 100 || response->status > 599) {
        return refuse(HTTP_REJECT_STATUS_LINE);
    }
    p += 4;
    if (p == end) {
        return 0;
    }
    if (*p == ' ') {
        const char *stop = h1_scan_value(p + 1, end);
        response->reason = slice_of(p + 1, (size_t)(stop - p - 1));
        p = stop;
    }
    used = parse_line_end(p, end, HTTP_REJECT_STATUS_LINE);
    return used <= 0 ? used : p + used - buf;
}

// RFC 9112 section 6.3.
static enum http_reject interpret_response(struct h1_fields *fields, struct http_header *headers,
                                           enum http_method request_method,
                                           struct http_response *response)
{
    bool chunked = false;
    enum http_reject reason = h1_fields_framing(fields, response->minor_version, &chunked);
    if (reason == HTTP_REJECT_NONE) {
        reason = h1_fields_connection(headers, fields);
    }
    if (reason != HTTP_REJECT_NONE) {
        return reason;
    }
    bool without_body = response->status < 200 || response->status == 204;
    response->keep_alive = is_persistent(fields, response->minor_version);
    response->content_length = fields->has_content_length ? fields->content_length : 0;
    response->headers = headers;
    response->header_count = fields->count;
    if (without_body || response->status == 304 || request_method == HTTP_METHOD_HEAD) {
        response->framing = HTTP_FRAMING_NONE;
        // A server that announces a body where there is none may send it, too, and a little later:
        // it would be read as the next answer. To HEAD and 304 it may be announced, but not every
        // server knows that it must not come: a connection is cheaper than to find out.
        if (chunked || response->content_length > 0) {
            response->keep_alive = false;
        }
    } else if (chunked) {
        response->framing = HTTP_FRAMING_CHUNKED;
    } else if (fields->has_content_length) {
        response->framing = HTTP_FRAMING_LENGTH;
    } else {
        response->framing = HTTP_FRAMING_CLOSE;
        response->keep_alive = false;
    }
    return HTTP_REJECT_NONE;
}

// What a 101 must say; `asked` with ptr NULL: nothing was asked for.
static enum http_reject check_switch(const struct h1_fields *fields, struct slice asked,
                                     const struct http_response *response)
{
    bool fine = asked.ptr != NULL && response->minor_version > 0 && fields->connection_upgrade &&
                !fields->upgrade_repeated && slice_ieq(fields->upgrade, asked) &&
                fields->transfer_encoding.ptr == NULL && response->content_length == 0;
    return fine ? HTTP_REJECT_NONE : HTTP_REJECT_UPGRADE_UNSUPPORTED;
}

static ptrdiff_t parse_response(char *buf, size_t len, size_t seen, const struct h1_limits *limits,
                                enum http_method request_method, struct slice asked,
                                struct http_header *headers, struct http_response *ret_response)
{
    size_t limit = len < limits->max_head_bytes ? len : limits->max_head_bytes;
    const char *p = buf;
    const char *end = buf + limit;
    struct http_response response = {.status = 0};
    struct h1_fields fields;
    if (!may_be_complete(buf, limit, seen)) {
        return need_more(limit, limits);
    }
    ptrdiff_t used = parse_status_line(p, end, &response);
    if (used <= 0) {
        return used == 0 ? need_more(limit, limits) : used;
    }
    p += used;
    if (response.status == 101 && asked.ptr == NULL) {
        return refuse(HTTP_REJECT_UPGRADE_UNSUPPORTED);
    }
    used = h1_fields_parse(p, end, limits->max_headers, headers, &fields);
    if (used <= 0) {
        return used == 0 ? need_more(limit, limits) : used;
    }
    p += used;
    enum http_reject reason = interpret_response(&fields, headers, request_method, &response);
    if (reason == HTTP_REJECT_NONE && response.status == 101) {
        reason = check_switch(&fields, asked, &response);
    }
    if (reason != HTTP_REJECT_NONE) {
        return refuse(reason);
    }
    *ret_response = response;
    return p - buf;
}

ptrdiff_t h1_parse_response(char *buf, size_t len, size_t seen, const struct h1_limits *limits,
                            enum http_method request_method, struct http_header *headers,
                            struct http_response *ret_response)
{
    return parse_response(buf, len, seen, limits, request_method, SLICE_NULL, headers,
                          ret_response);
}

ptrdiff_t h1_parse_upgrade_response(char *buf, size_t len, size_t seen,
                                    const struct h1_limits *limits, struct slice asked,
                                    struct http_header *headers, struct http_response *ret_response)
{
    return parse_response(buf, len, seen, limits, HTTP_METHOD_GET, asked, headers, ret_response);
}
