// Cookies of requests (RFC 6265 section 5.4): one value out of the Cookie fields.
#pragma once

#include "http/message.h"

// The value of the first cookie with the name (in exactly these letters), without quotes; ptr NULL
// when there is none. Cookies may come in several fields, as HTTP/2 clients send them.
struct slice cookie_find(const struct http_header *headers, size_t count, struct slice name);
