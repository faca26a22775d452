// The request's body: received, and (when a rule needs it) read for what routing wants to know.
#pragma once

#include "proxy/request.h"

// The head is in place: asks for the body, or goes on at once when all of it is here.
void body_start(struct request *request);

// More bytes of the body; returns how many were used (the rest belongs to the next request), or -1
// when the request ended with an error reply.
ptrdiff_t body_take(struct request *request, const char *data, size_t len);

// Bytes of the body as it goes upstream (model spliced); only for complete bodies.
uint64_t body_upstream_length(const struct request *request);

// Fills iovecs with the upstream body from `offset` on.
int body_pieces(const struct request *request, uint64_t offset, struct iovec *iov, int max);

// Everything that is here has been sent: a streamed body makes room and reads on.
void body_sent(struct request *request);
