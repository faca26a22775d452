// What is wrong with an object: every problem with the path of its field and, when the object came
// from a file, its line. Bounded, so that a hostile object costs no more than its own size.
#pragma once

#include <stddef.h>

#include "base/macros.h"
#include "base/strbuf.h"
#include "base/vec.h"

enum { PROBLEMS_MAX = 32 };

struct problem {
    char *path;    // "spec.rules[0].name"; "" = the object itself
    char *message; // begins in lower case, no full stop
    int line;      // from 1; 0 = not from a file
};

// Zero-initialised is empty and valid.
struct problems {
    VEC(struct problem) list;
    size_t dropped; // beyond PROBLEMS_MAX
};

void problems_fini(struct problems *problems);

// Appends one; beyond the maximum, or out of memory, it is only counted.
void problems_add(struct problems *problems, int line, const char *path, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

static inline bool problems_any(const struct problems *problems)
{
    return problems->list.len > 0 || problems->dropped > 0;
}

// "path: message; path: message; and 3 more", for a condition or a log line.
void problems_print(const struct problems *problems, struct strbuf *out);
