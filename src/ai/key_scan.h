// Search for one key of a JSON text and for what opens its value, as text and without reading the
// rest: inside a JSON string the quotes of the key would be escaped, so what is found is a key, or
// a whole string value, and those have no colon behind them. Resumable at every byte. Of the scans
// of answers (finish.h, openai.h) only.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum key_state {
    KEY_SEARCH = 0,
    KEY_COLON, // the key was read
    KEY_VALUE, // and its colon
    KEY_FOUND, // and what opens its value; further states are the caller's
};

// Zero-initialised is ready. Who is through with a value sets state to KEY_SEARCH.
struct key_scan {
    uint8_t state;
    uint8_t matched; // bytes of the key, quotes included
};

// A constant, so that the compiler makes a search of its own for it.
struct key_pattern {
    const char *key; // in its quotes
    uint8_t len;
    char opens; // the value: a quote or a bracket; a key with another one is passed over
};
#define KEY_PATTERN(quoted, opens) {(quoted), sizeof(quoted) - 1, (opens)}

// First place in [p, end) where the key may begin: a quote with its first letter behind it, or a
// quote as the last byte; or end.
static inline const char *key_scan_start(struct key_pattern pattern, const char *p, const char *end)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"');
    const __m128i letter = _mm_set1_epi8(pattern.key[1]);
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
        if (*p == '"' && (p + 1 == end || p[1] == pattern.key[1])) {
            return p;
        }
    }
    return end;
}

// The key may lie across two pieces: what of it ends this one is remembered.
static inline const char *key_scan_search(struct key_scan *scan, struct key_pattern pattern,
                                          const char *p, const char *end)
{
    if (scan->matched == 0) {
        p = key_scan_start(pattern, p, end);
        if (end - p >= pattern.len) { // the common case at one blow
            bool found = memcmp(p, pattern.key, pattern.len) == 0;
            scan->state = found ? KEY_COLON : KEY_SEARCH;
            return found ? p + pattern.len : p + 1;
        }
    }
    while (p < end) {
        if (*p != pattern.key[scan->matched]) {
            scan->matched = 0; // looks at this byte again
            return p;
        }
        p++;
        if (++scan->matched == pattern.len) {
            scan->matched = 0;
            scan->state = KEY_COLON;
            return p;
        }
    }
    return p;
}

// Between the key and its value. False: the byte belongs to the search again.
static inline bool key_scan_head(struct key_scan *scan, struct key_pattern pattern, char c)
{
    if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
        return true;
    }
    if (scan->state == KEY_COLON && c == ':') {
        scan->state = KEY_VALUE;
        return true;
    }
    if (scan->state == KEY_VALUE && c == pattern.opens) {
        scan->state = KEY_FOUND;
        return true;
    }
    scan->state = KEY_SEARCH; // null, mostly
    return false;
}

// Goes on in [p, end), which is not empty, in a state before KEY_FOUND. Returns the place up to
// which it came: end, or just behind what opens a value, where the state is KEY_FOUND.
static inline const char *key_scan_feed(struct key_scan *scan, struct key_pattern pattern,
                                        const char *p, const char *end)
{
    while (p < end && scan->state != KEY_FOUND) {
        if (scan->state == KEY_SEARCH) {
            p = key_scan_search(scan, pattern, p, end);
        } else {
            p += key_scan_head(scan, pattern, *p) ? 1 : 0;
        }
    }
    return p;
}
