// Any bytes as a chunked body: pieces of any size give the same data and the same verdict, and what
// was decoded is the same when it is chunked anew. The first byte picks the size of the pieces.
#include <stdlib.h>

#include "http/h1.h"
#include "http/trailers.h"

#define CHECK(cond) BUG_ON(!(cond))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// > 0: consumed, done; 0: not done; < 0: refused.
static ptrdiff_t decode(const uint8_t *data, size_t size, size_t step, struct strbuf *body,
                        struct strbuf *trailers)
{
    struct h1_chunked decoder = {.trailers = trailers};
    size_t at = 0;
    while (at < size && !decoder.done) {
        size_t len = size - at < step ? size - at : step;
        char *piece = malloc(len);
        CHECK(piece != NULL);
        memcpy(piece, data + at, len);
        size_t used = 0;
        while (used < len && !decoder.done) {
            struct slice out;
            ptrdiff_t rc = h1_chunked_decode(&decoder, piece + used, len - used, &out);
            if (rc < 0) {
                free(piece);
                return rc;
            }
            CHECK(rc > 0 && (size_t)rc <= len - used);
            CHECK(out.len == 0 || (out.ptr >= piece + used && out.ptr + out.len <= piece + len));
            strbuf_add(body, out);
            used += (size_t)rc;
        }
        free(piece);
        at += used;
    }
    return decoder.done ? (ptrdiff_t)at : 0;
}

// What the decoder keeps is fields that can be written and read again.
static void check_trailers(const struct strbuf *trailers)
{
    struct http_header headers[64];
    struct strbuf again;
    struct strbuf read;
    CHECK(!trailers->failed);
    ptrdiff_t count = trailers_parse(strbuf_slice(trailers), headers, ARRAY_LEN(headers));
    if (count < 0) {
        CHECK(count == -(ptrdiff_t)HTTP_REJECT_TOO_MANY_HEADERS);
        return;
    }
    strbuf_init(&again, 2 * H1_TRAILERS_MAX);
    strbuf_init(&read, H1_TRAILERS_MAX);
    h1_write_trailers(&again, headers, (size_t)count);
    struct h1_chunked decoder = {.trailers = &read};
    struct slice data;
    ptrdiff_t rc = h1_chunked_decode(&decoder, again.ptr, again.len, &data);
    CHECK(rc == (ptrdiff_t)again.len || (rc < 0 && again.len > H1_TRAILERS_MAX));
    strbuf_fini(&again);
    strbuf_fini(&read);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct strbuf whole;
    struct strbuf pieces;
    struct strbuf trailers;
    struct strbuf others;
    if (size < 2) {
        return 0;
    }
    size_t step = 1 + data[0] % 32u;
    data++;
    size--;
    strbuf_init(&whole, size);
    strbuf_init(&pieces, size);
    strbuf_init(&trailers, H1_TRAILERS_MAX);
    strbuf_init(&others, H1_TRAILERS_MAX);
    ptrdiff_t rc = decode(data, size, size, &whole, &trailers);
    CHECK(decode(data, size, step, &pieces, &others) == rc);
    // A refusal takes the data of its own call with it.
    CHECK(!whole.failed && (rc < 0 || slice_eq(strbuf_slice(&whole), strbuf_slice(&pieces))));
    CHECK(rc > -(ptrdiff_t)HTTP_REJECT_COUNT);
    CHECK(slice_eq(strbuf_slice(&trailers), strbuf_slice(&others)));
    if (rc > 0) {
        check_trailers(&trailers);
        struct strbuf again;
        char head[H1_CHUNK_HEAD_MAX];
        strbuf_init(&again, size + 64);
        if (whole.len > 0) {
            strbuf_add(&again, slice_of(head, h1_chunk_head(head, whole.len)));
            strbuf_add(&again, strbuf_slice(&whole));
            strbuf_add(&again, SLICE("\r\n"));
        }
        strbuf_add(&again, H1_LAST_CHUNK);
        strbuf_reset(&pieces);
        CHECK(decode((const uint8_t *)again.ptr, again.len, step, &pieces, NULL) ==
              (ptrdiff_t)again.len);
        CHECK(slice_eq(strbuf_slice(&whole), strbuf_slice(&pieces)));
        strbuf_fini(&again);
    }
    strbuf_fini(&whole);
    strbuf_fini(&pieces);
    strbuf_fini(&trailers);
    strbuf_fini(&others);
    return 0;
}
