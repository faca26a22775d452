#include "http/trailers.h"

enum { FORBIDDEN_MAX = 32 };

// Every name that begins so. Content-*: length, encoding, type, range and what comes after them.
static const struct slice forbidden_families[] = {
    SLICE("content-"), SLICE("if-"),  SLICE("proxy-"), SLICE("x-forwarded-"),
    SLICE("access-control-"), SLICE("sec-"),
};

// Besides those that are hop-by-hop.
static const struct slice forbidden_names[] = {
    SLICE("age"),           SLICE("alt-svc"),          SLICE("authorization"),
    SLICE("cache-control"), SLICE("cookie"),           SLICE("date"),
    SLICE("expect"),        SLICE("expires"),          SLICE("forwarded"),
    SLICE("host"),          SLICE("location"),         SLICE("max-forwards"),
    SLICE("pragma"),        SLICE("range"),            SLICE("retry-after"),
    SLICE("server"),        SLICE("set-cookie"),       SLICE("strict-transport-security"),
    SLICE("traceparent"),   SLICE("tracestate"),       SLICE("vary"),
    SLICE("via"),           SLICE("warning"),          SLICE("www-authenticate"),
    SLICE("x-real-ip"),     SLICE("x-request-id"),     SLICE("origin"),
    SLICE("user-agent"),
};

static bool is_forbidden(struct slice plain)
{
    if (http_token_is_hop_by_hop(http_token_find(plain))) {
        return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(forbidden_families); i++) {
        if (slice_has_prefix(plain, forbidden_families[i])) {
            return true;
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(forbidden_names); i++) {
        if (slice_eq(plain, forbidden_names[i])) {
            return true;
        }
    }
    return false;
}

bool trailers_may_pass(struct slice name)
{
    char plain[FORBIDDEN_MAX];
    size_t len = MIN_OF(name.len, sizeof(plain)); // what is cut off can only follow a family
    for (size_t i = 0; i < len; i++) {
        char c = name.ptr[i];
        plain[i] = (char)(c == '_' ? '-' : c >= 'A' && c <= 'Z' ? c | 0x20 : c);
    }
    return name.len > 0 && !is_forbidden(slice_of(plain, len));
}

ptrdiff_t trailers_parse(struct slice section, struct http_header *headers, size_t max)
{
    size_t count = 0;
    while (section.len > 0) {
        ptrdiff_t end = slice_find(section, SLICE("\r\n"));
        ptrdiff_t colon = end > 0 ? slice_find_byte(slice_first(section, (size_t)end), ':') : -1;
        if (colon <= 0) {
            return -(ptrdiff_t)HTTP_REJECT_TRAILER;
        }
        if (count == max) {
            return -(ptrdiff_t)HTTP_REJECT_TOO_MANY_HEADERS;
        }
        struct slice name = slice_first(section, (size_t)colon);
        struct slice value = slice_of(section.ptr + colon + 1, (size_t)(end - colon - 1));
        headers[count++] = (struct http_header){.name = name,
                                                .value = slice_trim(value),
                                                .token = (uint16_t)http_token_find(name),
                                                .drop = !trailers_may_pass(name)};
        section = slice_skip(section, (size_t)end + 2);
    }
    return (ptrdiff_t)count;
}
