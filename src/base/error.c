#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int error_set(struct error *err, int code, const char *fmt, ...)
{
    if (err != NULL) {
        va_list args;
        va_start(args, fmt);
        vsnprintf(err->text, sizeof(err->text), fmt, args);
        va_end(args);
    }
    return code;
}

int error_prefix(struct error *err, int code, const char *fmt, ...)
{
    if (err == NULL) {
        return code;
    }
    char old[sizeof(err->text)];
    memcpy(old, err->text, sizeof(old));
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(err->text, sizeof(err->text), fmt, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof(err->text)) {
        size_t at = (size_t)n;
        snprintf(err->text + at, sizeof(err->text) - at, ": %.*s",
                 (int)(sizeof(err->text) - at - 3), old);
    }
    return code;
}
