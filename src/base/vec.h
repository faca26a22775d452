// Typed growable arrays: VEC(struct foo) foos = {0}; VEC_PUSH(&foos, foo) …
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/macros.h"

#define VEC(type)    \
    struct {         \
        type *items; \
        size_t len;  \
        size_t cap;  \
    }

// Room for one more; false when out of memory.
MUST_CHECK bool vec_grow(void **items, size_t *cap, size_t len, size_t item_size);

// Appends; evaluates to false when out of memory (nothing appended).
#define VEC_PUSH(vec, value)                                                                   \
    (vec_grow((void **)&(vec)->items, &(vec)->cap, (vec)->len, sizeof((vec)->items[0]))        \
         ? ((vec)->items[(vec)->len++] = (value), true)                                        \
         : false)

#define VEC_FINI(vec)          \
    do {                       \
        free((vec)->items);    \
        (vec)->items = NULL;   \
        (vec)->len = 0;        \
        (vec)->cap = 0;        \
    } while (0)
