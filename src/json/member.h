// Writing objects and arrays member by member. The comma before one is put where the text so far
// asks for it; an empty key is for elements of arrays and for the outermost value.
#pragma once

#include <stdbool.h>

#include "base/slice.h"
#include "base/strbuf.h"

void member_open(struct strbuf *out, const char *key, char bracket);
void member_close(struct strbuf *out, char bracket);
void member_str(struct strbuf *out, const char *key, struct slice value);
void member_num(struct strbuf *out, const char *key, double value);
void member_bool(struct strbuf *out, const char *key, bool value);

// A value that is JSON already.
void member_raw(struct strbuf *out, const char *key, struct slice value);
