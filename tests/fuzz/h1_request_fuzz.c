// Any bytes as a request head: no crash, the same verdict however the bytes arrive, and what was
// accepted means the same when it is written anew and read again.
#include <stdlib.h>

#include "http/h1.h"

#define CHECK(cond) BUG_ON(!(cond))

enum { MAX_HEADERS = 16 };
static const struct h1_limits limits = {
    .max_head_bytes = 2048, .max_headers = MAX_HEADERS, .max_target_bytes = 512};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *copy_of(const void *data, size_t size)
{
    char *copy = malloc(size > 0 ? size : 1);
    CHECK(copy != NULL);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    return copy;
}

static bool has_line_byte(struct slice s)
{
    return slice_find_byte(s, '\r') >= 0 || slice_find_byte(s, '\n') >= 0 ||
           slice_find_byte(s, '\0') >= 0;
}

static void check_accepted(const struct http_request *q)
{
    CHECK(q->path.len > 0 && (q->path.ptr[0] == '/' || slice_eq(q->path, SLICE("*"))));
    CHECK(slice_find(q->path, SLICE("/../")) < 0 && slice_find(q->path, SLICE("/./")) < 0);
    CHECK(!slice_has_suffix(q->path, SLICE("/..")) && !slice_has_suffix(q->path, SLICE("/.")));
    CHECK(!has_line_byte(q->path) && !has_line_byte(q->query) && !has_line_byte(q->authority));
    CHECK(q->header_count <= MAX_HEADERS);
    size_t lengths = 0;
    size_t codings = 0;
    for (size_t i = 0; i < q->header_count; i++) {
        const struct http_header *h = &q->headers[i];
        CHECK(h->name.len > 0 && !has_line_byte(h->name) && !has_line_byte(h->value));
        CHECK(slice_find_byte(h->name, ' ') < 0 && slice_find_byte(h->name, ':') < 0);
        lengths += h->token == HTTP_TOKEN_CONTENT_LENGTH;
        codings += h->token == HTTP_TOKEN_TRANSFER_ENCODING;
    }
    CHECK(lengths + codings <= 1);
    CHECK((q->framing == HTTP_FRAMING_CHUNKED) == (codings == 1));
    CHECK((q->framing == HTTP_FRAMING_LENGTH) == (lengths == 1));
    CHECK(q->minor_version == 0 || q->authority.len > 0);
}

// As a proxy forwards it.
static void check_again(const struct http_request *q)
{
    struct strbuf out;
    struct http_header headers[MAX_HEADERS + 1];
    struct http_request again;
    struct h1_limits wide = {
        .max_head_bytes = 8192, .max_headers = MAX_HEADERS + 1, .max_target_bytes = 1024};
    strbuf_init(&out, 8192);
    strbuf_add(&out, q->method_text);
    strbuf_add_char(&out, ' ');
    strbuf_add(&out, q->path);
    if (q->query.ptr != NULL) {
        strbuf_add_char(&out, '?');
        strbuf_add(&out, q->query);
    }
    strbuf_add(&out, SLICE(" HTTP/1.1\r\n"));
    h1_write_header(&out, SLICE("host"), q->authority.len > 0 ? q->authority : SLICE("none"));
    for (size_t i = 0; i < q->header_count; i++) {
        const struct http_header *h = &q->headers[i];
        if (h->token != HTTP_TOKEN_HOST && h->token != HTTP_TOKEN_EXPECT && !h->drop) {
            h1_write_header(&out, h->name, h->value);
        }
    }
    h1_write_end(&out);
    CHECK(!out.failed);
    ptrdiff_t rc = h1_parse_request(out.ptr, out.len, 0, &wide, headers, &again);
    CHECK(rc == (ptrdiff_t)out.len);
    CHECK(again.method == q->method && slice_eq(again.method_text, q->method_text));
    CHECK(slice_eq(again.path, q->path) && slice_eq(again.query, q->query));
    CHECK(q->host.len == 0 || slice_eq(again.host, q->host));
    CHECK(again.content_length == q->content_length);
    strbuf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_header headers[MAX_HEADERS];
    struct http_request request;
    char *buf = copy_of(data, size);
    ptrdiff_t rc = h1_parse_request(buf, size, 0, &limits, headers, &request);
    if (rc > 0) {
        CHECK((size_t)rc <= size && (size_t)rc <= limits.max_head_bytes);
        check_accepted(&request);
        check_again(&request);
        // Every prefix asked for more, also when only the new bytes are looked at.
        char *other = copy_of(data, (size_t)rc);
        struct http_header scratch[MAX_HEADERS];
        size_t step = 1 + (size_t)rc / 16;
        size_t seen = 0;
        for (size_t len = step; len < (size_t)rc; len += step) {
            CHECK(h1_parse_request(other, len, seen, &limits, scratch, &request) == 0);
            seen = len;
        }
        CHECK(h1_parse_request(other, (size_t)rc, seen, &limits, scratch, &request) == rc);
        free(other);
    } else {
        CHECK(-rc < HTTP_REJECT_COUNT);
        CHECK(size == 0 || memcmp(buf, data, size) == 0);
        CHECK(rc < 0 || size < limits.max_head_bytes);
    }
    free(buf);
    return 0;
}
