// A growable byte buffer with a maximum that its maker must name. An append that does not fit sets
// `failed` and changes nothing; check it once at the end.
#pragma once

#include "base/macros.h"
#include "base/slice.h"

struct strbuf {
    char *ptr;
    size_t len;
    size_t cap;
    size_t max;
    bool failed; // over the maximum, or out of memory
};

void strbuf_init(struct strbuf *buf, size_t max);
void strbuf_fini(struct strbuf *buf);

// Empties it and clears `failed`; the memory stays.
void strbuf_reset(struct strbuf *buf);

void strbuf_add(struct strbuf *buf, struct slice s);
void strbuf_add_str(struct strbuf *buf, const char *s);
void strbuf_add_char(struct strbuf *buf, char c);
void strbuf_printf(struct strbuf *buf, const char *fmt, ...) PRINTF_LIKE(2, 3);

// Room for at least n more bytes at ptr + len; false (and failed) when not to be had.
MUST_CHECK bool strbuf_reserve(struct strbuf *buf, size_t n);

// Drops the first n bytes.
void strbuf_consume(struct strbuf *buf, size_t n);

static inline struct slice strbuf_slice(const struct strbuf *buf)
{
    return slice_of(buf->ptr, buf->len);
}

// NUL-terminates (beyond len) and lends; "" when empty or failed to allocate.
const char *strbuf_cstr(struct strbuf *buf);
