// Streaming parser of the Prometheus text format (version 0.0.4, and OpenMetrics as far as it is
// the
// same): keeps the samples whose names are asked for and skips the rest at the speed of memchr.
//
// Bytes come in pieces of any size. No allocation; a line is copied only when it is wanted and cut
// by the end of a piece.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macros.h"
#include "base/slice.h"

enum {
    EXPOSITION_NAMES_MAX = 96,
    EXPOSITION_NAME_LEN_MAX = 128,
    EXPOSITION_LINE_MAX = 8192, // a wanted line this long, with its end, is dropped and counted
    EXPOSITION_SLOTS = 1024,
};

// The names that are wanted, as a filter without collisions among them.
struct exposition_names {
    struct slice names[EXPOSITION_NAMES_MAX]; // borrowed
    size_t count;
    uint64_t seed;
    uint64_t lengths[3]; // a bit for every length that some name has
    uint8_t slots[EXPOSITION_SLOTS]; // index + 1; 0 = none
};

// Duplicates and names that are empty or too long are refused: 0, -EINVAL, or -ENOSPC (too many).
// The texts must outlive it.
MUST_CHECK int exposition_names_init(struct exposition_names *names, const struct slice *wanted,
                                     size_t count);

// Index of the name, or -1.
int exposition_names_find(const struct exposition_names *names, struct slice name);

// A wanted sample. `labels` is the text between the braces, checked for balanced quotes only and
// valid during the call.
typedef void exposition_sample_fn(void *arg, size_t name, struct slice labels, double value);

struct exposition {
    const struct exposition_names *names;
    exposition_sample_fn *fn;
    void *arg;
    uint64_t lines;     // all that were seen, comments and blank ones included
    uint64_t samples;   // handed to fn
    uint64_t malformed; // wanted ones that were not (bad labels or value, too long)
    bool skipping;      // until the next line feed
    size_t carry_len;   // the beginning of a line that the last piece cut
    char carry[EXPOSITION_LINE_MAX];
};

void exposition_init(struct exposition *exposition, const struct exposition_names *names,
                     exposition_sample_fn *fn, void *arg);
void exposition_feed(struct exposition *exposition, struct slice bytes);
// A last line without a line feed counts as well.
void exposition_finish(struct exposition *exposition);

// The value of a label, escapes (\\ \" \n) resolved, cut to `size` (NUL-terminated, size > 0).
// False (and buf empty) when the label is absent or the text before it is malformed.
bool exposition_label(struct slice labels, struct slice name, char *buf, size_t size);

// Cuts the next label off *labels: its name, and its value as written, with escapes. False at the
// end or at a malformed one.
bool exposition_label_next(struct slice *labels, struct slice *ret_name, struct slice *ret_value);
