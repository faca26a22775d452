// Resumable JSON skip-scanner (RFC 8259): checks the syntax of a whole document and captures a few
// members of the top-level object, without building a tree and in one pass, at memory speed.
//
// The text may come in pieces of any size. Captured values are described by offsets from the start
// of the document, so the caller can splice.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"
#include "base/slice.h"

enum json_error {
    JSON_OK = 0,
    JSON_ERROR_SYNTAX,        // not JSON
    JSON_ERROR_DEPTH,         // nested deeper than JSON_MAX_DEPTH
    JSON_ERROR_UTF8,          // invalid UTF-8 or a lone surrogate escape
    JSON_ERROR_DUPLICATE_KEY, // a watched key twice
    JSON_ERROR_TRUNCATED,     // the document ends too early
    JSON_ERROR_NOT_OBJECT,    // valid so far, but the top level is not an object
};
const char *json_error_text(enum json_error error);

enum { JSON_MAX_DEPTH = 256, JSON_MAX_WATCHED = 16, JSON_KEY_MAX = 32 };

enum json_value_type {
    JSON_ABSENT = 0,
    JSON_NULL,
    JSON_TRUE,
    JSON_FALSE,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT,
};

// A captured member: its value lies at [start, end) of the document (strings with their quotes).
struct json_capture {
    enum json_value_type type;
    uint64_t start;
    uint64_t end;
};

struct json_scan {
    const struct slice *keys; // watched top-level keys, decoded form; borrowed
    size_t key_count;
    struct json_capture captures[JSON_MAX_WATCHED];
    uint64_t offset;     // bytes consumed so far
    uint64_t error_at;   // offset of the byte that is wrong
    enum json_error error;
    // Bytes inside string values (at any depth, keys not counted): a good measure of prompt text.
    uint64_t string_bytes;
    bool done; // the top-level value is complete (only white space may follow)
    // private: the state of the automaton
    uint8_t state;
    uint8_t sub_state;
    uint8_t key_len;
    int8_t watching;
    uint8_t watch_type;
    uint8_t bulk_wait;
    bool in_key;
    uint16_t depth;
    uint16_t seen; // a bit for each watched key that was met
    uint16_t unicode;
    uint16_t high_surrogate;
    char key[JSON_KEY_MAX];
    uint64_t stack[JSON_MAX_DEPTH / 64]; // a bit for each level: 1 = object
};

// keys: at most JSON_MAX_WATCHED, each shorter than JSON_KEY_MAX; must outlive the scan.
void json_scan_init(struct json_scan *scan, const struct slice *keys, size_t key_count);

// Feeds the next piece. JSON_OK, or the error (which stays).
enum json_error json_scan_feed(struct json_scan *scan, struct slice piece);

// No more bytes come.
enum json_error json_scan_finish(struct json_scan *scan);

// Decodes the inside of a string token (with its quotes): escapes undone, UTF-8. Returns the
// length, or -EINVAL, -ENOSPC when `size` is too small. out is not NUL-terminated.
MUST_CHECK ptrdiff_t json_string_decode(struct slice token, char *out, size_t size);

// A number token as an unsigned integer; -EINVAL (fraction, exponent, sign), -ERANGE.
MUST_CHECK int json_number_u64(struct slice token, uint64_t *ret_value);
