// Parameters of header values (Content-Type, Content-Disposition), read so that no two readers can
// read them differently.
#pragma once

#include <stdbool.h>

#include "base/slice.h"

// The boundary of a multipart/form-data type: once, 1 to 70 characters of RFC 2046's. ptr NULL:
// none.
struct slice multipart_boundary(struct slice content_type);

// The name of a form-data disposition: once, without a backslash. *ret_is_file: it has a filename.
// ptr NULL: none.
struct slice multipart_name(struct slice disposition, bool *ret_is_file);
