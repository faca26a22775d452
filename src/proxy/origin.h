// Where a request comes from, and in which trace: what its headers say of that, as far as it is
// believed, and what the server is told.
#pragma once

#include "proxy/request.h"

// Reads the head: sets request->forwarded and the trace context, and replaces ->client_address
// where the peer is a trusted proxy.
void origin_note(struct request *request);

// What another request knows of it. False: out of memory.
MUST_CHECK bool origin_copy(struct request *copy, const struct request *from);

// Whether a header of the request is ours to write, or left out, because of that.
bool origin_takes(const struct request *request, const struct http_header *header);

// Writes X-Forwarded-For, -Proto, -Host, -Client-Cert, Forwarded, and traceparent.
void origin_write(const struct request *request, struct strbuf *out);
