#include "http/h1.h"

// Copies at most what was reserved; `at` moves on.
static char *put(char *at, struct slice s)
{
    memcpy(at, s.ptr, s.len);
    return at + s.len;
}

void h1_write_status(struct strbuf *out, unsigned status)
{
    struct slice phrase = http_reason_phrase(status);
    BUG_ON(status < 100 || status > 599);
    if (!strbuf_reserve(out, 15 + phrase.len)) {
        return;
    }
    char *at = put(out->ptr + out->len, SLICE("HTTP/1.1 "));
    *at++ = (char)('0' + status / 100);
    *at++ = (char)('0' + status / 10 % 10);
    *at++ = (char)('0' + status % 10);
    *at++ = ' ';
    at = put(at, phrase);
    at = put(at, SLICE("\r\n"));
    out->len = (size_t)(at - out->ptr);
}

void h1_write_header(struct strbuf *out, struct slice name, struct slice value)
{
    if (!strbuf_reserve(out, name.len + value.len + 4)) {
        return;
    }
    char *at = put(out->ptr + out->len, name);
    at = put(at, SLICE(": "));
    if (value.len > 0) {
        at = put(at, value);
    }
    at = put(at, SLICE("\r\n"));
    out->len = (size_t)(at - out->ptr);
}

void h1_write_header_u64(struct strbuf *out, struct slice name, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    h1_write_header(out, name, slice_of(digits + at, sizeof digits - at));
}

void h1_write_end(struct strbuf *out)
{
    strbuf_add(out, SLICE("\r\n"));
}

size_t h1_chunk_head(char buf[H1_CHUNK_HEAD_MAX], uint64_t size)
{
    static const char digits[] = "0123456789abcdef";
    unsigned bits = size > 0 ? 64 - (unsigned)__builtin_clzll(size) : 1;
    size_t len = (bits + 3) / 4;
    for (size_t i = len; i > 0; i--) {
        buf[i - 1] = digits[size & 15];
        size >>= 4;
    }
    buf[len] = '\r';
    buf[len + 1] = '\n';
    return len + 2;
}

void h1_write_trailers(struct strbuf *out, const struct http_header *trailers, size_t count)
{
    strbuf_add(out, SLICE("0\r\n"));
    for (size_t i = 0; i < count; i++) {
        if (!trailers[i].drop) {
            h1_write_header(out, trailers[i].name, trailers[i].value);
        }
    }
    h1_write_end(out);
}
