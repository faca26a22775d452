// multipart/form-data (RFC 7578, RFC 2046 section 5.1): finds the form field `model` wherever it
// stands, without keeping the files around it. Strict where readers differ: whoever makes two
// readers see two models of one body gets past the one that decides.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macros.h"
#include "base/slice.h"

// X(name, text)
#define MULTIPART_ERROR_TABLE(X)                                                                  \
    X(NONE, "")                                                                                   \
    X(BOUNDARY, "the Content-Type has no usable boundary")                                        \
    X(PREAMBLE, "the body does not begin with its boundary")                                      \
    X(BOUNDARY_LINE, "the boundary stands within a line")                                         \
    X(HEADER, "malformed header of a part")                                                       \
    X(HEADER_SIZE, "the header of a part is too large")                                           \
    X(DISPOSITION, "a part has no usable Content-Disposition")                                    \
    X(PARTS, "too many parts")                                                                    \
    X(TWICE, "a field that routes stands in the form twice")                                      \
    X(VALUE, "the value of a field that routes is empty, too long or not plain UTF-8 text")       \
    X(ENCODING, "a field that routes is a file, or encoded")                                      \
    X(EPILOGUE, "something follows the last boundary")                                            \
    X(CUT, "the body ends before its last boundary")

enum multipart_error {
#define X(name, text) MULTIPART_##name,
    MULTIPART_ERROR_TABLE(X)
#undef X
    MULTIPART_ERROR_COUNT,
};

const char *multipart_error_text(enum multipart_error error);

enum {
    MULTIPART_BOUNDARY_MAX = 70,
    MULTIPART_VALUE_MAX = 256,
    MULTIPART_LINE_MAX = 2048,   // of a part's header
    MULTIPART_HEADER_MAX = 8192, // all lines of a part's header
    MULTIPART_PARTS_MAX = 1000,
    MULTIPART_DELIMITER_MAX = MULTIPART_BOUNDARY_MAX + 2,
};

struct multipart_field {
    uint64_t start; // of the value, in the body
    uint16_t len;
    bool found; // whole
    char text[MULTIPART_VALUE_MAX];
};

// Bounded, about 3 KB. Its members are the module's but for the two fields.
struct multipart_scan {
    struct multipart_field model;
    struct multipart_field stream;
    uint64_t offset; // in the body, of the piece at hand
    uint64_t data_start;
    uint32_t parts;
    uint16_t delimiter_len;
    uint16_t tail_len;
    uint16_t used;        // of `line` or `value`
    uint16_t header_size; // of the part at hand
    uint8_t state;
    uint8_t matched; // bytes of what the state waits for
    uint8_t part;    // which field the part at hand is
    bool has_disposition;
    bool is_encoded;
    enum multipart_error error;
    char delimiter[MULTIPART_DELIMITER_MAX]; // "--" and the boundary
    char tail[MULTIPART_DELIMITER_MAX + 1];  // the last bytes of a part's data
    union {
        char line[MULTIPART_LINE_MAX];
        char value[MULTIPART_VALUE_MAX + 2 + MULTIPART_DELIMITER_MAX];
    };
};

// Begins with the value of the Content-Type. MULTIPART_BOUNDARY: it is not multipart/form-data, or
// has no boundary, several, or one that readers read differently.
MUST_CHECK enum multipart_error multipart_init(struct multipart_scan *scan,
                                               struct slice content_type);

// Reads on. As soon as scan->model.found, there is enough to route; but every later piece is still
// to be fed, and an error then has to end the request before its last byte went out: a second
// `model` might be the one that the server takes. Returns MULTIPART_NONE, or the same error ever
// after.
MUST_CHECK enum multipart_error multipart_feed(struct multipart_scan *scan, struct slice piece);

// The body ended. That there was no model is for the caller to judge.
MUST_CHECK enum multipart_error multipart_finish(struct multipart_scan *scan);

static inline struct slice multipart_value(const struct multipart_field *field)
{
    return field->found ? slice_of(field->text, field->len) : SLICE_NULL;
}

// The field `stream` says true.
bool multipart_wants_stream(const struct multipart_scan *scan);
