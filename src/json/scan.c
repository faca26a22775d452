#include "json/scan.h"

#include <errno.h>

#include "json/scan_simd.h"

// Where the automaton stands between two bytes.
enum state {
    VALUE = 0,    // a value must come
    ARRAY_FIRST,  // a value or ]
    OBJECT_FIRST, // a key or }
    KEY,          // a key must come
    COLON,
    AFTER, // a value is complete: comma or bracket
    END,   // only white space
    STRING, // from here on: inside a token
    NUMBER,
    LITERAL,
};

// Inside a string.
enum string_state {
    PLAIN = 0,
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

enum number_state { MINUS = 0, ZERO, INTEGER, DOT, FRACTION, EXPONENT, EXPONENT_SIGN, EXPONENT_DIGIT };

enum { KEY_TOO_LONG = 255, BULK_MIN = 64, BULK_WAIT = 32 };

struct cursor {
    const char *p;
    const char *end;
    const char *base;
};

const char *json_error_text(enum json_error error)
{
    static const char *const texts[] = {
        [JSON_OK] = "",
        [JSON_ERROR_SYNTAX] = "not valid JSON",
        [JSON_ERROR_DEPTH] = "nested too deeply",
        [JSON_ERROR_UTF8] = "invalid UTF-8 or a lone surrogate",
        [JSON_ERROR_DUPLICATE_KEY] = "a key occurs twice",
        [JSON_ERROR_TRUNCATED] = "the document ends too early",
        [JSON_ERROR_NOT_OBJECT] = "the document is not an object",
    };
    return (unsigned)error < ARRAY_LEN(texts) ? texts[error] : "";
}

void json_scan_init(struct json_scan *scan, const struct slice *keys, size_t key_count)
{
    BUG_ON(key_count > JSON_MAX_WATCHED);
    for (size_t i = 0; i < key_count; i++) {
        BUG_ON(keys[i].len > JSON_KEY_MAX);
    }
    *scan = (struct json_scan){.keys = keys, .key_count = key_count, .watching = -1};
}

static uint64_t offset_at(const struct json_scan *scan, const struct cursor *c, const char *p)
{
    return scan->offset + (uint64_t)(p - c->base);
}

// Always false, for `return fail(…)`.
static bool fail(struct json_scan *scan, const struct cursor *c, const char *p,
                 enum json_error error)
{
    scan->error = error;
    scan->error_at = offset_at(scan, c, p);
    return false;
}

static bool in_object(const struct json_scan *scan)
{
    unsigned level = scan->depth - 1u;
    return (scan->stack[level / 64] >> (level % 64) & 1) != 0;
}

static bool push(struct json_scan *scan, const struct cursor *c, bool object)
{
    unsigned level = scan->depth;
    if (level == JSON_MAX_DEPTH) {
        return fail(scan, c, c->p, JSON_ERROR_DEPTH);
    }
    uint64_t bit = UINT64_C(1) << (level % 64);
    scan->stack[level / 64] = object ? scan->stack[level / 64] | bit : scan->stack[level / 64] & ~bit;
    scan->depth++;
    scan->state = object ? OBJECT_FIRST : ARRAY_FIRST;
    return true;
}

// A value ended just before p.
static void end_value(struct json_scan *scan, const struct cursor *c, const char *p)
{
    scan->state = AFTER;
    if (scan->depth == 1 && scan->watching >= 0) {
        struct json_capture *capture = &scan->captures[scan->watching];
        capture->type = (enum json_value_type)scan->watch_type;
        capture->end = offset_at(scan, c, p);
        scan->watching = -1;
    } else if (scan->depth == 0) {
        scan->state = END;
        scan->done = true;
    }
}

static bool end_container(struct json_scan *scan, struct cursor *c, bool object)
{
    if (in_object(scan) != object) {
        return fail(scan, c, c->p, JSON_ERROR_SYNTAX);
    }
    scan->depth--;
    c->p++;
    end_value(scan, c, c->p);
    return true;
}

// The bytes that can begin a value.
static const uint8_t value_types[256] = {
    ['{'] = JSON_OBJECT, ['['] = JSON_ARRAY, ['"'] = JSON_STRING, ['-'] = JSON_NUMBER,
    ['0' ... '9'] = JSON_NUMBER, ['t'] = JSON_TRUE, ['f'] = JSON_FALSE, ['n'] = JSON_NULL,
};

static bool begin_value(struct json_scan *scan, struct cursor *c)
{
    enum json_value_type type = (enum json_value_type)value_types[(unsigned char)*c->p];
    if (type == JSON_ABSENT) {
        return fail(scan, c, c->p, JSON_ERROR_SYNTAX);
    }
    if (scan->depth == 0 && type != JSON_OBJECT) {
        return fail(scan, c, c->p, JSON_ERROR_NOT_OBJECT);
    }
    if (scan->depth == 1 && scan->watching >= 0) {
        scan->watch_type = (uint8_t)type;
        scan->captures[scan->watching].start = offset_at(scan, c, c->p);
    }
    switch (type) {
    case JSON_OBJECT:
    case JSON_ARRAY:
        if (!push(scan, c, type == JSON_OBJECT)) {
            return false;
        }
        break;
    case JSON_STRING:
        scan->state = STRING;
        scan->sub_state = PLAIN;
        scan->in_key = false;
        break;
    case JSON_NUMBER:
        scan->state = NUMBER;
        scan->sub_state = *c->p == '-' ? MINUS : *c->p == '0' ? ZERO : INTEGER;
        break;
    default:
        scan->state = LITERAL;
        scan->sub_state = 1;
        scan->unicode = (uint8_t)type;
        break;
    }
    c->p++;
    return true;
}

static void begin_key(struct json_scan *scan, struct cursor *c)
{
    scan->state = STRING;
    scan->sub_state = PLAIN;
    scan->in_key = true;
    scan->key_len = 0;
    c->p++;
}

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

// The UTF-8 form of a code point; returns its length.
static size_t encode_utf8(uint32_t code, char out[4])
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xc0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xe0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3f));
        out[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3f));
    out[2] = (char)(0x80 | (code >> 6 & 0x3f));
    out[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

static void add_code_to_key(struct json_scan *scan, uint32_t code)
{
    char bytes[4];
    if (scan->in_key) {
        add_to_key(scan, bytes, encode_utf8(code, bytes));
    }
}

// The closing quote of a key was read (c->p is after it).
static bool end_key(struct json_scan *scan, const struct cursor *c)
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
            return fail(scan, c, c->p - 1, JSON_ERROR_DUPLICATE_KEY);
        }
        scan->seen = (uint16_t)(scan->seen | 1u << i);
        scan->watching = (int8_t)i;
        break;
    }
    return true;
}

// What follows a backslash: the byte that it means, 'u' for itself, 0 = not allowed.
static const char escapes[256] = {
    ['"'] = '"',  ['\\'] = '\\', ['/'] = '/',  ['b'] = '\b', ['f'] = '\f',
    ['n'] = '\n', ['r'] = '\r',  ['t'] = '\t', ['u'] = 'u',
};

// Value of a hexadecimal digit plus one; 0 for other bytes.
static const uint8_t hex_digits[256] = {
    ['0'] = 1,  ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,
    ['8'] = 9,  ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
    ['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
};

static inline int hex_value(char c)
{
    return hex_digits[(unsigned char)c] - 1;
}

// Four hexadecimal digits at p, or -1.
static inline int32_t hex4(const char *p)
{
    int a = hex_value(p[0]);
    int b = hex_value(p[1]);
    int c = hex_value(p[2]);
    int d = hex_value(p[3]);
    return (a | b | c | d) < 0 ? -1 : a << 12 | b << 8 | c << 4 | d;
}

static bool is_high_surrogate(uint32_t code)
{
    return (code & 0xfc00) == 0xd800;
}

static bool is_low_surrogate(uint32_t code)
{
    return (code & 0xfc00) == 0xdc00;
}

static uint32_t join_surrogates(uint32_t high, uint32_t low)
{
    return 0x10000 + ((high & 0x3ff) << 10 | (low & 0x3ff));
}

// One hexadecimal digit of \u in either half.
static bool step_hex(struct json_scan *scan, struct cursor *c)
{
    int digit = hex_value(*c->p);
    if (digit < 0) {
        return fail(scan, c, c->p, JSON_ERROR_SYNTAX);
    }
    scan->unicode = (uint16_t)(scan->unicode << 4 | digit);
    if (scan->sub_state == LOW_4) {
        if (!is_low_surrogate(scan->unicode)) {
            return fail(scan, c, c->p, JSON_ERROR_UTF8);
        }
        add_code_to_key(scan, join_surrogates(scan->high_surrogate, scan->unicode));
        scan->sub_state = PLAIN;
    } else if (scan->sub_state != HEX_4) {
        scan->sub_state++;
    } else if (is_high_surrogate(scan->unicode)) {
        scan->high_surrogate = scan->unicode;
        scan->sub_state = PAIR_ESCAPE;
    } else if (is_low_surrogate(scan->unicode)) {
        return fail(scan, c, c->p, JSON_ERROR_UTF8);
    } else {
        add_code_to_key(scan, scan->unicode);
        scan->sub_state = PLAIN;
    }
    c->p++;
    return true;
}

static bool step_escape(struct json_scan *scan, struct cursor *c)
{
    char meaning = escapes[(unsigned char)*c->p];
    if (meaning == 0) {
        return fail(scan, c, c->p, JSON_ERROR_SYNTAX);
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
static bool step_utf8_lead(struct json_scan *scan, struct cursor *c)
{
    unsigned char lead = (unsigned char)*c->p;
    if (lead < 0xc2 || lead > 0xf4) {
        return fail(scan, c, c->p, JSON_ERROR_UTF8);
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

static bool step_utf8_more(struct json_scan *scan, struct cursor *c)
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
        return fail(scan, c, c->p, JSON_ERROR_UTF8);
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
        char meaning = escapes[(unsigned char)p[1]];
        if (meaning != 'u') {
            if (meaning == 0) {
                break;
            }
            add_to_key(scan, &meaning, 1);
            p += 2;
            continue;
        }
        int32_t code = hex4(p + 2);
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
static bool run_plain(struct json_scan *scan, struct cursor *c, bool *ret_closed)
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
            return fail(scan, c, p, JSON_ERROR_SYNTAX);
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

static bool step_string_byte(struct json_scan *scan, struct cursor *c)
{
    switch ((enum string_state)scan->sub_state) {
    case ESCAPE:
        return step_escape(scan, c);
    case PAIR_ESCAPE:
    case PAIR_U:
        if (*c->p != (scan->sub_state == PAIR_ESCAPE ? '\\' : 'u')) {
            // After "\ud800\" some other escape: well-formed text, but half a character.
            return fail(scan, c, c->p, JSON_ERROR_UTF8);
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

static bool step_string(struct json_scan *scan, struct cursor *c)
{
    const char *from = c->p;
    bool closed = false;
    while (c->p < c->end && !closed) {
        bool fine = scan->sub_state == PLAIN ? run_plain(scan, c, &closed)
                                             : step_string_byte(scan, c);
        if (!fine) {
            return false;
        }
    }
    if (scan->in_key) {
        return closed ? end_key(scan, c) : true;
    }
    scan->string_bytes += (uint64_t)(c->p - from) - closed;
    if (closed) {
        end_value(scan, c, c->p);
    }
    return true;
}

static const char *skip_digits(const char *p, const char *end)
{
    while (p < end && *p >= '0' && *p <= '9') {
        p++;
    }
    return p;
}

// RFC 8259 section 6.
static bool step_number(struct json_scan *scan, struct cursor *c)
{
    while (c->p < c->end) {
        char byte = *c->p;
        bool digit = byte >= '0' && byte <= '9';
        bool exponent = byte == 'e' || byte == 'E';
        enum number_state state = (enum number_state)scan->sub_state;
        enum number_state next = state;
        if (state == MINUS && digit) {
            next = byte == '0' ? ZERO : INTEGER;
        } else if (digit && state != ZERO) {
            next = state == DOT                                     ? FRACTION
                   : state == EXPONENT || state == EXPONENT_SIGN ? EXPONENT_DIGIT
                                                                    : state;
            c->p = skip_digits(c->p, c->end);
            scan->sub_state = (uint8_t)next;
            continue;
        } else if (byte == '.' && (state == ZERO || state == INTEGER)) {
            next = DOT;
        } else if (exponent && (state == ZERO || state == INTEGER || state == FRACTION)) {
            next = EXPONENT;
        } else if ((byte == '+' || byte == '-') && state == EXPONENT) {
            next = EXPONENT_SIGN;
        } else if (state == ZERO || state == INTEGER || state == FRACTION ||
                   state == EXPONENT_DIGIT) {
            end_value(scan, c, c->p);
            return true;
        } else {
            return fail(scan, c, c->p, JSON_ERROR_SYNTAX);
        }
        scan->sub_state = (uint8_t)next;
        c->p++;
    }
    return true;
}

static bool step_literal(struct json_scan *scan, struct cursor *c)
{
    const char *word = scan->unicode == JSON_TRUE ? "true" : scan->unicode == JSON_FALSE ? "false" : "null";
    while (c->p < c->end) {
        if (*c->p != word[scan->sub_state]) {
            return fail(scan, c, c->p, JSON_ERROR_SYNTAX);
        }
        c->p++;
        scan->sub_state++;
        if (word[scan->sub_state] == '\0') {
            end_value(scan, c, c->p);
            return true;
        }
    }
    return true;
}

// A comma in an array: token-id arrays are long runs of small integers. An attempt that brings
// nothing is not repeated for a while.
static void try_bulk(struct json_scan *scan, struct cursor *c)
{
    if (scan->bulk_wait > 0) {
        scan->bulk_wait--;
    } else if (c->end - c->p >= BULK_MIN) {
        const char *after = json_skip_integers(c->p, c->end);
        scan->bulk_wait = after == c->p ? BULK_WAIT : 0;
        c->p = after;
    }
}

static bool step_after(struct json_scan *scan, struct cursor *c)
{
    switch (*c->p) {
    case ',':
        c->p++;
        if (in_object(scan)) {
            scan->state = KEY;
        } else {
            scan->state = VALUE;
            try_bulk(scan, c);
        }
        return true;
    case '}':
        return end_container(scan, c, true);
    case ']':
        return end_container(scan, c, false);
    default:
        return fail(scan, c, c->p, JSON_ERROR_SYNTAX);
    }
}

// The byte at c->p, which is no white space, between tokens.
static inline bool step_between(struct json_scan *scan, struct cursor *c)
{
    char byte = *c->p;
    switch ((enum state)scan->state) {
    case ARRAY_FIRST:
        return byte == ']' ? end_container(scan, c, false) : begin_value(scan, c);
    case VALUE:
        return begin_value(scan, c);
    case OBJECT_FIRST:
        if (byte == '}') {
            return end_container(scan, c, true);
        }
        // fallthrough
    case KEY:
        if (byte != '"') {
            break;
        }
        begin_key(scan, c);
        return true;
    case COLON:
        if (byte != ':') {
            break;
        }
        scan->state = VALUE;
        c->p++;
        return true;
    case AFTER:
        return step_after(scan, c);
    default:
        break;
    }
    return fail(scan, c, c->p, JSON_ERROR_SYNTAX);
}

// From between two tokens to the inside of the next, or to the end of the piece.
static bool step_structure(struct json_scan *scan, struct cursor *c)
{
    while (scan->state < STRING) {
        c->p = json_skip_space(c->p, c->end);
        if (c->p == c->end) {
            break;
        }
        if (!step_between(scan, c)) {
            return false;
        }
    }
    return true;
}

enum json_error json_scan_feed(struct json_scan *scan, struct slice piece)
{
    if (piece.len == 0) {
        return scan->error;
    }
    struct cursor c = {.p = piece.ptr, .end = piece.ptr + piece.len, .base = piece.ptr};
    bool fine = scan->error == JSON_OK;
    while (fine && c.p < c.end) {
        switch ((enum state)scan->state) {
        case STRING:
            fine = step_string(scan, &c);
            break;
        case NUMBER:
            fine = step_number(scan, &c);
            break;
        case LITERAL:
            fine = step_literal(scan, &c);
            break;
        default:
            fine = step_structure(scan, &c);
            break;
        }
    }
    if (fine) {
        scan->offset += piece.len;
    }
    return scan->error;
}

enum json_error json_scan_finish(struct json_scan *scan)
{
    if (scan->error == JSON_OK && !scan->done) {
        scan->error = JSON_ERROR_TRUNCATED;
        scan->error_at = scan->offset;
    }
    return scan->error;
}

// \uXXXX, perhaps a pair, at *at (the backslash). The code point, or -1; *at moves behind it.
static int32_t decode_unicode(struct slice text, size_t *at)
{
    if (text.len - *at < 6) {
        return -1;
    }
    int32_t code = hex4(text.ptr + *at + 2);
    *at += 6;
    if (code < 0 || is_low_surrogate((uint32_t)code)) {
        return -1;
    }
    if (!is_high_surrogate((uint32_t)code)) {
        return code;
    }
    if (text.len - *at < 6 || text.ptr[*at] != '\\' || text.ptr[*at + 1] != 'u') {
        return -1;
    }
    int32_t low = hex4(text.ptr + *at + 2);
    *at += 6;
    if (low < 0 || !is_low_surrogate((uint32_t)low)) {
        return -1;
    }
    return (int32_t)join_surrogates((uint32_t)code, (uint32_t)low);
}

ptrdiff_t json_string_decode(struct slice token, char *out, size_t size)
{
    if (token.len < 2 || token.ptr[0] != '"' || token.ptr[token.len - 1] != '"') {
        return -EINVAL;
    }
    struct slice text = slice_of(token.ptr + 1, token.len - 2);
    size_t at = 0;
    size_t len = 0;
    while (at < text.len) {
        char bytes[4] = {text.ptr[at]};
        size_t count = 1;
        if (bytes[0] != '\\') {
            if (bytes[0] == '"' || (unsigned char)bytes[0] < 0x20) {
                return -EINVAL;
            }
            at++;
        } else {
            char meaning = text.len - at < 2 ? '\0' : escapes[(unsigned char)text.ptr[at + 1]];
            if (meaning == '\0') {
                return -EINVAL;
            }
            if (meaning == 'u') {
                int32_t code = decode_unicode(text, &at);
                if (code < 0) {
                    return -EINVAL;
                }
                count = encode_utf8((uint32_t)code, bytes);
            } else {
                bytes[0] = meaning;
                at += 2;
            }
        }
        if (size - len < count) {
            return -ENOSPC;
        }
        memcpy(out + len, bytes, count);
        len += count;
    }
    return (ptrdiff_t)len;
}

int json_number_u64(struct slice token, uint64_t *ret_value)
{
    return slice_to_u64(token, ret_value);
}
