// Strings: runs at memory speed, and byte by byte where a piece ends or something is odd.
#include "json/scan_internal.h"
#include "json/scan_simd.h"
#include "json/scan_text.h"

// Inside a string.
enum string_state {
    PLAIN = JSON_STRING_PLAIN,
    ESCAPE,
    HEX_1, // \u: digits still to come, of the first and of the second half of a pair
    HEX_2,
    HEX_3,
    HEX_4,
    PAIR_ESCAPE,
    PAIR_U,
    LOW_1,
    LOW_2,
    LOW_3,
    LOW_4,
    UTF8_1, // continuation bytes still to come
    UTF8_2,
    UTF8_3,
    UTF8_E0, // the second byte has a narrower range (Unicode, table 3-7)
    UTF8_ED,
    UTF8_F0,
    UTF8_F4,
};

enum { KEY_TOO_LONG = 255 };

// Adds to the key that is being read; only the top level's are of interest.
static void add_to_key(struct json_scan *scan, const char *p, size_t len)
{
    if (!scan->in_key || scan->depth != 1 || scan->key_len == KEY_TOO_LONG) {
        return;
    }
    if (scan->key_len + len > JSON_KEY_MAX) {
        scan->key_len = KEY_TOO_LONG;
        return;
    }
    memcpy(scan->key + scan->key_len, p, len);
    scan->key_len = (uint8_t)(scan->key_len + len);
}

static void add_code_to_key(struct json_scan *scan, uint32_t code)
{
    char bytes[4];
    if (scan->in_key) {
        add_to_key(scan, bytes, json_encode_utf8(code, bytes));
    }
}

// The closing quote of a key was read (c->p is after it).
static bool end_key(struct json_scan *scan, const struct json_cursor *c)
{
    scan->state = COLON;
    if (scan->depth != 1) {
        return true;
    }
    struct slice key = slice_of(scan->key, scan->key_len);
    for (size_t i = 0; i < scan->key_count; i++) {
        if (!slice_eq(scan->keys[i], key)) {
            continue;
        }
        if ((scan->seen >> i & 1) != 0) {
            return json_scan_fail(scan, c, c->p - 1, JSON_ERROR_DUPLICATE_KEY);
        }
        scan->seen = (uint16_t)(scan->seen | 1u << i);
        scan->watching = (int8_t)i;
        break;
    }
    return true;
}

// One hexadecimal digit of \u in either half.
static bool step_hex(struct json_scan *scan, struct json_cursor *c)
{
    int digit = json_hex_value(*c->p);
    if (digit < 0) {
        return json_scan_fail(scan, c, c->p, JSON_ERROR_SYNTAX);
    }
    scan->unicode = (uint16_t)(scan->unicode << 4 | digit);
    if (scan->sub_state == LOW_4) {
        if (!json_is_low_surrogate(scan->unicode)) {
            return json_scan_fail(scan, c, c->p, JSON_ERROR_UTF8);
        }
        add_code_to_key(scan, json_join_surrogates(scan->high_surrogate, scan->unicode));
        scan->sub_state = PLAIN;
    } else if (scan->sub_state != HEX_4) {
        scan->sub_state++;
    } else if (json_is_high_surrogate(scan->unicode)) {
        scan->high_surrogate = scan->unicode;
        scan->sub_state = PAIR_ESCAPE;
    } else if (json_is_low_surrogate(scan->unicode)) {
        return json_scan_fail(scan, c, c->p, JSON_ERROR_UTF8);
    } else {
        add_code_to_key(scan, scan->unicode);
        scan->sub_state = PLAIN;
    }
    c->p++;
    return true;
}

static bool step_escape(struct json_scan *scan, struct json_cursor *c)
{
    char meaning = json_escapes[(unsigned char)*c->p];
    if (meaning == 0) {
        return json_scan_fail(scan, c, c->p, JSON_ERROR_SYNTAX);
    }
    if (meaning == 'u') {
        scan->sub_state = HEX_1;
        scan->unicode = 0;
    } else {
        add_to_key(scan, &meaning, 1);
        scan->sub_state = PLAIN;
    }
    c->p++;
    return true;
}

// First byte of a non-ASCII sequence.
static bool step_utf8_lead(struct json_scan *scan, struct json_cursor *c)
{
    unsigned char lead = (unsigned char)*c->p;
    if (lead < 0xc2 || lead > 0xf4) {
        return json_scan_fail(scan, c, c->p, JSON_ERROR_UTF8);
    }
    if (lead < 0xe0) {
        scan->sub_state = UTF8_1;
    } else if (lead < 0xf0) {
        scan->sub_state = lead == 0xe0 ? UTF8_E0 : lead == 0xed ? UTF8_ED : UTF8_2;
    } else {
        scan->sub_state = lead == 0xf0 ? UTF8_F0 : lead == 0xf4 ? UTF8_F4 : UTF8_3;
    }
    add_to_key(scan, c->p, 1);
    c->p++;
    return true;
}

static bool step_utf8_more(struct json_scan *scan, struct json_cursor *c)
{
    static const struct {
        unsigned char low;
        unsigned char high;
        uint8_t next;
    } rules[] = {
        [UTF8_1 - UTF8_1] = {0x80, 0xbf, PLAIN},   [UTF8_2 - UTF8_1] = {0x80, 0xbf, UTF8_1},
        [UTF8_3 - UTF8_1] = {0x80, 0xbf, UTF8_2},  [UTF8_E0 - UTF8_1] = {0xa0, 0xbf, UTF8_1},
        [UTF8_ED - UTF8_1] = {0x80, 0x9f, UTF8_1}, [UTF8_F0 - UTF8_1] = {0x90, 0xbf, UTF8_2},
        [UTF8_F4 - UTF8_1] = {0x80, 0x8f, UTF8_2},
    };
    unsigned char byte = (unsigned char)*c->p;
    unsigned rule = scan->sub_state - (unsigned)UTF8_1;
    if (byte < rules[rule].low || byte > rules[rule].high) {
        return json_scan_fail(scan, c, c->p, JSON_ERROR_UTF8);
    }
    scan->sub_state = rules[rule].next;
    add_to_key(scan, c->p, 1);
    c->p++;
    return true;
}

// Whole sequences, as long as they cannot reach the end. Stops at ASCII or at what step_utf8_lead
// must look at.
static const char *skip_utf8(const char *p, const char *end)
{
    p = json_skip_triples(p, end);
    while (end - p >= 4) {
        unsigned char a = (unsigned char)p[0];
        unsigned char b = (unsigned char)p[1];
        if (a < 0xc2 || (b & 0xc0) != 0x80) {
            break;
        }
        if (a < 0xe0) {
            p += 2;
            continue;
        }
        if (((unsigned char)p[2] & 0xc0) != 0x80) {
            break;
        }
        if (a < 0xf0) {
            if ((a == 0xe0 && b < 0xa0) || (a == 0xed && b > 0x9f)) {
                break;
            }
            p = json_skip_triples(p + 3, end);
            continue;
        }
        if (((unsigned char)p[3] & 0xc0) != 0x80 || a > 0xf4 || (a == 0xf0 && b < 0x90) ||
            (a == 0xf4 && b > 0x8f)) {
            break;
        }
        p += 4;
    }
    return p;
}

// Escapes at p (a backslash), as long as they are all there and simple. Stops at what the automaton
// must look at.
static inline const char *skip_escapes(struct json_scan *scan, const char *p, const char *end)
{
    while (end - p >= 6 && *p == '\\') {
        char meaning = json_escapes[(unsigned char)p[1]];
        if (meaning != 'u') {
            if (meaning == 0) {
                break;
            }
            add_to_key(scan, &meaning, 1);
            p += 2;
            continue;
        }
        int32_t code = json_hex4(p + 2);
        if (code < 0 || (code & 0xf800) == 0xd800) {
            break;
        }
        add_code_to_key(scan, (uint32_t)code);
        p += 6;
    }
    return p;
}

// From PLAIN: runs of ordinary characters, up to the closing quote or to something that the
// automaton must take byte by byte. *ret_closed: the quote was consumed.
static bool run_plain(struct json_scan *scan, struct json_cursor *c, bool *ret_closed)
{
    const char *p = c->p;
    const char *end = c->end;
    for (;;) {
        const char *start = p;
        p = json_skip_plain(p, end);
        add_to_key(scan, start, (size_t)(p - start));
        if (p == end) {
            break;
        }
        char byte = *p;
        start = p;
        if (byte == '"') {
            c->p = p + 1;
            *ret_closed = true;
            return true;
        }
        if (byte == '\\') {
            p = skip_escapes(scan, p, end);
            if (p == start) {
                scan->sub_state = ESCAPE;
                p++;
                break;
            }
            continue;
        }
        c->p = p;
        if ((unsigned char)byte < 0x20) {
            return json_scan_fail(scan, c, p, JSON_ERROR_SYNTAX);
        }
        p = skip_utf8(p, end);
        add_to_key(scan, start, (size_t)(p - start));
        c->p = p;
        if (p == start) {
            return step_utf8_lead(scan, c);
        }
    }
    c->p = p;
    return true;
}

static bool step_string_byte(struct json_scan *scan, struct json_cursor *c)
{
    switch ((enum string_state)scan->sub_state) {
    case ESCAPE:
        return step_escape(scan, c);
    case PAIR_ESCAPE:
    case PAIR_U:
        if (*c->p != (scan->sub_state == PAIR_ESCAPE ? '\\' : 'u')) {
            // After "\ud800\" some other escape: well-formed text, but half a character.
            return json_scan_fail(scan, c, c->p, JSON_ERROR_UTF8);
        }
        scan->sub_state++;
        scan->unicode = 0;
        c->p++;
        return true;
    case UTF8_1:
    case UTF8_2:
    case UTF8_3:
    case UTF8_E0:
    case UTF8_ED:
    case UTF8_F0:
    case UTF8_F4:
        return step_utf8_more(scan, c);
    default:
        return step_hex(scan, c);
    }
}

bool json_scan_string(struct json_scan *scan, struct json_cursor *c)
{
    const char *from = c->p;
    bool closed = false;
    while (c->p < c->end && !closed) {
        bool fine =
            scan->sub_state == PLAIN ? run_plain(scan, c, &closed) : step_string_byte(scan, c);
        if (!fine) {
            return false;
        }
    }
    if (scan->in_key) {
        return closed ? end_key(scan, c) : true;
    }
    scan->string_bytes += (uint64_t)(c->p - from) - closed;
    if (closed) {
        json_scan_end_value(scan, c, c->p);
    }
    return true;
}
