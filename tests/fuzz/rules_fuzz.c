// What clients send to the features of rules: cookies, origins and the lists of preflights, paths
// of redirects. What is said again must be safe to be said again.
#include <stdlib.h>

#include "endpoint/affinity.h"
#include "http/cookie.h"
#include "http/cors.h"
#include "http/redirect.h"

static void must(bool holds)
{
    if (!holds) {
        abort();
    }
}

static bool is_clean(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '\r' || text.ptr[i] == '\n' || text.ptr[i] == '\0') {
            return false;
        }
    }
    return true;
}

static void try_cookies(struct slice text)
{
    const struct http_header field = {.name = SLICE("cookie"), .value = text};
    struct slice value = cookie_find(&field, 1, SLICE("s"));
    must(value.ptr == NULL ||
         (value.ptr >= text.ptr && value.ptr + value.len <= text.ptr + text.len));
    static const struct endpoint_set none;
    const struct siphash_key key = {{1, 2}};
    must(affinity_find(&none, &key, text) == NULL);
}

static void try_cors(struct slice text)
{
    struct cors_origin origins[] = {cors_origin_parse(SLICE("https://*.example.com")),
                                    cors_origin_parse(SLICE("https://a.org"))};
    const struct cors_policy policy = {.origins = origins,
                                       .origin_count = 2,
                                       .any_method = true,
                                       .any_header = true,
                                       .credentials = true,
                                       .methods = SLICE("GET"),
                                       .max_age = SLICE("1")};
    const struct cors_question questions[] = {
        {.origin = text, .method = SLICE("GET")},
        {.origin = SLICE("https://a.org"), .method = text, .headers = text},
    };
    struct cors_fields fields;
    for (size_t q = 0; q < ARRAY_LEN(questions); q++) {
        cors_preflight(&policy, &questions[q], &fields);
        for (size_t i = 0; i < fields.count; i++) {
            must(is_clean(fields.items[i].value));
        }
    }
    cors_answer(&policy, text, &fields);
    must(fields.count == 1 || (is_clean(text) && slice_find_byte(text, '/') == 6));
}

// A path and an authority as the codec lets them through: the first without line ends, beginning
// with a slash; the second of harmless characters.
static void try_redirect(struct slice text)
{
    static const struct slice prefixes[] = {SLICE("/a"), SLICE("/a/b")};
    const struct redirect redirect = {
        .scheme = SLICE("https"),
        .path = {.type = PATH_CHANGE_PREFIX,
                 .value = SLICE("/"),
                 .prefixes = prefixes,
                 .prefix_count = 2},
    };
    if (text.len == 0 || text.ptr[0] != '/' || !is_clean(text)) {
        return;
    }
    const struct slice authorities[] = {SLICE(""), SLICE("a.org:80"), SLICE("[::1]")};
    for (size_t i = 0; i < ARRAY_LEN(authorities); i++) {
        const struct redirect_from from = {
            .scheme = SLICE("http"), .authority = authorities[i], .path = text};
        struct strbuf out;
        strbuf_init(&out, text.len + 64);
        redirect_write(&redirect, &from, &out);
        must(!out.failed && is_clean(strbuf_slice(&out)));
        if (i == 0) { // never another host
            must(out.ptr[0] == '/' && (out.len == 1 || (out.ptr[1] != '/' && out.ptr[1] != '\\')));
        }
        strbuf_fini(&out);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = malloc(size != 0 ? size : 1); // so that reads beyond the end are seen
    must(copy != NULL);
    memcpy(copy, data, size);
    struct slice text = slice_of(copy, size);
    try_cookies(text);
    try_cors(text);
    try_redirect(text);
    free(copy);
    return 0;
}
