#include "load/url.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>

static const struct {
    struct slice name;
    const char *path;
} apis[] = {
    [LOAD_API_CHAT] = {SLICE("chat"), "/chat/completions"},
    [LOAD_API_COMPLETIONS] = {SLICE("completions"), "/completions"},
    [LOAD_API_EMBEDDINGS] = {SLICE("embeddings"), "/embeddings"},
};

int load_api_parse(struct slice text, enum load_api *ret_api)
{
    for (size_t i = 0; i < ARRAY_LEN(apis); i++) {
        if (slice_eq(text, apis[i].name)) {
            *ret_api = (enum load_api)i;
            return 0;
        }
    }
    return -EINVAL;
}

const char *load_api_text(enum load_api api)
{
    return apis[api].name.ptr;
}

// Everything in it ends up in a request line or a header.
static bool is_plain(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] <= ' ' || text.ptr[i] > '~' || text.ptr[i] == '"') {
            return false;
        }
    }
    return true;
}

static int parse_authority(struct slice authority, struct load_url *url)
{
    struct slice host = authority, port = SLICE_NULL;
    if (authority.len > 0 && authority.ptr[0] == '[') { // RFC 3986 section 3.2.2
        ptrdiff_t end = slice_find_byte(authority, ']');
        if (end < 0) {
            return -EINVAL;
        }
        host = slice_of(authority.ptr + 1, (size_t)end - 1);
        port = slice_skip(authority, (size_t)end + 1);
        if (port.len > 0 && port.ptr[0] != ':') {
            return -EINVAL;
        }
    } else {
        ptrdiff_t colon = slice_find_byte(authority, ':');
        if (colon >= 0) {
            host = slice_first(authority, (size_t)colon);
            port = slice_skip(authority, (size_t)colon);
        }
    }
    uint64_t number = 80;
    if (port.len > 0 &&
        (slice_to_u64(slice_skip(port, 1), &number) != 0 || number == 0 || number > 65535)) {
        return -EINVAL;
    }
    if (host.len == 0 || host.len >= sizeof(url->host) ||
        authority.len >= sizeof(url->authority)) {
        return -EINVAL;
    }
    snprintf(url->host, sizeof(url->host), "%.*s", SLICE_FMT(host));
    snprintf(url->authority, sizeof(url->authority), "%.*s", SLICE_FMT(authority));
    url->port = (uint16_t)number;
    return 0;
}

int load_url_parse(struct slice text, enum load_api api, struct load_url *ret_url,
                   struct error *err)
{
    if (slice_has_prefix(text, SLICE("https://"))) {
        return error_set(err, -EINVAL, "%.*s: https is not supported, use http://",
                         SLICE_FMT(text));
    }
    if (!slice_has_prefix(text, SLICE("http://")) || !is_plain(text)) {
        return error_set(err, -EINVAL, "\"%.*s\" is not a URL of the form http://host:port/path",
                         SLICE_FMT(text));
    }
    struct slice rest = slice_skip(text, 7);
    ptrdiff_t slash = slice_find_byte(rest, '/');
    struct slice authority = slash >= 0 ? slice_first(rest, (size_t)slash) : rest;
    struct slice path = slice_skip(rest, authority.len);
    struct load_url url = {.port = 80};
    if (slice_find_byte(text, '#') >= 0 || slice_find_byte(authority, '@') >= 0 ||
        slice_find_byte(authority, '?') >= 0 || parse_authority(authority, &url) != 0) {
        return error_set(err, -EINVAL, "%.*s: the host or port cannot be used", SLICE_FMT(text));
    }
    if (slice_has_suffix(path, SLICE("/"))) {
        path.len--;
    }
    const char *prefix = path.len == 0 ? "/v1" : "";
    bool is_base = path.len == 0 || slice_has_suffix(path, SLICE("/v1"));
    int n = snprintf(url.path, sizeof(url.path), "%.*s%s%s", SLICE_FMT(path), prefix,
                     is_base ? apis[api].path : "");
    if (n < 0 || (size_t)n >= sizeof(url.path)) {
        return error_set(err, -EINVAL, "%.*s: the path is too long", SLICE_FMT(text));
    }
    *ret_url = url;
    return 0;
}

int load_url_resolve(const struct load_url *url, struct load_addresses *ret_addresses,
                     struct error *err)
{
    char port[8];
    snprintf(port, sizeof(port), "%u", url->port);
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(url->host, port, &hints, &found);
    if (rc != 0) {
        return error_set(err, -ENOENT, "cannot resolve %s: %s", url->host, gai_strerror(rc));
    }
    struct load_addresses addresses = {.len = 0};
    for (struct addrinfo *at = found; at != NULL && addresses.len < LOAD_ADDRESSES_MAX;
         at = at->ai_next) {
        memcpy(&addresses.items[addresses.len], at->ai_addr, at->ai_addrlen);
        addresses.lens[addresses.len++] = at->ai_addrlen;
    }
    freeaddrinfo(found);
    if (addresses.len == 0) {
        return error_set(err, -ENOENT, "%s has no address", url->host);
    }
    *ret_addresses = addresses;
    return 0;
}
