#include "base/strbuf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void strbuf_init(struct strbuf *buf, size_t max)
{
    *buf = (struct strbuf){.max = max};
}

void strbuf_fini(struct strbuf *buf)
{
    free(buf->ptr);
    *buf = (struct strbuf){.max = buf->max};
}

void strbuf_reset(struct strbuf *buf)
{
    buf->len = 0;
    buf->failed = false;
}

bool strbuf_reserve(struct strbuf *buf, size_t n)
{
    if (buf->cap - buf->len > n) {
        return true;
    }
    if (n > buf->max || buf->len > buf->max - n) {
        buf->failed = true;
        return false;
    }
    size_t most = buf->max < SIZE_MAX ? buf->max + 1 : SIZE_MAX;
    size_t want = buf->len + n < SIZE_MAX ? buf->len + n + 1 : SIZE_MAX; // one for strbuf_cstr
    size_t cap = buf->cap != 0 ? buf->cap : 64;
    while (cap < want) {
        cap = cap > most / 2 ? most : cap * 2;
    }
    if (cap > most) {
        cap = most;
    }
    char *ptr = realloc(buf->ptr, cap);
    if (ptr == NULL) {
        buf->failed = true;
        return false;
    }
    buf->ptr = ptr;
    buf->cap = cap;
    return true;
}

void strbuf_add(struct strbuf *buf, struct slice s)
{
    if (s.len == 0 || !strbuf_reserve(buf, s.len)) {
        return;
    }
    memcpy(buf->ptr + buf->len, s.ptr, s.len);
    buf->len += s.len;
}

void strbuf_add_str(struct strbuf *buf, const char *s)
{
    strbuf_add(buf, slice_of_str(s));
}

void strbuf_add_char(struct strbuf *buf, char c)
{
    strbuf_add(buf, slice_of(&c, 1));
}

void strbuf_printf(struct strbuf *buf, const char *fmt, ...)
{
    char small[256];
    va_list args;
    va_start(args, fmt);
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(small, sizeof(small), fmt, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof(small)) {
        strbuf_add(buf, slice_of(small, (size_t)n));
    } else if (n >= 0 && strbuf_reserve(buf, (size_t)n)) {
        vsnprintf(buf->ptr + buf->len, (size_t)n + 1, fmt, again);
        buf->len += (size_t)n;
    }
    va_end(again);
}

void strbuf_consume(struct strbuf *buf, size_t n)
{
    n = n < buf->len ? n : buf->len;
    if (n != 0 && n < buf->len) {
        memmove(buf->ptr, buf->ptr + n, buf->len - n);
    }
    buf->len -= n;
}

const char *strbuf_cstr(struct strbuf *buf)
{
    if (!strbuf_reserve(buf, 0) || buf->ptr == NULL) {
        return "";
    }
    buf->ptr[buf->len] = '\0';
    return buf->ptr;
}
