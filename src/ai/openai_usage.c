// The usage of an answer lies in one object behind the key "usage", at the top level (chat and text
// completions, embeddings; in a stream in its last event, or with every event) or below "response"
// (responses API). It is searched as text: inside a JSON string the quotes of "usage" would be
// escaped, so what is found is a key, or a whole string value, and those have no colon behind them.
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "ai/openai.h"

enum state {
    SEARCH = 0,
    COLON,  // "usage" was read
    VALUE,  // and its colon
    OBJECT, // inside its object, between tokens
    STRING, // in a string in there
};

enum { DEPTH_MAX = 8 };
#define PATTERN "\"usage\""
enum { PATTERN_LEN = sizeof(PATTERN) - 1 };
// No request has more tokens; larger numbers are nonsense.
#define NUMBER_MAX (UINT64_C(1) << 40)

// First place in [p, end) where PATTERN may begin: a quote with a u behind it, or a quote as the
// last byte; or end.
static const char *find_start_scalar(const char *p, const char *end)
{
    for (; p < end; p++) {
        if (*p == '"' && (p + 1 == end || p[1] == 'u')) {
            return p;
        }
    }
    return end;
}

static const char *find_start(const char *p, const char *end)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"');
    const __m128i letter = _mm_set1_epi8('u');
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
    return find_start_scalar(p, end);
}

static const char *search(struct openai_usage_scan *scan, const char *p, const char *end)
{
    while (p < end) {
        if (scan->matched == 0) {
            p = find_start(p, end);
            if (p == end) {
                return p;
            }
        }
        if (*p == PATTERN[scan->matched]) {
            p++;
            if (++scan->matched == PATTERN_LEN) {
                scan->matched = 0;
                scan->state = COLON;
                return p;
            }
        } else {
            scan->matched = 0; // looks at this byte again
        }
    }
    return p;
}

static bool key_is(const struct openai_usage_scan *scan, struct slice name)
{
    return slice_eq(slice_of(scan->key, scan->key_len), name);
}

static void end_number(struct openai_usage_scan *scan)
{
    if (!scan->in_number) {
        return;
    }
    scan->in_number = false;
    if (scan->bad_number || !scan->key_ready) {
        return;
    }
    struct openai_usage *usage = &scan->usage;
    if (scan->depth == 1 &&
        (key_is(scan, SLICE("prompt_tokens")) || key_is(scan, SLICE("input_tokens")))) {
        usage->prompt_tokens = scan->number;
    } else if (scan->depth == 1 &&
               (key_is(scan, SLICE("completion_tokens")) || key_is(scan, SLICE("output_tokens")))) {
        usage->completion_tokens = scan->number;
    } else if (scan->depth <= 2 && key_is(scan, SLICE("cached_tokens"))) {
        usage->cached_tokens = scan->number; // in prompt_tokens_details or input_tokens_details
    } else {
        return;
    }
    usage->found = true;
}

static void number_byte(struct openai_usage_scan *scan, char c)
{
    if (!scan->in_number) {
        scan->in_number = true;
        scan->bad_number = false;
        scan->number = 0;
    }
    if (c < '0' || c > '9' || scan->number > NUMBER_MAX) {
        scan->bad_number = true; // a sign, a fraction, an exponent; null and the like
        return;
    }
    scan->number = scan->number * 10 + (uint64_t)(c - '0');
}

static void object_byte(struct openai_usage_scan *scan, char c)
{
    switch (c) {
    case '"':
        end_number(scan);
        scan->key_len = 0;
        scan->key_ready = false;
        scan->escaped = false;
        scan->state = STRING;
        break;
    case ':':
        scan->key_ready = true;
        break;
    case ',':
        end_number(scan);
        scan->key_ready = false;
        break;
    case '{':
    case '[':
        end_number(scan);
        scan->key_ready = false;
        if (++scan->depth > DEPTH_MAX) {
            scan->state = SEARCH;
        }
        break;
    case '}':
    case ']':
        end_number(scan);
        scan->key_ready = false;
        if (--scan->depth == 0) {
            scan->state = SEARCH;
        }
        break;
    case ' ':
    case '\t':
    case '\r':
    case '\n':
        end_number(scan);
        break;
    default:
        number_byte(scan, c);
    }
}

static void string_byte(struct openai_usage_scan *scan, char c)
{
    if (c == '"' && !scan->escaped) {
        scan->state = OBJECT;
        return;
    }
    scan->escaped = c == '\\' && !scan->escaped;
    // One byte too many marks a key that is none of ours.
    if (scan->key_len < OPENAI_USAGE_KEY_MAX) {
        scan->key[scan->key_len++] = c;
    }
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

// Between the key and its object. False: the byte belongs to the search again.
static bool head_byte(struct openai_usage_scan *scan, char c)
{
    if (is_space(c)) {
        return true;
    }
    if (scan->state == COLON && c == ':') {
        scan->state = VALUE;
        return true;
    }
    if (scan->state == VALUE && c == '{') {
        scan->state = OBJECT;
        scan->depth = 1;
        scan->key_ready = false;
        scan->in_number = false;
        return true;
    }
    scan->state = SEARCH;
    return false;
}

void openai_usage_feed(struct openai_usage_scan *scan, struct slice piece)
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
        case OBJECT:
            object_byte(scan, *p++);
            break;
        case STRING:
            string_byte(scan, *p++);
            break;
        }
    }
}
