// Parameters of header values (Content-Type, Content-Disposition), read so that no two readers can
// read them differently.
#pragma once

#include <stdbool.h>

#include "base/macros.h"
#include "base/slice.h"

// Cuts "; name=value" off the front of *rest. 1: there is one; 0: the end; -EINVAL: malformed, or
// ambiguous: a quoted value with an escaped quote (some readers know no escapes and end it there),
// or an extended parameter (name*=, RFC 5987). Values are without the quotes, escapes untouched.
MUST_CHECK int multipart_param(struct slice *rest, struct slice *ret_name, struct slice *ret_value);

// The boundary of a multipart/form-data type: once, 1 to 70 characters of RFC 2046's. ptr NULL:
// none.
struct slice multipart_boundary(struct slice content_type);

// The name of a form-data disposition: once, without a backslash. *ret_is_file: it has a filename.
// ptr NULL: none.
struct slice multipart_name(struct slice disposition, bool *ret_is_file);
