#include "http/redirect.h"

static bool begins_with(struct slice path, struct slice prefix)
{
    return slice_has_prefix(path, prefix) &&
           (path.len == prefix.len || path.ptr[prefix.len] == '/');
}

static size_t replaced_length(const struct path_change *change, struct slice path)
{
    size_t longest = 0;
    for (size_t i = 0; i < change->prefix_count; i++) {
        struct slice prefix = change->prefixes[i];
        if (prefix.len > longest && begins_with(path, prefix)) {
            longest = prefix.len;
        }
    }
    return longest;
}

void path_change_write(const struct path_change *change, struct slice path, struct strbuf *out)
{
    switch (change->type) {
    case PATH_CHANGE_NONE:
        strbuf_add(out, path);
        break;
    case PATH_CHANGE_FULL:
        strbuf_add(out, change->value);
        break;
    case PATH_CHANGE_PREFIX: {
        struct slice rest = slice_skip(path, replaced_length(change, path));
        struct slice value = change->value;
        if (rest.len != 0 && value.ptr[value.len - 1] == '/') {
            value.len--; // the rest brings its own
        }
        strbuf_add(out, value);
        strbuf_add(out, rest);
        break;
    }
    }
}

// The length of the host in "host:port", brackets included.
static size_t host_length(struct slice authority)
{
    for (size_t i = authority.len; i > 0; i--) {
        char c = authority.ptr[i - 1];
        if (c == ':') {
            return i - 1;
        }
        if (c < '0' || c > '9') {
            break;
        }
    }
    return authority.len;
}

static bool is_default_port(struct slice scheme, struct slice port)
{
    return slice_eq(port, slice_eq(scheme, SLICE("https")) ? SLICE("443") : SLICE("80"));
}

// False: there is no host to name.
static bool write_origin(const struct redirect *redirect, const struct redirect_from *from,
                         struct strbuf *out)
{
    struct slice scheme = redirect->scheme.len != 0 ? redirect->scheme : from->scheme;
    size_t host_len = host_length(from->authority);
    struct slice host =
        redirect->hostname.len != 0 ? redirect->hostname : slice_first(from->authority, host_len);
    char digits[SLICE_U64_MAX];
    struct slice port = slice_skip(from->authority, host_len + 1);
    if (redirect->port != 0) {
        port = slice_of(digits, slice_print_u64(redirect->port, digits));
    } else if (redirect->scheme.len != 0) {
        port = SLICE("");
    }
    if (host.len == 0) {
        return false;
    }
    strbuf_add(out, scheme);
    strbuf_add(out, SLICE("://"));
    strbuf_add(out, host);
    if (port.len != 0 && !is_default_port(scheme, port)) {
        strbuf_add_char(out, ':');
        strbuf_add(out, port);
    }
    return true;
}

// Browsers take a backslash for a slash.
static bool is_slash(char c)
{
    return c == '/' || c == '\\';
}

static void keep_one_slash(struct strbuf *out, size_t start)
{
    size_t more = 0;
    while (start + more + 1 < out->len && is_slash(out->ptr[start + more + 1])) {
        more++;
    }
    if (more > 0) {
        out->len -= more;
        memmove(out->ptr + start + 1, out->ptr + start + 1 + more, out->len - start - 1);
    }
}

void redirect_write(const struct redirect *redirect, const struct redirect_from *from,
                    struct strbuf *out)
{
    size_t start = out->len;
    bool has_host = write_origin(redirect, from, out);
    path_change_write(&redirect->path, from->path, out);
    if (!has_host) {
        keep_one_slash(out, start);
    }
    if (from->query.ptr != NULL) {
        strbuf_add_char(out, '?');
        strbuf_add(out, from->query);
    }
}
