#include "http/cookie.h"

static struct slice unquoted(struct slice value)
{
    bool quoted = value.len >= 2 && value.ptr[0] == '"' && value.ptr[value.len - 1] == '"';
    return quoted ? slice_of(value.ptr + 1, value.len - 2) : value;
}

static struct slice find_in(struct slice list, struct slice name)
{
    struct slice pair;
    while (slice_split(&list, ';', &pair)) {
        pair = slice_trim(pair);
        if (pair.len > name.len && pair.ptr[name.len] == '=' && slice_has_prefix(pair, name)) {
            return unquoted(slice_skip(pair, name.len + 1));
        }
    }
    return SLICE_NULL;
}

struct slice cookie_find(const struct http_header *headers, size_t count, struct slice name)
{
    struct slice value = SLICE_NULL;
    for (size_t i = 0; i < count && value.ptr == NULL; i++) {
        if (slice_ieq(headers[i].name, SLICE("cookie"))) {
            value = find_in(headers[i].value, name);
        }
    }
    return value;
}
