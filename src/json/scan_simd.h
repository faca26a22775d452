// The vector parts of the scanner. The scalar twins define the result; the unit test compares both.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

// First byte in [p, end) that needs a look inside a string: quote, backslash, control character or
// non-ASCII; or end.
static inline const char *json_skip_plain_scalar(const char *p, const char *end)
{
    while (p < end) {
        unsigned char c = (unsigned char)*p;
        if (c < 0x20 || c >= 0x80 || c == '"' || c == '\\') {
            break;
        }
        p++;
    }
    return p;
}

// p stands right after a comma in an array. Skips decimal integers without sign or fraction that
// are separated by a comma and any white space after it, and returns a place right after a comma
// (p when it could not skip anything). Everything skipped is valid; what is not, or only might not
// be, is left to the automaton.
static inline const char *json_skip_integers_scalar(const char *p, const char *end)
{
    const char *last = p;
    for (;;) {
        while (p < end && (*p == ' ' || *p == '\n')) {
            p++;
        }
        const char *start = p;
        while (p < end && *p >= '0' && *p <= '9') {
            p++;
        }
        if (p == start || p == end || *p != ',' || (*start == '0' && p > start + 1)) {
            return last;
        }
        last = ++p;
    }
}

#ifdef __SSE2__

// High bit set in each byte that ends a plain run.
static inline __m128i json_plain_stops(const char *p)
{
    const __m128i block = _mm_loadu_si128((const __m128i *)(const void *)p);
    const __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(block, _mm_set1_epi8(0x1f)), block);
    const __m128i quote = _mm_cmpeq_epi8(block, _mm_set1_epi8('"'));
    const __m128i backslash = _mm_cmpeq_epi8(block, _mm_set1_epi8('\\'));
    // A non-ASCII byte has its high bit set as it is.
    return _mm_or_si128(_mm_or_si128(control, block), _mm_or_si128(quote, backslash));
}

static inline const char *json_skip_plain(const char *p, const char *end)
{
    while (end - p >= 16) {
        unsigned stops = (unsigned)_mm_movemask_epi8(json_plain_stops(p));
        if (stops != 0) {
            return p + __builtin_ctz(stops);
        }
        p += 16;
        // Long text: four blocks for one branch.
        while (end - p >= 64) {
            const __m128i low = _mm_or_si128(json_plain_stops(p), json_plain_stops(p + 16));
            const __m128i high = _mm_or_si128(json_plain_stops(p + 32), json_plain_stops(p + 48));
            if (_mm_movemask_epi8(_mm_or_si128(low, high)) != 0) {
                break;
            }
            p += 64;
        }
    }
    return json_skip_plain_scalar(p, end);
}

struct json_integer_masks {
    uint64_t digit;
    uint64_t comma;
    uint64_t space;
    uint64_t zero;
};

static inline struct json_integer_masks json_integer_classes(const char *p)
{
    struct json_integer_masks masks = {.digit = 0};
    for (unsigned i = 0; i < 4; i++) {
        const __m128i block = _mm_loadu_si128((const __m128i *)(const void *)(p + 16 * i));
        const __m128i zero = _mm_set1_epi8('0');
        const __m128i value = _mm_sub_epi8(block, zero);
        const __m128i digit = _mm_cmpeq_epi8(_mm_min_epu8(value, _mm_set1_epi8(9)), value);
        const __m128i comma = _mm_cmpeq_epi8(block, _mm_set1_epi8(','));
        const __m128i space = _mm_or_si128(_mm_cmpeq_epi8(block, _mm_set1_epi8(' ')),
                                           _mm_cmpeq_epi8(block, _mm_set1_epi8('\n')));
        masks.digit |= (uint64_t)(unsigned)_mm_movemask_epi8(digit) << (16 * i);
        masks.comma |= (uint64_t)(unsigned)_mm_movemask_epi8(comma) << (16 * i);
        masks.space |= (uint64_t)(unsigned)_mm_movemask_epi8(space) << (16 * i);
        masks.zero |= (uint64_t)(unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(block, zero)) << (16 * i);
    }
    return masks;
}

static inline const char *json_skip_integers(const char *p, const char *end)
{
    const char *last = p;
    // What the byte before the block was: a digit; a comma or space; a zero that begins a number.
    uint64_t carry_digit = 0;
    uint64_t carry_gap = 1;
    uint64_t carry_zero = 0;
    for (; end - p >= 64; p += 64) {
        struct json_integer_masks m = json_integer_classes(p);
        uint64_t after_digit = m.digit << 1 | carry_digit;
        uint64_t after_gap = (m.comma | m.space) << 1 | carry_gap;
        uint64_t first_zero = m.zero & ~after_digit;
        uint64_t after_zero = first_zero << 1 | carry_zero;
        // A comma follows a digit, a space a comma or a space, and no digit a leading zero. So
        // between two commas there is always exactly one number.
        uint64_t bad = ~(m.digit | m.comma | m.space) | (m.comma & ~after_digit) |
                       (m.space & ~after_gap) | (m.digit & after_zero);
        uint64_t commas = bad == 0 ? m.comma : m.comma & ((bad & -bad) - 1);
        if (commas != 0) {
            last = p + 64 - __builtin_clzll(commas);
        }
        if (bad != 0 || commas == 0) {
            return last;
        }
        carry_digit = m.digit >> 63;
        carry_gap = (m.comma | m.space) >> 63;
        carry_zero = first_zero >> 63;
    }
    return last;
}

#else

static inline const char *json_skip_plain(const char *p, const char *end)
{
    return json_skip_plain_scalar(p, end);
}

static inline const char *json_skip_integers(const char *p, const char *end)
{
    return json_skip_integers_scalar(p, end);
}

#endif
