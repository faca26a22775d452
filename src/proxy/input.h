// A request as it was received, in one allocation of its own: the table of its header fields, its
// head, and a body that came with it.
#pragma once

#include "proxy/request.h"

// Copies buf[0..head_len), which the slices of *head point into, and the body_len bytes behind it.
// False: out of memory.
MUST_CHECK bool input_adopt(struct request *request, const struct http_request *head,
                            const char *buf, size_t head_len, size_t body_len);

// Everything that `from`, whose body is complete, received. False: out of memory.
MUST_CHECK bool input_copy(struct request *copy, const struct request *from);
