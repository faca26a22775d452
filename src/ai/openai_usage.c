// The usage of an answer lies in one object behind the key "usage", at the top level (chat and text
// completions, embeddings; in a stream in its last event, or with every event) or below "response"
// (responses API).
#include "ai/openai.h"

static const struct key_pattern pattern = KEY_PATTERN("\"usage\"", '{');

// Behind the key and the bracket that opens its object.
enum state {
    OBJECT = KEY_FOUND, // between tokens
    STRING,             // in a string in there
};

enum { DEPTH_MAX = 8 };
// No request has more tokens; larger numbers are nonsense.
#define NUMBER_MAX (UINT64_C(1) << 40)

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
        scan->search.state = STRING;
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
            scan->search.state = KEY_SEARCH;
        }
        break;
    case '}':
    case ']':
        end_number(scan);
        scan->key_ready = false;
        if (--scan->depth == 0) {
            scan->search.state = KEY_SEARCH;
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
        scan->search.state = OBJECT;
        return;
    }
    scan->escaped = c == '\\' && !scan->escaped;
    // One byte too many marks a key that is none of ours.
    if (scan->key_len < OPENAI_USAGE_KEY_MAX) {
        scan->key[scan->key_len++] = c;
    }
}

void openai_usage_feed(struct openai_usage_scan *scan, struct slice piece)
{
    if (piece.len == 0) {
        return;
    }
    const char *p = piece.ptr;
    const char *end = p + piece.len;
    while (p < end) {
        if (scan->search.state == OBJECT) {
            object_byte(scan, *p++);
        } else if (scan->search.state == STRING) {
            string_byte(scan, *p++);
        } else {
            p = key_scan_feed(&scan->search, pattern, p, end);
            if (scan->search.state == OBJECT) {
                scan->depth = 1;
                scan->key_ready = false;
                scan->in_number = false;
            }
        }
    }
}
