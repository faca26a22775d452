// Byte classes of HTTP/1 and the vector scans over them. The scalar twins are the definition; the
// unit test compares both on every byte at every position.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum h1_class {
    H1_TCHAR = 1, // RFC 9110 section 5.6.2
    H1_PATH = 2,  // may stand in a path: RFC 3986 pchar, '/', and | [ ] ^ as browsers send
    H1_QUERY = 4, // may stand in a query: what a path may, '?' and { } `
    H1_HOST = 8,        // may stand in a host name
    H1_UNRESERVED = 16, // RFC 3986 section 2.3
    H1_NOT_PLAIN = 32,  // '%' and '.': a path with one of them needs a closer look
    H1_UNDERSCORE = 64, // '_': in a header name, the mark of a look-alike
};
extern const uint8_t h1_class[256];

static inline uint8_t h1_class_of(char c)
{
    return h1_class[(unsigned char)c];
}

// Length of the token (RFC 9110 section 5.6.2) at the start of s; 0: there is none.
static inline size_t h1_token_length(struct slice s)
{
    size_t len = 0;
    while (len < s.len && (h1_class_of(s.ptr[len]) & H1_TCHAR) != 0) {
        len++;
    }
    return len;
}

// Value of a hexadecimal digit, or -1.
static inline int h1_hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// First byte in [p, end) that may not stand in a field value (RFC 9110 section 5.5: control
// characters but HTAB), or end.
static inline const char *h1_scan_value_scalar(const char *p, const char *end)
{
    while (p < end) {
        unsigned char c = (unsigned char)*p;
        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            break;
        }
        p++;
    }
    return p;
}

#ifdef __SSE2__
static inline unsigned h1_value_stops(const char *p)
{
    const __m128i block = _mm_loadu_si128((const __m128i *)(const void *)p);
    const __m128i top = _mm_set1_epi8(0x1f);
    const __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(block, top), block);
    const __m128i tab = _mm_cmpeq_epi8(block, _mm_set1_epi8('\t'));
    const __m128i del = _mm_cmpeq_epi8(block, _mm_set1_epi8(0x7f));
    return (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_andnot_si128(tab, control), del));
}

static inline const char *h1_scan_value(const char *p, const char *end)
{
    while (end - p >= 16) {
        unsigned stops = h1_value_stops(p);
        if (stops != 0) {
            return p + __builtin_ctz(stops);
        }
        p += 16;
    }
    return h1_scan_value_scalar(p, end);
}
#else
static inline const char *h1_scan_value(const char *p, const char *end)
{
    return h1_scan_value_scalar(p, end);
}
#endif
