// The vector parts of the scanner. The scalar twins define the result; the unit test compares both.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __SSE2__
#include <immintrin.h>
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

// First byte in [p, end) that is not white space (RFC 8259 section 2), or end.
static inline const char *json_skip_space_scalar(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r')) {
        p++;
    }
    return p;
}

// First byte in [p, end) that is not a digit, or end.
static inline const char *json_skip_digits_scalar(const char *p, const char *end)
{
    while (p < end && *p >= '0' && *p <= '9') {
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

// Whole three-byte UTF-8 sequences (most of Chinese, Japanese and Korean) whose second byte has the
// usual range; may stop early.
static inline const char *json_skip_triples_scalar(const char *p, const char *end)
{
    while (end - p >= 16) {
        unsigned char lead = (unsigned char)p[0];
        if ((lead & 0xf0) != 0xe0 || lead == 0xe0 || lead == 0xed ||
            ((unsigned char)p[1] & 0xc0) != 0x80 || ((unsigned char)p[2] & 0xc0) != 0x80) {
            break;
        }
        p += 3;
    }
    return p;
}

#ifdef __SSE2__

static inline const char *json_skip_space(const char *p, const char *end)
{
    // None or one is the usual; more is indentation.
    if (p == end || (unsigned char)*p > ' ') {
        return p;
    }
    while (end - p >= 16) {
        const __m128i block = _mm_loadu_si128((const __m128i *)(const void *)p);
        const __m128i blank = _mm_or_si128(_mm_cmpeq_epi8(block, _mm_set1_epi8(' ')),
                                           _mm_cmpeq_epi8(block, _mm_set1_epi8('\n')));
        const __m128i other = _mm_or_si128(_mm_cmpeq_epi8(block, _mm_set1_epi8('\t')),
                                           _mm_cmpeq_epi8(block, _mm_set1_epi8('\r')));
        unsigned stops = ~(unsigned)_mm_movemask_epi8(_mm_or_si128(blank, other)) & 0xffff;
        if (stops != 0) {
            return p + __builtin_ctz(stops);
        }
        p += 16;
    }
    return json_skip_space_scalar(p, end);
}

static inline const char *json_skip_digits(const char *p, const char *end)
{
    while (end - p >= 16) {
        const __m128i block = _mm_loadu_si128((const __m128i *)(const void *)p);
        const __m128i value = _mm_sub_epi8(block, _mm_set1_epi8('0'));
        const __m128i digit = _mm_cmpeq_epi8(_mm_min_epu8(value, _mm_set1_epi8(9)), value);
        unsigned stops = ~(unsigned)_mm_movemask_epi8(digit) & 0xffff;
        if (stops != 0) {
            return p + __builtin_ctz(stops);
        }
        p += 16;
    }
    return json_skip_digits_scalar(p, end);
}

static inline const char *json_skip_triples(const char *p, const char *end)
{
    const __m128i mask =
        _mm_setr_epi8((char)0xf0, (char)0xc0, (char)0xc0, (char)0xf0, (char)0xc0, (char)0xc0,
                      (char)0xf0, (char)0xc0, (char)0xc0, (char)0xf0, (char)0xc0, (char)0xc0,
                      (char)0xf0, (char)0xc0, (char)0xc0, 0);
    const __m128i want =
        _mm_setr_epi8((char)0xe0, (char)0x80, (char)0x80, (char)0xe0, (char)0x80, (char)0x80,
                      (char)0xe0, (char)0x80, (char)0x80, (char)0xe0, (char)0x80, (char)0x80,
                      (char)0xe0, (char)0x80, (char)0x80, 0);
    while (end - p >= 16) {
        const __m128i block = _mm_loadu_si128((const __m128i *)(const void *)p);
        const __m128i form = _mm_cmpeq_epi8(_mm_and_si128(block, mask), want);
        // Only leads can have these values where the form is right.
        const __m128i narrow = _mm_or_si128(_mm_cmpeq_epi8(block, _mm_set1_epi8((char)0xe0)),
                                            _mm_cmpeq_epi8(block, _mm_set1_epi8((char)0xed)));
        unsigned wrong = ~(unsigned)_mm_movemask_epi8(_mm_andnot_si128(narrow, form)) & 0x7fff;
        if (wrong != 0) {
            return p + (unsigned)__builtin_ctz(wrong) / 3 * 3;
        }
        p += 15;
    }
    return p;
}

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

static inline struct json_integer_masks json_integer_classes_sse2(const char *p)
{
    struct json_integer_masks masks = {.digit = 0};
    for (unsigned i = 0; i < 64; i += 16) {
        const __m128i block = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
        const __m128i zero = _mm_set1_epi8('0');
        const __m128i value = _mm_sub_epi8(block, zero);
        const __m128i digit = _mm_cmpeq_epi8(_mm_min_epu8(value, _mm_set1_epi8(9)), value);
        const __m128i comma = _mm_cmpeq_epi8(block, _mm_set1_epi8(','));
        const __m128i space = _mm_or_si128(_mm_cmpeq_epi8(block, _mm_set1_epi8(' ')),
                                           _mm_cmpeq_epi8(block, _mm_set1_epi8('\n')));
        masks.digit |= (uint64_t)(unsigned)_mm_movemask_epi8(digit) << i;
        masks.comma |= (uint64_t)(unsigned)_mm_movemask_epi8(comma) << i;
        masks.space |= (uint64_t)(unsigned)_mm_movemask_epi8(space) << i;
        masks.zero |= (uint64_t)(unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(block, zero)) << i;
    }
    return masks;
}

__attribute__((target("avx2"))) static inline struct json_integer_masks
json_integer_classes_avx2(const char *p)
{
    struct json_integer_masks masks = {.digit = 0};
    for (unsigned i = 0; i < 64; i += 32) {
        const __m256i block = _mm256_loadu_si256((const __m256i *)(const void *)(p + i));
        const __m256i zero = _mm256_set1_epi8('0');
        const __m256i value = _mm256_sub_epi8(block, zero);
        const __m256i digit = _mm256_cmpeq_epi8(_mm256_min_epu8(value, _mm256_set1_epi8(9)), value);
        const __m256i comma = _mm256_cmpeq_epi8(block, _mm256_set1_epi8(','));
        const __m256i space = _mm256_or_si256(_mm256_cmpeq_epi8(block, _mm256_set1_epi8(' ')),
                                              _mm256_cmpeq_epi8(block, _mm256_set1_epi8('\n')));
        const __m256i zeros = _mm256_cmpeq_epi8(block, zero);
        masks.digit |= (uint64_t)(uint32_t)_mm256_movemask_epi8(digit) << i;
        masks.comma |= (uint64_t)(uint32_t)_mm256_movemask_epi8(comma) << i;
        masks.space |= (uint64_t)(uint32_t)_mm256_movemask_epi8(space) << i;
        masks.zero |= (uint64_t)(uint32_t)_mm256_movemask_epi8(zeros) << i;
    }
    return masks;
}

// What the byte before a block was.
struct json_integer_carry {
    uint64_t digit;
    uint64_t gap;  // a comma or white space
    uint64_t zero; // a zero that begins a number
};

// Looks at one block of 64 bytes at p. False when the run ends in it; *last moves behind the last
// comma of the run.
static inline bool json_integer_block(struct json_integer_masks m, const char *p,
                                      struct json_integer_carry *carry, const char **last)
{
    uint64_t after_digit = m.digit << 1 | carry->digit;
    uint64_t after_gap = (m.comma | m.space) << 1 | carry->gap;
    uint64_t first_zero = m.zero & ~after_digit;
    uint64_t after_zero = first_zero << 1 | carry->zero;
    // A comma follows a digit, white space a comma or white space, and no digit a leading zero. So
    // between two commas there is always exactly one number.
    uint64_t bad = ~(m.digit | m.comma | m.space) | (m.comma & ~after_digit) |
                   (m.space & ~after_gap) | (m.digit & after_zero);
    uint64_t commas = bad == 0 ? m.comma : m.comma & ((bad & -bad) - 1);
    if (commas != 0) {
        *last = p + 64 - __builtin_clzll(commas);
    }
    carry->digit = m.digit >> 63;
    carry->gap = (m.comma | m.space) >> 63;
    carry->zero = first_zero >> 63;
    return bad == 0 && commas != 0;
}

static inline const char *json_skip_integers_sse2(const char *p, const char *end)
{
    const char *last = p;
    struct json_integer_carry carry = {.gap = 1};
    while (end - p >= 64 && json_integer_block(json_integer_classes_sse2(p), p, &carry, &last)) {
        p += 64;
    }
    return last;
}

__attribute__((target("avx2"))) static inline const char *json_skip_integers_avx2(const char *p,
                                                                                  const char *end)
{
    const char *last = p;
    struct json_integer_carry carry = {.gap = 1};
    while (end - p >= 64 && json_integer_block(json_integer_classes_avx2(p), p, &carry, &last)) {
        p += 64;
    }
    return last;
}

static inline const char *json_skip_integers(const char *p, const char *end)
{
    return __builtin_cpu_supports("avx2") ? json_skip_integers_avx2(p, end)
                                          : json_skip_integers_sse2(p, end);
}

#else

static inline const char *json_skip_digits(const char *p, const char *end)
{
    return json_skip_digits_scalar(p, end);
}

static inline const char *json_skip_space(const char *p, const char *end)
{
    return json_skip_space_scalar(p, end);
}

static inline const char *json_skip_triples(const char *p, const char *end)
{
    return json_skip_triples_scalar(p, end);
}

static inline const char *json_skip_plain(const char *p, const char *end)
{
    return json_skip_plain_scalar(p, end);
}

static inline const char *json_skip_integers(const char *p, const char *end)
{
    return json_skip_integers_scalar(p, end);
}

#endif
