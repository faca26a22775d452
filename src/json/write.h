// Writing JSON into a strbuf.
#pragma once

#include "base/slice.h"
#include "base/strbuf.h"

// "text" with quotes; control characters, quote and backslash escaped; invalid UTF-8 is replaced by
// U+FFFD, so that the output is valid whatever the input was.
void json_write_string(struct strbuf *out, struct slice text);

// "key": with the colon.
void json_write_key(struct strbuf *out, const char *key);

// A finite number in the shortest form that reads back; null for NaN and infinities.
void json_write_double(struct strbuf *out, double value);
