#include "http/h2_head.h"

#include <string.h>

#include "http/h1_scan.h"

// Every field of a head costs more in HTTP/1 text than in its section: colon, space, line end.
// TEXT_EXTRA: besides the fields, whose sum is checked as they come; so only memory can be short.
enum { START_LINE_EXTRA = 64, FIELD_EXTRA = 4, TEXT_EXTRA = 256, KEPT = 4096 };

void h2_head_init(struct h2_head *head, const struct h1_limits *limits)
{
    *head = (struct h2_head){.limits = limits};
    size_t max = limits->max_head_bytes;
    strbuf_init(&head->pseudo, max + TEXT_EXTRA);
    strbuf_init(&head->text, 2 * max + TEXT_EXTRA); // what the parser refuses must fit
    strbuf_init(&head->cookie, max + TEXT_EXTRA);
}

void h2_head_fini(struct h2_head *head)
{
    strbuf_fini(&head->pseudo);
    strbuf_fini(&head->text);
    strbuf_fini(&head->cookie);
}

void h2_head_reset(struct h2_head *head, enum h2_section section)
{
    static const struct slice_at none = {0};
    head->section = section;
    head->reject = HTTP_REJECT_NONE;
    head->method = head->scheme = head->authority = head->path = none;
    head->protocol = head->status = none;
    head->count = 0;
    head->begun = false;
    head->has_length = false;
    head->has_cookie = false;
    head->connects = false;
    head->no_memory = false;
    strbuf_reset(&head->pseudo);
    strbuf_reset(&head->text);
    strbuf_reset(&head->cookie);
}

void h2_head_release(struct h2_head *head)
{
    struct strbuf *const parts[] = {&head->pseudo, &head->text, &head->cookie};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        if (parts[i]->cap > KEPT) {
            strbuf_fini(parts[i]);
        }
    }
}

static struct slice pseudo_of(const struct h2_head *head, const struct slice_at *at)
{
    return at->present ? slice_of(head->pseudo.ptr + at->at, at->len) : SLICE_NULL;
}

static void check_memory(struct h2_head *head)
{
    if (head->pseudo.failed || head->text.failed || head->cookie.failed) {
        head->reject = HTTP_REJECT_HEADERS_TOO_LARGE;
        head->no_memory = true;
    }
}

static void set_pseudo(struct h2_head *head, struct slice_at *at, struct slice value)
{
    if (at->present || head->begun) {
        head->reject = HTTP_REJECT_HEADER_SYNTAX; // RFC 9113 section 8.3: once, and first
        return;
    }
    if (head->pseudo.len + value.len > head->limits->max_head_bytes) {
        head->reject = HTTP_REJECT_HEADERS_TOO_LARGE;
        return;
    }
    *at = (struct slice_at){
        .at = (uint32_t)head->pseudo.len, .len = (uint32_t)value.len, .present = true};
    strbuf_add(&head->pseudo, value);
    // An empty value needs an address, too.
    strbuf_add_char(&head->pseudo, '\0');
    check_memory(head);
}

static void add_pseudo(struct h2_head *head, struct slice name, struct slice value)
{
    if (head->section == H2_REQUEST && slice_eq(name, SLICE(":method"))) {
        set_pseudo(head, &head->method, value);
    } else if (head->section == H2_REQUEST && slice_eq(name, SLICE(":scheme"))) {
        set_pseudo(head, &head->scheme, value);
    } else if (head->section == H2_REQUEST && slice_eq(name, SLICE(":authority"))) {
        set_pseudo(head, &head->authority, value);
    } else if (head->section == H2_REQUEST && slice_eq(name, SLICE(":path"))) {
        set_pseudo(head, &head->path, value);
    } else if (head->section == H2_REQUEST && slice_eq(name, SLICE(":protocol"))) {
        set_pseudo(head, &head->protocol, value);
    } else if (head->section == H2_RESPONSE && slice_eq(name, SLICE(":status"))) {
        set_pseudo(head, &head->status, value);
    } else {
        head->reject = HTTP_REJECT_HEADER_NAME;
    }
}

static bool is_clean(struct slice value)
{
    const char *end = value.ptr + value.len;
    return h1_scan_value(value.ptr, end) == end;
}

// A target may hold no space either: the request line would have one part more.
static enum http_reject check_path(struct slice path)
{
    if (path.len == 0 || (path.ptr[0] != '/' && !slice_eq(path, SLICE("*")))) {
        return HTTP_REJECT_TARGET; // an absolute form would name a second authority
    }
    for (size_t i = 0; i < path.len; i++) {
        if ((unsigned char)path.ptr[i] <= ' ' || path.ptr[i] == 0x7f) {
            return HTTP_REJECT_TARGET;
        }
    }
    return HTTP_REJECT_NONE;
}

// RFC 8441 section 4. Without :protocol it would be a tunnel to wherever :authority says.
static enum http_reject check_connect(const struct h2_head *head)
{
    struct slice protocol = pseudo_of(head, &head->protocol);
    struct slice path = pseudo_of(head, &head->path);
    if (!slice_eq(pseudo_of(head, &head->method), SLICE("CONNECT"))) {
        return protocol.ptr != NULL ? HTTP_REJECT_REQUEST_LINE : HTTP_REJECT_NONE;
    }
    if (protocol.ptr == NULL) {
        return HTTP_REJECT_UPGRADE_UNSUPPORTED;
    }
    if (!slice_ieq(protocol, SLICE("websocket"))) {
        return HTTP_REJECT_PROTOCOL_UNSUPPORTED;
    }
    if (!head->authority.present) {
        return HTTP_REJECT_HOST_MISSING;
    }
    return slice_eq(path, SLICE("*")) ? HTTP_REJECT_TARGET : HTTP_REJECT_NONE;
}

static enum http_reject begin_request(struct h2_head *head)
{
    struct slice method = pseudo_of(head, &head->method);
    struct slice scheme = pseudo_of(head, &head->scheme);
    struct slice authority = pseudo_of(head, &head->authority);
    struct slice path = pseudo_of(head, &head->path);
    enum http_reject reject = check_connect(head);
    if (reject != HTTP_REJECT_NONE) {
        return reject;
    }
    if (method.len == 0 || scheme.ptr == NULL || path.ptr == NULL) {
        return HTTP_REJECT_REQUEST_LINE;
    }
    if (h1_token_length(method) != method.len) {
        return HTTP_REJECT_METHOD;
    }
    if (!slice_eq(scheme, SLICE("http")) && !slice_eq(scheme, SLICE("https"))) {
        return HTTP_REJECT_TARGET;
    }
    reject = check_path(path);
    if (reject == HTTP_REJECT_NONE && authority.ptr != NULL && !is_clean(authority)) {
        reject = HTTP_REJECT_HOST_INVALID;
    }
    if (reject != HTTP_REJECT_NONE) {
        return reject;
    }
    head->connects = head->protocol.present;
    strbuf_add(&head->text, head->connects ? SLICE("GET") : method);
    strbuf_add_char(&head->text, ' ');
    strbuf_add(&head->text, path);
    strbuf_add_str(&head->text, " HTTP/1.1\r\n");
    if (authority.ptr != NULL) {
        h1_write_header(&head->text, SLICE("host"), authority);
    }
    return HTTP_REJECT_NONE;
}

static enum http_reject begin_response(struct h2_head *head)
{
    struct slice status = pseudo_of(head, &head->status);
    if (status.len != 3 || !is_clean(status)) {
        return HTTP_REJECT_STATUS_LINE;
    }
    strbuf_add_str(&head->text, "HTTP/1.1 ");
    strbuf_add(&head->text, status);
    strbuf_add_str(&head->text, " \r\n");
    return HTTP_REJECT_NONE;
}

// The start line goes in front of the first field, when all pseudo-header fields are known.
static void begin_text(struct h2_head *head)
{
    head->begun = true;
    if (head->section == H2_REQUEST) {
        head->reject = begin_request(head);
    } else if (head->section == H2_RESPONSE) {
        head->reject = begin_response(head);
    }
}

static void add_cookie(struct h2_head *head, struct slice value)
{
    if (head->has_cookie) {
        strbuf_add_str(&head->cookie, "; "); // before an empty one, too: none is for nothing
    }
    head->has_cookie = true;
    strbuf_add(&head->cookie, value);
}

// With an extended CONNECT they mean nothing (RFC 8441 section 5), and as HTTP/1 they would: the
// key towards a server is ours.
static bool is_of_the_handshake(struct slice name)
{
    return slice_eq(name, SLICE("sec-websocket-key")) ||
           slice_eq(name, SLICE("sec-websocket-accept"));
}

// RFC 9113 section 8.2.2: these do not exist in HTTP/2. As HTTP/1 they would be framing.
static bool is_connection_specific(enum http_token token)
{
    switch (token) {
    case HTTP_TOKEN_CONNECTION:
    case HTTP_TOKEN_KEEP_ALIVE:
    case HTTP_TOKEN_PROXY_CONNECTION:
    case HTTP_TOKEN_TRANSFER_ENCODING:
    case HTTP_TOKEN_UPGRADE:
        return true;
    default:
        return false;
    }
}

static bool name_is_valid(struct slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        if ((h1_class_of(name.ptr[i]) & H1_TCHAR) == 0 ||
            (name.ptr[i] >= 'A' && name.ptr[i] <= 'Z')) {
            return false;
        }
    }
    return name.len != 0;
}

static bool has_space_around(struct slice value)
{
    return value.len != 0 && (value.ptr[0] == ' ' || value.ptr[0] == '\t' ||
                              value.ptr[value.len - 1] == ' ' || value.ptr[value.len - 1] == '\t');
}

static void add_regular(struct h2_head *head, struct slice name, struct slice value)
{
    enum http_token token = http_token_find(name);
    bool cookie = head->section == H2_REQUEST && slice_eq(name, SLICE("cookie"));
    bool counts = !cookie || !head->has_cookie; // crumbs are one field
    if (!name_is_valid(name)) {
        head->reject = HTTP_REJECT_HEADER_NAME;
    } else if (!is_clean(value) || has_space_around(value)) {
        head->reject = HTTP_REJECT_HEADER_VALUE;
    } else if (is_connection_specific(token)) {
        head->reject = HTTP_REJECT_TRANSFER_ENCODING;
    } else if ((head->count += counts) > head->limits->max_headers) {
        head->reject = HTTP_REJECT_TOO_MANY_HEADERS;
    } else if (head->text.len + head->cookie.len + name.len + value.len + FIELD_EXTRA >
               head->limits->max_head_bytes + START_LINE_EXTRA) {
        head->reject = HTTP_REJECT_HEADERS_TOO_LARGE;
    } else if (token == HTTP_TOKEN_TE && !slice_ieq(value, SLICE("trailers"))) {
        head->reject = HTTP_REJECT_HEADER_VALUE;
    } else if (token == HTTP_TOKEN_HOST && head->authority.present) {
        // The same twice is one; another one is a second authority.
        head->reject = slice_ieq(value, pseudo_of(head, &head->authority))
                           ? HTTP_REJECT_NONE
                           : HTTP_REJECT_HOST_INVALID;
    } else if (head->connects && token == HTTP_TOKEN_CONTENT_LENGTH) {
        head->reject = HTTP_REJECT_CONTENT_LENGTH;
    } else if (cookie) {
        add_cookie(head, value);
    } else if (!head->connects || !is_of_the_handshake(name)) {
        head->has_length = head->has_length || token == HTTP_TOKEN_CONTENT_LENGTH;
        h1_write_header(&head->text, name, value);
    }
    check_memory(head);
}

void h2_head_add(struct h2_head *head, struct slice name, struct slice value)
{
    if (head->reject != HTTP_REJECT_NONE) {
        return;
    }
    if (name.len != 0 && name.ptr[0] == ':') {
        add_pseudo(head, name, value);
        return;
    }
    if (!head->begun) {
        begin_text(head);
    }
    if (head->reject == HTTP_REJECT_NONE) {
        add_regular(head, name, value);
    }
}

static enum http_reject finish_text(struct h2_head *head, bool end)
{
    if (head->reject == HTTP_REJECT_NONE && !head->begun) {
        begin_text(head);
    }
    if (head->reject != HTTP_REJECT_NONE) {
        return head->reject;
    }
    if (head->has_cookie) {
        h1_write_header(&head->text, SLICE("cookie"), strbuf_slice(&head->cookie));
    }
    if (!end && !head->has_length && !head->connects) {
        h1_write_header(&head->text, SLICE("transfer-encoding"), SLICE("chunked"));
    }
    h1_write_end(&head->text);
    check_memory(head);
    return head->reject;
}

// The fields that we write ourselves must not push a message over the limits.
static struct h1_limits wider(const struct h1_limits *limits)
{
    struct h1_limits wide = *limits;
    wide.max_head_bytes += START_LINE_EXTRA;
    return wide;
}

enum http_reject h2_head_request(struct h2_head *head, bool end, struct http_header *headers,
                                 struct http_request *ret_request)
{
    enum http_reject reject = finish_text(head, end);
    if (reject != HTTP_REJECT_NONE) {
        return reject;
    }
    struct h1_limits limits = wider(head->limits);
    ptrdiff_t n =
        h1_parse_request(head->text.ptr, head->text.len, 0, &limits, headers, ret_request);
    if (n < 0) {
        return (enum http_reject)-n;
    }
    if ((size_t)n != head->text.len) {
        return HTTP_REJECT_HEADER_SYNTAX; // cannot be: nothing in it ends a head early
    }
    if (head->connects) {
        ret_request->upgrade = SLICE("websocket");
        return end ? HTTP_REJECT_HTTP2_MESSAGE : HTTP_REJECT_NONE; // of no use to a WebSocket
    }
    // A length that is announced where nothing follows.
    return end && ret_request->content_length != 0 ? HTTP_REJECT_CONTENT_LENGTH : HTTP_REJECT_NONE;
}

enum http_reject h2_head_response(struct h2_head *head, bool end, enum http_method request_method,
                                  struct http_header *headers, struct http_response *ret_response)
{
    enum http_reject reject = finish_text(head, end);
    if (reject != HTTP_REJECT_NONE) {
        return reject;
    }
    struct h1_limits limits = wider(head->limits);
    ptrdiff_t n = h1_parse_response(head->text.ptr, head->text.len, 0, &limits, request_method,
                                    headers, ret_response);
    if (n < 0) {
        return (enum http_reject)-n;
    }
    if ((size_t)n != head->text.len) {
        return HTTP_REJECT_HEADER_SYNTAX;
    }
    if (end && ret_response->framing != HTTP_FRAMING_NONE) {
        if (ret_response->content_length != 0) {
            return HTTP_REJECT_CONTENT_LENGTH;
        }
        ret_response->framing = HTTP_FRAMING_LENGTH;
    }
    return HTTP_REJECT_NONE;
}

// ---- the other way ------------------------------------------------------------------------------

static nghttp2_nv field_of(struct slice name, struct slice value)
{
    return (nghttp2_nv){
        .name = (uint8_t *)(uintptr_t)name.ptr,
        .namelen = name.len,
        .value = (uint8_t *)(uintptr_t)value.ptr,
        .valuelen = value.len,
        .flags = NGHTTP2_NV_FLAG_NONE,
    };
}

// Up to the line's end; *at moves behind it.
static struct slice take_line(char **at, char *end)
{
    char *start = *at;
    char *cr = memchr(start, '\r', (size_t)(end - start));
    char *stop = cr != NULL ? cr : end;
    *at = cr != NULL && cr + 2 <= end ? cr + 2 : end;
    return slice_of(start, (size_t)(stop - start));
}

static void lower_in_place(char *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        p[i] = (char)(p[i] >= 'A' && p[i] <= 'Z' ? p[i] | 0x20 : p[i]);
    }
}

// Header lines from `at` on. Host goes to *ret_host where that is asked for. False: too many.
static bool take_fields(char *at, char *end, nghttp2_nv *fields, size_t *count, size_t max,
                        struct slice *ret_host)
{
    while (at < end) {
        char *start = at;
        struct slice line = take_line(&at, end);
        char *colon = memchr(start, ':', line.len);
        if (colon == NULL) {
            continue; // the empty line
        }
        struct slice name = slice_of(start, (size_t)(colon - start));
        struct slice value = slice_trim(slice_skip(line, name.len + 1));
        enum http_token token = http_token_find(name);
        if (is_connection_specific(token)) {
            continue;
        }
        if (ret_host != NULL && token == HTTP_TOKEN_HOST) {
            *ret_host = value;
            continue;
        }
        if (*count == max) {
            return false;
        }
        lower_in_place(start, name.len);
        fields[*count] = field_of(name, value);
        // What is another each time is of no use in the table of either side.
        if (token == HTTP_TOKEN_X_REQUEST_ID) {
            fields[*count].flags = NGHTTP2_NV_FLAG_NO_INDEX;
        }
        (*count)++;
    }
    return true;
}

// HTTP/2 has no such handshake. Returns the new count.
static size_t drop_handshake(nghttp2_nv *fields, size_t first, size_t count)
{
    size_t kept = first;
    for (size_t i = first; i < count; i++) {
        if (!is_of_the_handshake(slice_of((const char *)fields[i].name, fields[i].namelen))) {
            fields[kept++] = fields[i];
        }
    }
    return kept;
}

size_t h2_fields_of_request(char *text, size_t len, struct slice scheme, struct slice protocol,
                            nghttp2_nv *fields, size_t max)
{
    char *at = text;
    char *end = text + len;
    struct slice line = take_line(&at, end);
    ptrdiff_t first = slice_find_byte(line, ' ');
    bool connects = protocol.ptr != NULL;
    if (first < 0 || max < (connects ? 5 : 4)) {
        return 0;
    }
    struct slice method = slice_first(line, (size_t)first);
    struct slice rest = slice_skip(line, (size_t)first + 1);
    ptrdiff_t second = slice_find_byte(rest, ' ');
    if (second < 0) {
        return 0;
    }
    struct slice host = SLICE("");
    size_t count = connects ? 5 : 4;
    if (!take_fields(at, end, fields, &count, max, &host)) {
        return 0;
    }
    fields[0] = field_of(SLICE(":method"), connects ? SLICE("CONNECT") : method);
    fields[1] = field_of(SLICE(":scheme"), scheme);
    fields[2] = field_of(SLICE(":authority"), host);
    fields[3] = field_of(SLICE(":path"), slice_first(rest, (size_t)second));
    if (connects) {
        fields[4] = field_of(SLICE(":protocol"), protocol);
        count = drop_handshake(fields, 5, count);
    }
    return count;
}

size_t h2_fields_of_response(char *text, size_t len, nghttp2_nv *fields, size_t max)
{
    char *at = text;
    char *end = text + len;
    struct slice line = take_line(&at, end);
    if (line.len < 12 || max < 1) {
        return 0;
    }
    size_t count = 1;
    fields[0] = field_of(SLICE(":status"), slice_of(line.ptr + 9, 3));
    return take_fields(at, end, fields, &count, max, NULL) ? count : 0;
}

size_t h2_fields_of_trailers(char *text, size_t len, nghttp2_nv *fields, size_t max)
{
    size_t count = 0;
    if (len == 0) {
        return 0; // text may be NULL then
    }
    return take_fields(text, text + len, fields, &count, max, NULL) ? count : 0;
}
