// Trailer fields: which may be passed on, and those that h1_chunked_decode collected.
#pragma once

#include "base/macros.h"
#include "http/message.h"
#include "http/reject.h"

// Whether a trailer of this name may be passed on. Not those of RFC 9110 section 6.5.1: framing,
// routing, authentication, conditions, response control, the content's description; and not those
// that say who speaks (Forwarded and its kin): a recipient that merges trailers into the header
// section would believe them. Look-alikes with '_' count as the name that they resemble.
bool trailers_may_pass(struct slice name);

// Cuts the lines of `section`, as h1_chunked_decode left them, into headers[0..max). Slices point
// into the section; fields that may not pass have `drop`. Returns the number of fields, or
// -HTTP_REJECT_TOO_MANY_HEADERS, or -HTTP_REJECT_TRAILER for what no decoder left.
MUST_CHECK ptrdiff_t trailers_parse(struct slice section, struct http_header *headers, size_t max);
