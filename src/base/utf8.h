// UTF-8 as Unicode defines it (table 3-7: no overlong forms, no surrogates, nothing above 10FFFF).
#pragma once

#include "base/slice.h"

// What takes the place of bytes that are no UTF-8: U+FFFD.
#define UTF8_REPLACEMENT SLICE("\xef\xbf\xbd")

// Length of the character at the start of s: 1 to 4, or 0 when there is no valid one.
size_t utf8_char_len(struct slice s);
