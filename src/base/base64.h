// Base64 (RFC 4648, the standard alphabet), decoding only.
#pragma once

#include <stddef.h>

#include "base/macros.h"
#include "base/slice.h"

// Line breaks and spaces are passed over, padding may be missing. A heap copy, NUL-terminated;
// *ret_len (may be NULL) is without the NUL. NULL when it is not base64, or out of memory.
MUST_CHECK char *base64_decode(struct slice text, size_t *ret_len);
