#include "http/h1_target.h"

#include <arpa/inet.h>

#include "http/h1.h"
#include "http/h1_scan.h"

enum { HOST_MAX = 255 };

// "%XX": the byte, or -1 when malformed.
static int decode_percent(const char *p, const char *end)
{
    if (end - p < 3) {
        return -1;
    }
    int high = h1_hex_value(p[1]);
    int low = h1_hex_value(p[2]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

// How many dots the segment is made of ('.' and "%2e" alike), or 0 when it is an ordinary one.
static unsigned dots_of(const char *p, const char *end)
{
    unsigned dots = 0;
    while (p < end) {
        if (*p == '.') {
            p++;
        } else if (*p == '%' && decode_percent(p, end) == '.') {
            p += 3;
        } else {
            return 0;
        }
        dots++;
    }
    return dots <= 2 ? dots : 0;
}

static const char *segment_end(const char *p, const char *end)
{
    const char *slash = memchr(p, '/', (size_t)(end - p));
    return slash != NULL ? slash : end;
}

// Percent-encoding is well-formed and hides no control character, and no ".." climbs over the root.
static bool path_is_sound(const char *p, const char *end)
{
    for (const char *at = p; at < end; at++) {
        if (*at == '%') {
            int byte = decode_percent(at, end);
            if (byte < 0x20 || byte == 0x7f) {
                return false;
            }
        }
    }
    size_t depth = 0;
    while (p < end) {
        const char *stop = segment_end(p + 1, end);
        unsigned dots = dots_of(p + 1, stop);
        if (dots == 2 && depth-- == 0) {
            return false;
        }
        depth += dots == 0;
        p = stop;
    }
    return true;
}

static bool query_is_sound(struct slice query)
{
    for (size_t i = 0; i < query.len; i++) {
        if (query.ptr[i] == '%' && decode_percent(query.ptr + i, query.ptr + query.len) < 0) {
            return false;
        }
    }
    return true;
}

// Cuts path and query out of [p, end), which begins with '/' or '?' or is empty.
static enum http_reject parse_path(char *p, char *end, struct h1_target *target)
{
    char *at = p;
    unsigned seen = 0;
    while (at < end && (h1_class_of(*at) & H1_PATH) != 0) {
        seen |= h1_class_of(*at);
        at++;
    }
    if (at > p) {
        target->path = p;
        target->path_len = (size_t)(at - p);
        target->needs_normalising = (seen & H1_NOT_PLAIN) != 0;
    }
    if (at < end) {
        if (*at != '?') {
            return HTTP_REJECT_TARGET;
        }
        at++;
        target->query = slice_of(at, (size_t)(end - at));
        bool has_percent = false;
        for (; at < end; at++) {
            if ((h1_class_of(*at) & H1_QUERY) == 0) {
                return HTTP_REJECT_TARGET;
            }
            has_percent |= *at == '%';
        }
        if (has_percent && !query_is_sound(target->query)) {
            return HTTP_REJECT_TARGET;
        }
    }
    if (target->needs_normalising && !path_is_sound(p, p + target->path_len)) {
        return HTTP_REJECT_PATH;
    }
    return HTTP_REJECT_NONE;
}

static enum http_reject parse_absolute(char *p, char *end, struct h1_target *target)
{
    size_t len = (size_t)(end - p);
    if (len > 7 && slice_ieq(slice_of(p, 7), SLICE("http://"))) {
        p += 7;
    } else if (len > 8 && slice_ieq(slice_of(p, 8), SLICE("https://"))) {
        p += 8;
        target->is_https = true;
    } else {
        return HTTP_REJECT_TARGET;
    }
    char *at = p;
    while (at < end && *at != '/' && *at != '?') {
        at++;
    }
    target->authority = slice_of(p, (size_t)(at - p));
    return parse_path(at, end, target);
}

enum http_reject h1_target_parse(char *target, size_t len, enum http_method method,
                                 struct h1_target *ret_target)
{
    struct h1_target parsed = {.path = NULL};
    enum http_reject reason = HTTP_REJECT_NONE;
    if (len == 0) {
        return HTTP_REJECT_TARGET;
    }
    if (target[0] == '/') {
        reason = parse_path(target, target + len, &parsed);
    } else if (len == 1 && target[0] == '*') {
        parsed.is_asterisk = true;
        reason = method == HTTP_METHOD_OPTIONS ? HTTP_REJECT_NONE : HTTP_REJECT_TARGET;
    } else {
        reason = parse_absolute(target, target + len, &parsed);
    }
    if (reason == HTTP_REJECT_NONE) {
        *ret_target = parsed;
    }
    return reason;
}

// Copies a segment to `out` (out <= p): unreserved characters decoded, other escapes in upper case.
static char *copy_segment(char *out, const char *p, const char *end)
{
    static const char digits[] = "0123456789ABCDEF";
    while (p < end) {
        if (*p != '%') {
            *out++ = *p++;
            continue;
        }
        int byte = decode_percent(p, end);
        p += 3;
        if ((h1_class[byte] & H1_UNRESERVED) != 0) {
            *out++ = (char)byte;
        } else {
            *out++ = '%';
            *out++ = digits[byte >> 4];
            *out++ = digits[byte & 15];
        }
    }
    return out;
}

struct slice h1_path_decode(struct slice path, char *out)
{
    if (out == NULL) {
        return SLICE_NULL;
    }
    const char *end = path.ptr + path.len;
    size_t len = 0;
    for (const char *p = path.ptr; p < end; len++) {
        int byte = *p == '%' ? decode_percent(p, end) : -1;
        out[len] = byte >= 0 ? (char)byte : *p;
        p += byte >= 0 ? 3 : 1;
    }
    return slice_of(out, len);
}

struct slice h1_target_normalise(const struct h1_target *target)
{
    if (target->is_asterisk) {
        return SLICE("*");
    }
    if (target->path == NULL) {
        return SLICE("/");
    }
    if (!target->needs_normalising) {
        return slice_of(target->path, target->path_len);
    }
    char *out = target->path;
    const char *p = target->path;
    const char *end = target->path + target->path_len;
    while (p < end) { // *p == '/'
        const char *stop = segment_end(p + 1, end);
        unsigned dots = dots_of(p + 1, stop);
        if (dots == 2) {
            do {
                out--;
            } while (*out != '/');
        }
        if (dots == 0 || stop == end) {
            *out++ = '/';
        }
        if (dots == 0) {
            out = copy_segment(out, p + 1, stop);
        }
        p = stop;
    }
    size_t len = (size_t)(out - target->path);
    char *start = target->path + (target->path_len - len);
    memmove(start, target->path, len);
    return slice_of(start, len);
}

static bool ipv6_is_valid(struct slice text)
{
    char copy[INET6_ADDRSTRLEN];
    struct in6_addr address;
    if (text.len >= sizeof copy) {
        return false;
    }
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    return strlen(copy) == text.len && inet_pton(AF_INET6, copy, &address) == 1;
}

static bool parse_port(struct slice text, uint32_t *ret_port)
{
    // RFC 3986 section 3.2.3 allows an empty port.
    uint32_t port = 0;
    if (text.len > 5) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') {
            return false;
        }
        port = port * 10 + (uint32_t)(text.ptr[i] - '0');
    }
    if (port > 65535 || (text.len > 0 && port == 0)) {
        return false;
    }
    *ret_port = port;
    return true;
}

bool h1_authority_parse(struct slice text, struct h1_authority *ret_authority)
{
    struct h1_authority parsed = {.port = 0};
    struct slice rest;
    if (text.len > 0 && text.ptr[0] == '[') {
        ptrdiff_t close = slice_find_byte(text, ']');
        if (close < 0) {
            return false;
        }
        parsed.host = slice_of(text.ptr + 1, (size_t)close - 1);
        rest = slice_skip(text, (size_t)close + 1);
        if (!ipv6_is_valid(parsed.host)) {
            return false;
        }
    } else {
        size_t len = 0;
        while (len < text.len && (h1_class_of(text.ptr[len]) & H1_HOST) != 0) {
            len++;
        }
        parsed.host = slice_first(text, len);
        rest = slice_skip(text, len);
        // The root's dot says nothing that matters here, and would defeat matching.
        if (len > 1 && text.ptr[len - 1] == '.') {
            parsed.host.len--;
        }
        if (parsed.host.len == 0 || parsed.host.len > HOST_MAX) {
            return false;
        }
    }
    if (rest.len > 0 && (rest.ptr[0] != ':' || !parse_port(slice_skip(rest, 1), &parsed.port))) {
        return false;
    }
    *ret_authority = parsed;
    return true;
}
