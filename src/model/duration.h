// Durations as Go and Kubernetes write them: "200ms", "1m30s", "2h".
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/macros.h"
#include "base/slice.h"

// Whole numbers of h, m, s and ms, at most four of them, each of at most five digits (the form of
// Gateway API's GEP-2257). 0 or -EINVAL.
MUST_CHECK int duration_parse(struct slice text, int64_t *ret_ms);

// The shortest such text: 90000 is "1m30s", 0 is "0s". Always NUL-terminated, cut when it does not
// fit; 32 bytes are enough for what duration_parse gives.
void duration_format(int64_t ms, char *out, size_t size);
