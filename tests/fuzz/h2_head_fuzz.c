// Any fields as a header section of HTTP/2: what is taken can be said in HTTP/1, and means the same
// when it goes out as HTTP/2 again.
//
// Input: a byte of flags, then fields: length of the name, length of the value, name, value.
#include <stdlib.h>

#include "http/h2_head.h"
#include "http/trailers.h"

#define CHECK(cond) BUG_ON(!(cond))

enum { MAX_HEADERS = 16, MAX_FIELDS = 64, OPEN = 1, RESPONSE = 2, TRAILERS = 4 };
static const struct h1_limits limits = {
    .max_head_bytes = 1024, .max_headers = MAX_HEADERS, .max_target_bytes = 256};
static const struct h1_limits wide = { // names with an authority of their own have a host more
    .max_head_bytes = 2048, .max_headers = MAX_HEADERS, .max_target_bytes = 512};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool take(const uint8_t **data, size_t *size, size_t n, struct slice *ret)
{
    if (*size < n) {
        return false;
    }
    *ret = slice_of((const char *)*data, n);
    *data += n;
    *size -= n;
    return true;
}

static void feed(struct h2_head *head, const uint8_t *data, size_t size)
{
    while (size >= 2) {
        size_t name_len = data[0];
        size_t value_len = data[1];
        struct slice name;
        struct slice value;
        data += 2;
        size -= 2;
        if (!take(&data, &size, name_len, &name) || !take(&data, &size, value_len, &value)) {
            return;
        }
        h2_head_add(head, name, value);
    }
}

static void check_fields(const struct http_header *headers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        CHECK(slice_find_byte(headers[i].value, '\n') < 0);
        CHECK(slice_find_byte(headers[i].value, '\r') < 0);
        CHECK(slice_find_byte(headers[i].value, '\0') < 0);
        CHECK(headers[i].token != HTTP_TOKEN_CONNECTION);
        CHECK(headers[i].token != HTTP_TOKEN_UPGRADE);
    }
}

// Feeds what goes out to a second head. `open` is as in the first.
static void feed_again(struct h2_head *again, const nghttp2_nv *fields, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        h2_head_add(again, slice_of((const char *)fields[i].name, fields[i].namelen),
                    slice_of((const char *)fields[i].value, fields[i].valuelen));
    }
}

// As a proxy writes it (the parser has changed the path in place).
static void render(const struct http_request *q, struct strbuf *out)
{
    strbuf_init(out, 8192);
    strbuf_add(out, q->method_text);
    strbuf_add_char(out, ' ');
    strbuf_add(out, q->path);
    if (q->query.ptr != NULL) {
        strbuf_add_char(out, '?');
        strbuf_add(out, q->query);
    }
    strbuf_add(out, SLICE(" HTTP/1.1\r\n"));
    h1_write_header(out, SLICE("host"), q->authority);
    for (size_t i = 0; i < q->header_count; i++) {
        if (q->headers[i].token != HTTP_TOKEN_HOST) {
            h1_write_header(out, q->headers[i].name, q->headers[i].value);
        }
    }
    h1_write_end(out);
    CHECK(!out->failed);
}

static void try_request(struct h2_head *head, bool open)
{
    struct http_header headers[MAX_HEADERS];
    struct http_header more[MAX_HEADERS];
    struct http_request request;
    struct http_request second;
    if (h2_head_request(head, !open, headers, &request) != HTTP_REJECT_NONE) {
        return;
    }
    check_fields(headers, request.header_count);
    bool connects = request.upgrade.ptr != NULL;
    CHECK(request.authority.len != 0);
    if (connects) {
        CHECK(open && request.method == HTTP_METHOD_GET && request.framing == HTTP_FRAMING_NONE);
        CHECK(http_header_find_name(headers, request.header_count, SLICE("sec-websocket-key")) ==
              NULL);
    } else {
        CHECK(request.framing == HTTP_FRAMING_CHUNKED || request.framing == HTTP_FRAMING_LENGTH ||
              !open);
    }
    struct strbuf out;
    render(&request, &out);
    nghttp2_nv fields[MAX_FIELDS];
    size_t count = h2_fields_of_request(out.ptr, out.len, SLICE("http"), request.upgrade, fields,
                                        MAX_FIELDS);
    CHECK(count >= (connects ? 5 : 4));
    struct h2_head again;
    h2_head_init(&again, &wide);
    h2_head_reset(&again, H2_REQUEST);
    feed_again(&again, fields, count);
    CHECK(h2_head_request(&again, !open, more, &second) == HTTP_REJECT_NONE);
    CHECK(slice_eq(second.path, request.path) && slice_eq(second.host, request.host));
    CHECK(second.framing == request.framing && second.header_count == request.header_count);
    CHECK(second.content_length == request.content_length);
    CHECK((second.upgrade.ptr != NULL) == connects);
    h2_head_fini(&again);
    strbuf_fini(&out);
}

static void try_response(struct h2_head *head, bool open)
{
    struct http_header headers[MAX_HEADERS];
    struct http_header more[MAX_HEADERS];
    struct http_response response;
    struct http_response second;
    if (h2_head_response(head, !open, HTTP_METHOD_GET, headers, &response) != HTTP_REJECT_NONE) {
        return;
    }
    check_fields(headers, response.header_count);
    CHECK(response.status >= 100 && response.status != 101);
    nghttp2_nv fields[MAX_FIELDS];
    size_t count = h2_fields_of_response(head->text.ptr, head->text.len, fields, MAX_FIELDS);
    CHECK(count >= 1);
    struct h2_head again;
    h2_head_init(&again, &limits);
    h2_head_reset(&again, H2_RESPONSE);
    feed_again(&again, fields, count);
    CHECK(h2_head_response(&again, !open, HTTP_METHOD_GET, more, &second) == HTTP_REJECT_NONE);
    CHECK(second.status == response.status && second.framing == response.framing);
    h2_head_fini(&again);
}

static void try_trailers(struct h2_head *head)
{
    struct http_header headers[MAX_HEADERS];
    if (head->reject != HTTP_REJECT_NONE) {
        return;
    }
    ptrdiff_t count = trailers_parse(strbuf_slice(&head->text), headers, MAX_HEADERS);
    if (count > 0) {
        check_fields(headers, (size_t)count);
    }
    nghttp2_nv fields[MAX_FIELDS];
    CHECK(h2_fields_of_trailers(head->text.ptr, head->text.len, fields, MAX_FIELDS) <=
          MAX_HEADERS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct h2_head head;
    h2_head_init(&head, &limits);
    // Twice: what the first section leaves must not be seen by the second.
    for (int i = 0; i < 2; i++) {
        bool open = (data[0] & OPEN) != 0;
        enum h2_section section = (data[0] & TRAILERS) != 0   ? H2_TRAILERS
                                  : (data[0] & RESPONSE) != 0 ? H2_RESPONSE
                                                              : H2_REQUEST;
        h2_head_reset(&head, section);
        feed(&head, data + 1, size - 1);
        if (section == H2_REQUEST) {
            try_request(&head, open);
        } else if (section == H2_RESPONSE) {
            try_response(&head, open);
        } else {
            try_trailers(&head);
        }
    }
    h2_head_fini(&head);
    return 0;
}
