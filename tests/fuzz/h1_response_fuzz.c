// Any bytes as a response head. The first byte picks the request's method.
#include <stdlib.h>

#include "http/h1.h"

#define CHECK(cond) BUG_ON(!(cond))

enum { MAX_HEADERS = 16 };
static const struct h1_limits limits = {
    .max_head_bytes = 2048, .max_headers = MAX_HEADERS, .max_target_bytes = 512};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_accepted(const struct http_response *r, enum http_method method)
{
    CHECK(r->status >= 100 && r->status <= 599 && r->status != 101);
    CHECK(slice_find_byte(r->reason, '\n') < 0 && slice_find_byte(r->reason, '\r') < 0);
    CHECK(r->framing != HTTP_FRAMING_CLOSE || !r->keep_alive);
    if (method == HTTP_METHOD_HEAD || r->status < 200 || r->status == 204 || r->status == 304) {
        CHECK(r->framing == HTTP_FRAMING_NONE);
    } else {
        CHECK(r->framing != HTTP_FRAMING_NONE);
    }
    for (size_t i = 0; i < r->header_count; i++) {
        const struct http_header *h = &r->headers[i];
        CHECK(h->name.len > 0);
        CHECK(slice_find_byte(h->value, '\n') < 0 && slice_find_byte(h->value, '\r') < 0 &&
              slice_find_byte(h->value, '\0') < 0);
        CHECK(h->token != HTTP_TOKEN_TRANSFER_ENCODING || h->drop);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    enum http_method method = data[0] % 2 != 0 ? HTTP_METHOD_HEAD : HTTP_METHOD_GET;
    struct http_header headers[MAX_HEADERS];
    struct http_response response;
    data++;
    size--;
    char *buf = malloc(size > 0 ? size : 1);
    CHECK(buf != NULL);
    if (size > 0) {
        memcpy(buf, data, size);
    }
    ptrdiff_t rc = h1_parse_response(buf, size, 0, &limits, method, headers, &response);
    CHECK(size == 0 || memcmp(buf, data, size) == 0);
    if (rc > 0) {
        CHECK((size_t)rc <= size);
        check_accepted(&response, method);
        size_t seen = 0;
        for (size_t len = 1; len < (size_t)rc; len += 1 + (size_t)rc / 16) {
            CHECK(h1_parse_response(buf, len, seen, &limits, method, headers, &response) == 0);
            seen = len;
        }
        CHECK(h1_parse_response(buf, (size_t)rc, seen, &limits, method, headers, &response) == rc);
    } else {
        CHECK(-rc < HTTP_REJECT_COUNT && (rc < 0 || size < limits.max_head_bytes));
    }
    rc = h1_parse_upgrade_response(buf, size, 0, &limits, SLICE("websocket"), headers, &response);
    CHECK(rc <= 0 || response.status != 101 || response.framing == HTTP_FRAMING_NONE);
    free(buf);
    return 0;
}
