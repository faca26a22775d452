// The scanner's state machine, shared by scan.c (structure, numbers, literals) and scan_string.c.
#pragma once

#include "json/scan.h"

// Where the automaton stands between two bytes.
enum json_scan_state {
    VALUE = 0,    // a value must come
    ARRAY_FIRST,  // a value or ]
    OBJECT_FIRST, // a key or }
    KEY,          // a key must come
    COLON,
    AFTER,  // a value is complete: comma or bracket
    END,    // only white space
    STRING, // from here on: inside a token
    NUMBER,
    LITERAL,
};

// Inside a string: the sub-state to begin with. The others are known to scan_string.c.
enum { JSON_STRING_PLAIN = 0 };

struct json_cursor {
    const char *p;
    const char *end;
    const char *base;
};

// Offset of p in the document.
static inline uint64_t json_scan_offset_at(const struct json_scan *scan,
                                           const struct json_cursor *c, const char *p)
{
    return scan->offset + (uint64_t)(p - c->base);
}

// Always false, for `return json_scan_fail(…)`.
static inline bool json_scan_fail(struct json_scan *scan, const struct json_cursor *c,
                                  const char *p, enum json_error error)
{
    scan->error = error;
    scan->error_at = json_scan_offset_at(scan, c, p);
    return false;
}

// A value ended just before p.
static inline void json_scan_end_value(struct json_scan *scan, const struct json_cursor *c,
                                       const char *p)
{
    scan->state = AFTER;
    if (scan->depth == 1 && scan->watching >= 0) {
        struct json_capture *capture = &scan->captures[scan->watching];
        capture->type = (enum json_value_type)scan->watch_type;
        capture->end = json_scan_offset_at(scan, c, p);
        scan->watching = -1;
    } else if (scan->depth == 0) {
        scan->state = END;
        scan->done = true;
    }
}

// From inside a string (in_key: a member's name) to behind it, or to the end of the piece.
MUST_CHECK bool json_scan_string(struct json_scan *scan, struct json_cursor *c);
