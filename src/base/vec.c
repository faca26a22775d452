#include "base/vec.h"

#include <stdlib.h>

bool vec_grow(void **items, size_t *cap, size_t len, size_t item_size)
{
    if (len < *cap) {
        return true;
    }
    size_t want = 8;
    size_t bytes;
    if ((*cap != 0 && __builtin_mul_overflow(*cap, (size_t)2, &want)) ||
        __builtin_mul_overflow(want, item_size, &bytes)) {
        return false;
    }
    void *grown = realloc(*items, bytes);
    if (grown == NULL) {
        return false;
    }
    *items = grown;
    *cap = want;
    return true;
}
