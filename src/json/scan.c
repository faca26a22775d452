#include "json/scan.h"

#include "json/scan_internal.h"
#include "json/scan_simd.h"

enum number_state {
    MINUS = 0,
    ZERO,
    INTEGER,
    DOT,
    FRACTION,
    EXPONENT,
    EXPONENT_SIGN,
    EXPONENT_DIGIT
};

enum { BULK_MIN = 64, BULK_WAIT = 32 };

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

static bool in_object(const struct json_scan *scan)
{
    unsigned level = scan->depth - 1u;
    return (scan->stack[level / 64] >> (level % 64) & 1) != 0;
}

static bool push(struct json_scan *scan, const struct json_cursor *c, bool object)
{
    unsigned level = scan->depth;
    if (level == JSON_MAX_DEPTH) {
        return json_scan_fail(scan, c, c->p, JSON_ERROR_DEPTH);
    }
    uint64_t bit = UINT64_C(1) << (level % 64);
    scan->stack[level / 64] =
        object ? scan->stack[level / 64] | bit : scan->stack[level / 64] & ~bit;
    scan->depth++;
    scan->state = object ? OBJECT_FIRST : ARRAY_FIRST;
    return true;
}

static bool end_container(struct json_scan *scan, struct json_cursor *c, bool object)
{
    if (in_object(scan) != object) {
        return json_scan_fail(scan, c, c->p, JSON_ERROR_SYNTAX);
    }
    scan->depth--;
    c->p++;
    json_scan_end_value(scan, c, c->p);
    return true;
}

// The bytes that can begin a value.
static const uint8_t value_types[256] = {
    ['{'] = JSON_OBJECT,         ['['] = JSON_ARRAY, ['"'] = JSON_STRING, ['-'] = JSON_NUMBER,
    ['0' ... '9'] = JSON_NUMBER, ['t'] = JSON_TRUE,  ['f'] = JSON_FALSE,  ['n'] = JSON_NULL,
};

// The end of the number at p, when it is valid and surely ends before `end`; else NULL, and the
// automaton looks at it byte by byte.
static const char *whole_number(const char *p, const char *end)
{
    p += *p == '-';
    if (end - p < 2 || *p < '0' || *p > '9') {
        return NULL;
    }
    p = *p == '0' ? p + 1 : json_skip_digits(p, end);
    if (p < end && *p == '.') {
        const char *fraction = p + 1;
        p = json_skip_digits(fraction, end);
        if (p == fraction) {
            return NULL;
        }
    }
    if (p < end && (*p | 0x20) == 'e') {
        p++;
        p += p < end && (*p == '+' || *p == '-');
        const char *exponent = p;
        p = json_skip_digits(exponent, end);
        if (p == exponent) {
            return NULL;
        }
    }
    return p < end ? p : NULL;
}

// The same for a literal.
static const char *whole_literal(const char *p, const char *end, enum json_value_type type)
{
    if (end - p < 5) {
        return NULL;
    }
    switch (type) {
    case JSON_TRUE:
        return memcmp(p, "true", 4) == 0 ? p + 4 : NULL;
    case JSON_FALSE:
        return memcmp(p, "false", 5) == 0 ? p + 5 : NULL;
    default:
        return memcmp(p, "null", 4) == 0 ? p + 4 : NULL;
    }
}

// Takes a number or a literal in one step; false when it cannot.
static bool take_scalar(struct json_scan *scan, struct json_cursor *c, enum json_value_type type)
{
    const char *after =
        type == JSON_NUMBER ? whole_number(c->p, c->end) : whole_literal(c->p, c->end, type);
    if (after == NULL) {
        return false;
    }
    c->p = after;
    json_scan_end_value(scan, c, after);
    return true;
}

static bool begin_value(struct json_scan *scan, struct json_cursor *c)
{
    enum json_value_type type = (enum json_value_type)value_types[(unsigned char)*c->p];
    if (type == JSON_ABSENT) {
        return json_scan_fail(scan, c, c->p, JSON_ERROR_SYNTAX);
    }
    if (scan->depth == 0 && type != JSON_OBJECT) {
        return json_scan_fail(scan, c, c->p, JSON_ERROR_NOT_OBJECT);
    }
    if (scan->depth == 1 && scan->watching >= 0) {
        scan->watch_type = (uint8_t)type;
        scan->captures[scan->watching].start = json_scan_offset_at(scan, c, c->p);
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
        scan->sub_state = JSON_STRING_PLAIN;
        scan->in_key = false;
        break;
    case JSON_NUMBER:
        if (take_scalar(scan, c, type)) {
            return true;
        }
        scan->state = NUMBER;
        scan->sub_state = *c->p == '-' ? MINUS : *c->p == '0' ? ZERO : INTEGER;
        break;
    default:
        if (take_scalar(scan, c, type)) {
            return true;
        }
        scan->state = LITERAL;
        scan->sub_state = 1;
        scan->unicode = (uint8_t)type;
        break;
    }
    c->p++;
    return true;
}

static void begin_key(struct json_scan *scan, struct json_cursor *c)
{
    scan->state = STRING;
    scan->sub_state = JSON_STRING_PLAIN;
    scan->in_key = true;
    scan->key_len = 0;
    c->p++;
}

// RFC 8259 section 6.
static bool step_number(struct json_scan *scan, struct json_cursor *c)
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
            next = state == DOT                                  ? FRACTION
                   : state == EXPONENT || state == EXPONENT_SIGN ? EXPONENT_DIGIT
                                                                 : state;
            c->p = json_skip_digits(c->p, c->end);
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
            json_scan_end_value(scan, c, c->p);
            return true;
        } else {
            return json_scan_fail(scan, c, c->p, JSON_ERROR_SYNTAX);
        }
        scan->sub_state = (uint8_t)next;
        c->p++;
    }
    return true;
}

static bool step_literal(struct json_scan *scan, struct json_cursor *c)
{
    const char *word = scan->unicode == JSON_TRUE    ? "true"
                       : scan->unicode == JSON_FALSE ? "false"
                                                     : "null";
    while (c->p < c->end) {
        if (*c->p != word[scan->sub_state]) {
            return json_scan_fail(scan, c, c->p, JSON_ERROR_SYNTAX);
        }
        c->p++;
        scan->sub_state++;
        if (word[scan->sub_state] == '\0') {
            json_scan_end_value(scan, c, c->p);
            return true;
        }
    }
    return true;
}

// A comma in an array: token-id arrays are long runs of small integers. An attempt that brings
// nothing is not repeated for a while.
static void try_bulk(struct json_scan *scan, struct json_cursor *c)
{
    if (scan->bulk_wait > 0) {
        scan->bulk_wait--;
    } else if (c->end - c->p >= BULK_MIN) {
        const char *after = json_skip_integers(c->p, c->end);
        scan->bulk_wait = after == c->p ? BULK_WAIT : 0;
        c->p = after;
    }
}

static bool step_after(struct json_scan *scan, struct json_cursor *c)
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
        return json_scan_fail(scan, c, c->p, JSON_ERROR_SYNTAX);
    }
}

// The byte at c->p, which is no white space, between tokens.
static inline bool step_between(struct json_scan *scan, struct json_cursor *c)
{
    char byte = *c->p;
    switch ((enum json_scan_state)scan->state) {
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
    return json_scan_fail(scan, c, c->p, JSON_ERROR_SYNTAX);
}

// From between two tokens to the inside of the next, or to the end of the piece.
static bool step_structure(struct json_scan *scan, struct json_cursor *c)
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
    struct json_cursor c = {.p = piece.ptr, .end = piece.ptr + piece.len, .base = piece.ptr};
    bool fine = scan->error == JSON_OK;
    while (fine && c.p < c.end) {
        switch ((enum json_scan_state)scan->state) {
        case STRING:
            fine = json_scan_string(scan, &c);
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
