#include "http/h1_fields.h"

#include "http/h1_scan.h"

// A Connection header names a handful of headers at most; each name is compared with every header.
enum { MAX_CONNECTION_OPTIONS = 32 };

static inline ptrdiff_t refuse(enum http_reject reason)
{
    return -(ptrdiff_t)reason;
}

static struct slice trim_value(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t')) {
        p++;
    }
    while (end > p && (end[-1] == ' ' || end[-1] == '\t')) {
        end--;
    }
    return slice_of(p, (size_t)(end - p));
}

// One header line. Returns the bytes consumed, 0 for more, or -reason. *ret_classes: what kinds of
// bytes the name has (enum h1_class).
static inline ptrdiff_t parse_line(const char *p, const char *end, struct http_header *header,
                                   unsigned *ret_classes)
{
    const char *at = p;
    unsigned classes = 0;
    while (at < end && (h1_class_of(*at) & H1_TCHAR) != 0) {
        classes |= h1_class_of(*at);
        at++;
    }
    *ret_classes = classes;
    if (at == end) {
        return 0;
    }
    if (*at != ':') {
        if (*at == '\n') {
            return refuse(HTTP_REJECT_BARE_LF);
        }
        if (at == p && (*at == ' ' || *at == '\t')) {
            return refuse(HTTP_REJECT_OBS_FOLD);
        }
        // White space before the colon is the classic of RFC 9112 section 5.1.
        return refuse(*at == ' ' || *at == '\t' || *at == '\r' ? HTTP_REJECT_HEADER_SYNTAX
                                                               : HTTP_REJECT_HEADER_NAME);
    }
    if (at == p) {
        return refuse(HTTP_REJECT_HEADER_NAME);
    }
    header->name = slice_of(p, (size_t)(at - p));
    const char *value = at + 1;
    const char *stop = h1_scan_value(value, end);
    if (stop == end || (*stop == '\r' && stop + 1 == end)) {
        return 0;
    }
    if (*stop == '\n') {
        return refuse(HTTP_REJECT_BARE_LF);
    }
    if (*stop != '\r' || stop[1] != '\n') {
        return refuse(HTTP_REJECT_HEADER_VALUE);
    }
    header->value = trim_value(value, stop);
    return stop + 2 - p;
}

// Takes note of the headers that matter to the protocol itself.
static enum http_reject note_header(const struct http_header *header, struct h1_fields *fields)
{
    switch ((enum http_token)header->token) {
    case HTTP_TOKEN_HOST:
        if (fields->host.ptr != NULL) {
            return HTTP_REJECT_HOST_INVALID;
        }
        fields->host = header->value;
        break;
    case HTTP_TOKEN_CONTENT_LENGTH:
        // Also when both say the same: RFC 9112 section 6.3 lets a recipient refuse, and a list in
        // one field is no number.
        if (fields->has_content_length ||
            slice_to_u64(header->value, &fields->content_length) != 0 ||
            fields->content_length > INT64_MAX) {
            return HTTP_REJECT_CONTENT_LENGTH;
        }
        fields->has_content_length = true;
        break;
    case HTTP_TOKEN_TRANSFER_ENCODING:
        if (fields->transfer_encoding.ptr != NULL) {
            return HTTP_REJECT_TRANSFER_ENCODING;
        }
        fields->transfer_encoding = header->value;
        break;
    case HTTP_TOKEN_EXPECT:
        if (fields->expect.ptr != NULL) {
            return HTTP_REJECT_EXPECT;
        }
        fields->expect = header->value;
        break;
    case HTTP_TOKEN_CONNECTION:
        fields->has_connection = true;
        break;
    case HTTP_TOKEN_UPGRADE:
        fields->upgrade_repeated = fields->upgrade.ptr != NULL;
        fields->upgrade = header->value;
        break;
    default:
        break;
    }
    return HTTP_REJECT_NONE;
}

// CGI and its heirs (WSGI, Rack, PHP) see Content_Length and Content-Length as one name: whoever
// sends the former for a name that we interpret wants the two of us to disagree.
static bool is_look_alike(struct slice name)
{
    char plain[32];
    if (name.len > sizeof plain) {
        return false;
    }
    for (size_t i = 0; i < name.len; i++) {
        plain[i] = (char)(name.ptr[i] == '_' ? '-' : name.ptr[i]);
    }
    return http_token_find(slice_of(plain, name.len)) != HTTP_TOKEN_UNKNOWN;
}

ptrdiff_t h1_fields_parse(const char *p, const char *end, size_t max_headers,
                          struct http_header *headers, struct h1_fields *ret_fields)
{
    const char *start = p;
    struct h1_fields fields = {.count = 0};
    for (;;) {
        if (p == end || (*p == '\r' && p + 1 == end)) {
            return 0;
        }
        if (*p == '\r') {
            if (p[1] != '\n') {
                return refuse(HTTP_REJECT_HEADER_SYNTAX);
            }
            *ret_fields = fields;
            return p + 2 - start;
        }
        struct http_header header;
        unsigned classes;
        ptrdiff_t used = parse_line(p, end, &header, &classes);
        if (used <= 0) {
            return used;
        }
        if (fields.count == max_headers) {
            return refuse(HTTP_REJECT_TOO_MANY_HEADERS);
        }
        enum http_token token = http_token_find(header.name);
        header.token = (uint16_t)token;
        header.drop = (classes & H1_UNDERSCORE) != 0 && is_look_alike(header.name);
        if (token != HTTP_TOKEN_UNKNOWN) {
            header.drop = http_token_is_hop_by_hop(token);
            enum http_reject reason = note_header(&header, &fields);
            if (reason != HTTP_REJECT_NONE) {
                return refuse(reason);
            }
        }
        headers[fields.count++] = header;
        p += used;
    }
}

// Whether a Connection option may take a header away. The headers of the table are ours or the
// server's to interpret, and cookies carry the caller's identity: a client that strips them behind
// the back of whoever checks them attacks ("hop-by-hop header abuse").
static bool may_be_dropped(const struct http_header *header)
{
    return header->token == HTTP_TOKEN_UNKNOWN && !slice_ieq(header->name, SLICE("cookie")) &&
           !slice_ieq(header->name, SLICE("set-cookie")) &&
           !slice_ieq(header->name, SLICE("cache-control"));
}

static void drop_named(struct http_header *headers, size_t count, struct slice name)
{
    for (size_t i = 0; i < count; i++) {
        if (slice_ieq(headers[i].name, name) && may_be_dropped(&headers[i])) {
            headers[i].drop = true;
        }
    }
}

enum http_reject h1_fields_connection(struct http_header *headers, struct h1_fields *fields)
{
    unsigned options = 0;
    if (!fields->has_connection) {
        return HTTP_REJECT_NONE;
    }
    for (size_t i = 0; i < fields->count; i++) {
        if (headers[i].token != HTTP_TOKEN_CONNECTION) {
            continue;
        }
        struct slice rest = headers[i].value;
        struct slice option;
        while (slice_split(&rest, ',', &option)) {
            option = slice_trim(option);
            if (++options > MAX_CONNECTION_OPTIONS) {
                return HTTP_REJECT_TOO_MANY_HEADERS;
            }
            if (slice_ieq(option, SLICE("close"))) {
                fields->connection_close = true;
            } else if (slice_ieq(option, SLICE("keep-alive"))) {
                fields->connection_keep_alive = true;
            } else if (slice_ieq(option, SLICE("upgrade"))) {
                fields->connection_upgrade = true;
            } else if (option.len > 0) {
                drop_named(headers, fields->count, option);
            }
        }
    }
    return HTTP_REJECT_NONE;
}

static bool is_token(struct slice s)
{
    return s.len > 0 && h1_token_length(s) == s.len;
}

// Only a single "chunked" is understood. 501 is for what is well-formed but unknown.
static enum http_reject check_codings(struct slice value)
{
    bool chunked = false;
    bool unknown = false;
    struct slice coding;
    if (slice_ieq(value, SLICE("chunked"))) {
        return HTTP_REJECT_NONE;
    }
    while (slice_split(&value, ',', &coding)) {
        ptrdiff_t semicolon = slice_find_byte(coding, ';');
        struct slice name = semicolon >= 0 ? slice_first(coding, (size_t)semicolon) : coding;
        name = slice_trim(name);
        if (!is_token(name) || chunked) {
            return HTTP_REJECT_TRANSFER_ENCODING;
        }
        if (!slice_ieq(name, SLICE("chunked"))) {
            unknown = true;
        } else if (semicolon >= 0) {
            return HTTP_REJECT_TRANSFER_ENCODING;
        } else {
            chunked = true;
        }
    }
    return unknown ? HTTP_REJECT_TRANSFER_ENCODING_UNKNOWN : HTTP_REJECT_TRANSFER_ENCODING;
}

enum http_reject h1_fields_framing(const struct h1_fields *fields, unsigned minor_version,
                                   bool *ret_chunked)
{
    if (fields->transfer_encoding.ptr == NULL) {
        *ret_chunked = false;
        return HTTP_REJECT_NONE;
    }
    if (fields->has_content_length) {
        return HTTP_REJECT_LENGTH_AND_CHUNKED;
    }
    if (minor_version == 0) {
        return HTTP_REJECT_TRANSFER_ENCODING;
    }
    enum http_reject reason = check_codings(fields->transfer_encoding);
    if (reason == HTTP_REJECT_NONE) {
        *ret_chunked = true;
    }
    return reason;
}
