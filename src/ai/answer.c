// The usage of an answer lies in one object behind the key "usage", at the top level (chat and text
// completions, embeddings; in a stream in its last event, or with every event) or below "response"
// (responses API) or "message" (Anthropic's first event). The reason is the text behind
// "finish_reason" (OpenAI) or "stop_reason" (Anthropic; vLLM has both, this one for what stopped
// it). All are searched as text and together: inside a JSON string the quotes of a key would
// be escaped, so what is found is a key, or a whole string value, and those have no colon behind
// them. Most events have nothing of it but a null, which costs the look at one key.
#include "ai/answer.h"

#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif


enum state {
    SEARCH = 0,
    COLON,  // the key was read
    VALUE,  // and its colon
    OBJECT, // inside the object of the usage, between tokens
    STRING, // in a string in there
    REASON, // in the string of a reason
};

// No two begin with the same letter.
enum key { KEY_USAGE = 0, KEY_FINISH_REASON, KEY_STOP_REASON };
static const struct slice keys[] = {
    [KEY_USAGE] = SLICE("\"usage\""),
    [KEY_FINISH_REASON] = SLICE("\"finish_reason\""),
    [KEY_STOP_REASON] = SLICE("\"stop_reason\""),
};

enum { DEPTH_MAX = 8 };
// No request has more tokens; larger numbers are nonsense.
#define NUMBER_MAX (UINT64_C(1) << 40)

// ---- finding the keys ---------------------------------------------------------------------------

// The key with this letter behind its quote, or -1.
static int key_of(char letter)
{
    return letter == 'u' ? KEY_USAGE
           : letter == 'f' ? KEY_FINISH_REASON
           : letter == 's' ? KEY_STOP_REASON
                           : -1;
}

#ifdef __SSE2__
// Which of the 16 bytes at p are quotes with a key's letter behind them (reads one byte more).
static unsigned starts(const char *p)
{
    // 's' and 'u' with their different bits set, as in 'q' and 'w', which are told apart later.
    const __m128i bits = _mm_set1_epi8('s' ^ 'u');
    const __m128i s_or_u = _mm_set1_epi8('s' | 'u');
    __m128i here = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i next = _mm_loadu_si128((const __m128i *)(const void *)(p + 1));
    __m128i letter = _mm_or_si128(_mm_cmpeq_epi8(next, _mm_set1_epi8('f')),
                                  _mm_cmpeq_epi8(_mm_or_si128(next, bits), s_or_u));
    return (unsigned)_mm_movemask_epi8(
        _mm_and_si128(_mm_cmpeq_epi8(here, _mm_set1_epi8('"')), letter));
}
#endif

// First place in [p, end) where a key may begin: a quote with its letter behind it, or a quote as
// the last byte; or end. What lies from `begin` on may be read.
static const char *find_start(const char *begin, const char *p, const char *end)
{
#ifdef __SSE2__
    for (; end - p >= 17; p += 16) {
        unsigned hits = starts(p);
        if (hits != 0) {
            return p + __builtin_ctz(hits);
        }
    }
    if (end - begin >= 17 && p + 1 < end) { // the rest, with some of what was seen
        const char *at = end - 17;
        unsigned hits = starts(at) & ~0U << (p - at);
        if (hits != 0) {
            return at + __builtin_ctz(hits);
        }
        p = end - 1;
    }
#else
    (void)begin;
#endif
    for (; p < end; p++) {
        if (*p == '"' && (p + 1 == end || key_of(p[1]) >= 0)) {
            return p;
        }
    }
    return end;
}

// A key that lies across two pieces, byte by byte: what of it ends a piece is remembered.
static const char *match_on(struct answer_scan *scan, const char *p, const char *end)
{
    for (; p < end; p++) {
        if (scan->matched == 1) {
            int key = key_of(*p);
            scan->key = (uint8_t)(key >= 0 ? key : 0);
        }
        struct slice key = keys[scan->key];
        if (*p != key.ptr[scan->matched]) {
            scan->matched = 0; // and this byte may begin another one
            return p;
        }
        if (++scan->matched == key.len) {
            scan->matched = 0;
            scan->state = COLON;
            return p + 1;
        }
    }
    return p;
}

static const char *search(struct answer_scan *scan, const char *begin, const char *p,
                          const char *end)
{
    if (scan->matched != 0) {
        return match_on(scan, p, end);
    }
    while ((p = find_start(begin, p, end)) < end) {
        int found = p + 1 < end ? key_of(p[1]) : -1;
        if (p + 1 < end && found < 0) {
            p++;
            continue;
        }
        if (found < 0 || (size_t)(end - p) < keys[found].len) {
            scan->matched = 1;
            return match_on(scan, p + 1, end);
        }
        if (memcmp(p, keys[found].ptr, keys[found].len) == 0) {
            scan->key = (uint8_t)found;
            scan->state = COLON;
            return p + keys[found].len;
        }
        p++;
    }
    return p;
}

// ---- the usage ----------------------------------------------------------------------------------

static bool name_is(const struct answer_scan *scan, struct slice name)
{
    return slice_eq(slice_of(scan->name, scan->name_len), name);
}

static void end_number(struct answer_scan *scan)
{
    if (!scan->in_number) {
        return;
    }
    scan->in_number = false;
    if (scan->bad_number || !scan->name_ready) {
        return;
    }
    struct answer_usage *usage = &scan->usage;
    if (scan->depth == 1 &&
        (name_is(scan, SLICE("prompt_tokens")) || name_is(scan, SLICE("input_tokens")))) {
        usage->prompt_tokens = scan->number;
    } else if (scan->depth == 1 &&
               (name_is(scan, SLICE("completion_tokens")) ||
                name_is(scan, SLICE("output_tokens")))) {
        usage->completion_tokens = scan->number;
    } else if (scan->depth <= 2 && name_is(scan, SLICE("cached_tokens"))) {
        usage->cached_tokens = scan->number; // in prompt_tokens_details or input_tokens_details
    } else {
        return;
    }
    usage->found = true;
}

static void number_byte(struct answer_scan *scan, char c)
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

static void object_byte(struct answer_scan *scan, char c)
{
    switch (c) {
    case '"':
        end_number(scan);
        scan->name_len = 0;
        scan->name_ready = false;
        scan->escaped = false;
        scan->state = STRING;
        break;
    case ':':
        scan->name_ready = true;
        break;
    case ',':
        end_number(scan);
        scan->name_ready = false;
        break;
    case '{':
    case '[':
        end_number(scan);
        scan->name_ready = false;
        if (++scan->depth > DEPTH_MAX) {
            scan->state = SEARCH;
        }
        break;
    case '}':
    case ']':
        end_number(scan);
        scan->name_ready = false;
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

static void string_byte(struct answer_scan *scan, char c)
{
    if (c == '"' && !scan->escaped) {
        scan->state = OBJECT;
        return;
    }
    scan->escaped = c == '\\' && !scan->escaped;
    // One byte too many marks a name that is none of ours.
    if (scan->name_len < ANSWER_KEY_MAX) {
        scan->name[scan->name_len++] = c;
    }
}

// ---- the reason ---------------------------------------------------------------------------------

static bool begin_reason(struct answer_scan *scan)
{
    bool is_final = scan->key == KEY_FINISH_REASON;
    if (scan->is_final && !is_final) {
        return false;
    }
    scan->is_final = is_final;
    scan->state = REASON;
    scan->len = 0;
    scan->reason_len = 0;
    return true;
}

// Only what looks like a word: it goes into a log.
static void reason_byte(struct answer_scan *scan, char c)
{
    if (c == '"') {
        scan->reason_len = scan->len;
        scan->state = SEARCH;
        return;
    }
    bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                c == '_' || c == '-';
    if (!word || scan->len == ANSWER_REASON_MAX) {
        scan->state = SEARCH;
        return;
    }
    scan->reason[scan->len++] = c;
}

// ---- all of it ----------------------------------------------------------------------------------

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool begin_object(struct answer_scan *scan)
{
    scan->state = OBJECT;
    scan->depth = 1;
    scan->name_ready = false;
    scan->in_number = false;
    return true;
}

// Between a key and its value. False: the byte belongs to the search again.
static bool head_byte(struct answer_scan *scan, char c)
{
    if (is_space(c)) {
        return true;
    }
    if (scan->state == COLON && c == ':') {
        scan->state = VALUE;
        return true;
    }
    bool taken = false;
    if (scan->state == VALUE && scan->key == KEY_USAGE && c == '{') {
        taken = begin_object(scan);
    } else if (scan->state == VALUE && scan->key != KEY_USAGE && c == '"') {
        taken = begin_reason(scan);
    }
    if (!taken) {
        scan->state = SEARCH; // null, mostly
    }
    return taken;
}

void answer_feed(struct answer_scan *scan, struct slice piece)
{
    if (piece.len == 0) {
        return;
    }
    const char *p = piece.ptr;
    const char *end = p + piece.len;
    while (p < end) {
        switch ((enum state)scan->state) {
        case SEARCH:
            p = search(scan, piece.ptr, p, end);
            break;
        case COLON:
        case VALUE:
            p += head_byte(scan, *p) ? 1 : 0;
            break;
        case OBJECT:
            do {
                object_byte(scan, *p++);
            } while (p < end && scan->state == OBJECT);
            break;
        case STRING:
            do {
                string_byte(scan, *p++);
            } while (p < end && scan->state == STRING);
            break;
        case REASON:
            reason_byte(scan, *p++);
            break;
        }
    }
}
