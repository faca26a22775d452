#include "proxy/input.h"

#include <stdlib.h>
#include <string.h>

// Slices of the parsed head point into the receive buffer: move them to the copy.
static void rebase(struct slice *s, const char *from, size_t len, char *to)
{
    if (s->ptr != NULL && s->ptr >= from && s->ptr <= from + len) {
        s->ptr = to + (s->ptr - from);
    }
}

static void rebase_head(struct http_request *own, const char *from, size_t len, char *to)
{
    rebase(&own->method_text, from, len, to);
    rebase(&own->target, from, len, to);
    rebase(&own->path, from, len, to);
    rebase(&own->query, from, len, to);
    rebase(&own->host, from, len, to);
    rebase(&own->authority, from, len, to);
    rebase(&own->upgrade, from, len, to);
    for (size_t i = 0; i < own->header_count; i++) {
        rebase(&own->headers[i].name, from, len, to);
        rebase(&own->headers[i].value, from, len, to);
    }
}

bool input_adopt(struct request *request, const struct http_request *head, const char *buf,
                 size_t head_len, size_t body_len)
{
    size_t table = head->header_count * sizeof(struct http_header);
    size_t size = table + head_len + body_len + 1;
    request->input = malloc(size);
    if (request->input == NULL) {
        return false;
    }
    request->input_size = size;
    char *copy = request->input + table;
    memcpy(copy, buf, head_len + body_len);
    request->head = *head;
    request->head.headers = (struct http_header *)(void *)request->input;
    if (table != 0) {
        memcpy(request->input, head->headers, table);
    }
    rebase_head(&request->head, buf, head_len, copy);
    request->body_inline = slice_of(copy + head_len, body_len);
    return true;
}

bool input_copy(struct request *copy, const struct request *from)
{
    copy->input = malloc(from->input_size);
    if (copy->input == NULL) {
        return false;
    }
    copy->input_size = from->input_size;
    memcpy(copy->input, from->input, from->input_size);
    copy->head = from->head;
    copy->head.headers = (struct http_header *)(void *)copy->input;
    rebase_head(&copy->head, from->input, from->input_size, copy->input);
    copy->body_inline = from->body_inline;
    rebase(&copy->body_inline, from->input, from->input_size, copy->input);
    strbuf_init(&copy->body, from->body.len + 1);
    if (from->body.len != 0) {
        strbuf_add(&copy->body, strbuf_slice(&from->body));
    }
    return !copy->body.failed;
}
