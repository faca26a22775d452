// It is searched as text, as the usage is (ai/openai_usage.c): inside a JSON string the quotes of
// the key would be escaped. Most events say null, which costs the look at one key.
#include "ai/finish.h"

#include <stdbool.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum state {
    SEARCH = 0,
    COLON, // the key was read
    VALUE, // and its colon
    TEXT,  // and the quote of its value
};

#define PATTERN "\"finish_reason\""
enum { PATTERN_LEN = sizeof(PATTERN) - 1 };

// First place in [p, end) where PATTERN may begin, or end.
static const char *find_start(const char *p, const char *end)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"');
    const __m128i letter = _mm_set1_epi8('f');
    for (; end - p >= 17; p += 16) {
        __m128i here = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i next = _mm_loadu_si128((const __m128i *)(const void *)(p + 1));
        unsigned hits = (unsigned)_mm_movemask_epi8(
            _mm_and_si128(_mm_cmpeq_epi8(here, quote), _mm_cmpeq_epi8(next, letter)));
        if (hits != 0) {
            return p + __builtin_ctz(hits);
        }
    }
#endif
    for (; p < end; p++) {
        if (*p == '"' && (p + 1 == end || p[1] == 'f')) {
            return p;
        }
    }
    return end;
}

// The key may lie across two pieces: what of it ends this one is remembered.
static const char *search(struct finish_scan *scan, const char *p, const char *end)
{
    if (scan->matched == 0) {
        p = find_start(p, end);
        if (end - p >= PATTERN_LEN) { // the common case at one blow
            bool found = memcmp(p, PATTERN, PATTERN_LEN) == 0;
            scan->state = found ? COLON : SEARCH;
            return found ? p + PATTERN_LEN : p + 1;
        }
    }
    while (p < end) {
        if (*p != PATTERN[scan->matched]) {
            scan->matched = 0; // looks at this byte again
            return p;
        }
        p++;
        if (++scan->matched == PATTERN_LEN) {
            scan->matched = 0;
            scan->state = COLON;
            return p;
        }
    }
    return p;
}

// Between the key and its value. False: the byte belongs to the search again.
static bool head_byte(struct finish_scan *scan, char c)
{
    if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
        return true;
    }
    if (scan->state == COLON && c == ':') {
        scan->state = VALUE;
        return true;
    }
    if (scan->state == VALUE && c == '"') {
        scan->state = TEXT;
        scan->len = 0;
        scan->reason_len = 0;
        return true;
    }
    scan->state = SEARCH; // null, mostly
    return false;
}

// Only what looks like a word: it goes into a log.
static void text_byte(struct finish_scan *scan, char c)
{
    if (c == '"') {
        scan->reason_len = scan->len;
        scan->state = SEARCH;
        return;
    }
    bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                c == '_' || c == '-';
    if (!word || scan->len == FINISH_REASON_MAX) {
        scan->state = SEARCH;
        return;
    }
    scan->reason[scan->len++] = c;
}

void finish_feed(struct finish_scan *scan, struct slice piece)
{
    if (piece.len == 0) {
        return;
    }
    const char *p = piece.ptr;
    const char *end = p + piece.len;
    while (p < end) {
        switch ((enum state)scan->state) {
        case SEARCH:
            p = search(scan, p, end);
            break;
        case COLON:
        case VALUE:
            p += head_byte(scan, *p) ? 1 : 0;
            break;
        case TEXT:
            text_byte(scan, *p++);
            break;
        }
    }
}
