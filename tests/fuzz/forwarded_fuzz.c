// Any values of the forwarded fields and of the trace context, one a line. What is written for a
// trusted peer reads as the same client.
#include <stdlib.h>

#include "http/forwarded.h"
#include "http/traceparent.h"

#define CHECK(cond) BUG_ON(!(cond))

enum { HEADERS_MAX = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t cut(struct slice text, struct http_header *headers)
{
    static const struct slice names[] = {
        SLICE("x-forwarded-for"), SLICE("forwarded"), SLICE("x-forwarded-proto"),
        SLICE("x-forwarded-host"), SLICE("traceparent"), SLICE("tracestate"),
    };
    size_t count = 0;
    struct slice line;
    while (count < HEADERS_MAX && slice_split(&text, '\n', &line)) {
        if (line.len == 0) {
            continue;
        }
        struct slice name = names[(unsigned char)line.ptr[0] % ARRAY_LEN(names)];
        headers[count++] = (struct http_header){.name = name,
                                                .value = slice_trim(slice_skip(line, 1)),
                                                .token = (uint16_t)http_token_find(name)};
    }
    return count;
}

static void check_again(const struct forwarded *from, const struct cidr_list *trusted)
{
    struct forwarded_fields fields;
    struct arena arena;
    arena_init(&arena, 0, 0);
    forwarded_write(from, &arena, &fields);
    CHECK(fields.forwarded_for.ptr != NULL && fields.forwarded.ptr != NULL);
    struct http_header headers[] = {
        {.value = fields.forwarded_for, .token = HTTP_TOKEN_X_FORWARDED_FOR},
        {.value = fields.forwarded, .token = HTTP_TOKEN_FORWARDED},
    };
    struct forwarded again;
    struct ip peer;
    CHECK(ip_parse(SLICE("10.0.0.2"), &peer) == 0);
    forwarded_read(headers, 2, &peer, trusted, SLICE("http"), SLICE(""), &again);
    CHECK(from->count == FORWARDED_HOPS_MAX || ip_eq(&again.hops[0], &from->hops[0]));
    CHECK(slice_eq(again.scheme, from->scheme) || from->count > 1);
    arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_header headers[HEADERS_MAX];
    struct cidr_list trusted = {.count = 0};
    struct forwarded from;
    struct ip peer;
    bool pass;
    char *copy = malloc(size > 0 ? size : 1);
    CHECK(copy != NULL);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    size_t count = cut(slice_of(copy, size), headers);
    CHECK(cidr_list_add(&trusted, SLICE("10.0.0.0/8"), NULL) == 0);
    CHECK(ip_parse(SLICE("10.0.0.1"), &peer) == 0);
    forwarded_read(headers, count, &peer, &trusted, SLICE("http"), SLICE("a"), &from);
    CHECK(from.count >= 1 && from.count <= FORWARDED_HOPS_MAX);
    CHECK(ip_eq(&from.hops[from.count - 1], &peer));
    check_again(&from, &trusted);
    struct slice parent = traceparent_find(headers, count, &pass);
    CHECK(parent.ptr != NULL || !pass);
    CHECK(parent.ptr == NULL || parent.len >= TRACEPARENT_LEN);
    cidr_list_fini(&trusted);
    free(copy);
    return 0;
}
