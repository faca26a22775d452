#include "http/cors.h"

enum { ORIGIN_MAX = 300, REQUEST_HEADERS_MAX = 4096 };

struct cors_origin cors_origin_parse(struct slice text)
{
    ptrdiff_t star = slice_find_byte(text, '*');
    if (star < 0) {
        return (struct cors_origin){.head = text, .tail = SLICE("")};
    }
    return (struct cors_origin){.head = slice_first(text, (size_t)star),
                                .tail = slice_skip(text, (size_t)star + 1),
                                .is_wildcard = true};
}

// One or more labels of a host name, as browsers write them.
static bool is_labels(struct slice text)
{
    char before = '.';
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
        if (!plain && (c != '.' || before == '.')) {
            return false;
        }
        before = c;
    }
    return before != '.';
}

static bool fits(const struct cors_origin *allowed, struct slice origin)
{
    if (!allowed->is_wildcard) {
        return slice_eq(allowed->head, origin);
    }
    size_t around = allowed->head.len + allowed->tail.len;
    if (origin.len <= around || !slice_has_prefix(origin, allowed->head) ||
        !slice_has_suffix(origin, allowed->tail)) {
        return false;
    }
    return is_labels(slice_of(origin.ptr + allowed->head.len, origin.len - around));
}

bool cors_allows(const struct cors_policy *policy, struct slice origin)
{
    if (policy->any_origin) {
        return true;
    }
    if (origin.len == 0 || origin.len > ORIGIN_MAX) {
        return false;
    }
    for (size_t i = 0; i < policy->origin_count; i++) {
        if (fits(&policy->origins[i], origin)) {
            return true;
        }
    }
    return false;
}

static void add(struct cors_fields *fields, struct slice name, struct slice value)
{
    BUG_ON(fields->count == CORS_FIELDS_MAX);
    fields->items[fields->count++] = (struct http_header){.name = name, .value = value};
}

static void add_origin(const struct cors_policy *policy, struct slice origin,
                       struct cors_fields *fields)
{
    add(fields, SLICE("access-control-allow-origin"), policy->any_origin ? SLICE("*") : origin);
    if (policy->credentials) {
        add(fields, SLICE("access-control-allow-credentials"), SLICE("true"));
    }
}

void cors_answer(const struct cors_policy *policy, struct slice origin, struct cors_fields *ret)
{
    ret->count = 0;
    if (origin.ptr != NULL && cors_allows(policy, origin)) {
        add_origin(policy, origin, ret);
        if (policy->expose.len != 0) {
            add(ret, SLICE("access-control-expose-headers"), policy->expose);
        }
    }
    if (!policy->any_origin) {
        add(ret, SLICE("vary"), SLICE("origin")); // also of an answer that has nothing of it
    }
}

bool cors_question_read(const struct http_header *headers, size_t count, struct cors_question *ret)
{
    const struct http_header *origin = http_header_find_name(headers, count, SLICE("origin"));
    const struct http_header *method =
        http_header_find_name(headers, count, SLICE("access-control-request-method"));
    const struct http_header *names =
        http_header_find_name(headers, count, SLICE("access-control-request-headers"));
    if (origin == NULL || method == NULL) {
        return false;
    }
    *ret = (struct cors_question){.origin = origin->value,
                                  .method = method->value,
                                  .headers = names != NULL ? names->value : SLICE_NULL};
    return true;
}

static bool is_token_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

// A list of names that can be said again as it came.
static bool is_name_list(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (!is_token_char(c) && c != ',' && c != ' ') {
            return false;
        }
    }
    return text.len != 0 && text.len <= REQUEST_HEADERS_MAX;
}

static bool is_token(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (!is_token_char(text.ptr[i])) {
            return false;
        }
    }
    return text.len != 0 && text.len <= 64;
}

void cors_preflight(const struct cors_policy *policy, const struct cors_question *question,
                    struct cors_fields *ret)
{
    ret->count = 0;
    if (cors_allows(policy, question->origin)) {
        bool echo_method = policy->any_method && is_token(question->method);
        bool echo_headers = policy->any_header && is_name_list(question->headers);
        struct slice headers = echo_headers ? question->headers : policy->headers;
        add_origin(policy, question->origin, ret);
        add(ret, SLICE("access-control-allow-methods"),
            echo_method ? question->method : policy->methods);
        if (headers.len != 0) {
            add(ret, SLICE("access-control-allow-headers"), headers);
        }
        add(ret, SLICE("access-control-max-age"), policy->max_age);
    }
    add(ret, SLICE("vary"),
        SLICE("origin, access-control-request-method, access-control-request-headers"));
}

bool cors_owns(struct slice name)
{
    struct slice prefix = SLICE("access-control-");
    return name.len > prefix.len && slice_ieq(slice_first(name, prefix.len), prefix);
}
