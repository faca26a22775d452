// Text for people, in the control half. The data plane uses reason codes instead.
#pragma once

#include "base/macros.h"

struct error {
    char text[1024]; // NUL-terminated; cut when longer
};

#define ERROR_INIT ((struct error){.text = ""})

// Sets the text; returns `code`, so that `return error_set(err, -EINVAL, "…")` reads well.
// err may be NULL.
int error_set(struct error *err, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);

// Puts "prefix: " before the text that is already there. Returns `code`.
int error_prefix(struct error *err, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);
