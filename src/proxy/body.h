// The request's body: received, and (when a rule needs it) read for what routing wants to know.
#pragma once

#include "proxy/request.h"
#include "proxy/worker.h"

// What is held of a body that streams through: when it is full, the client is not read.
enum { BODY_WINDOW_MAX = REQUEST_REPLAY_MAX + REQUEST_STREAM_WINDOW };

// The head is in place: asks for the body, or goes on at once when all of it is here.
void body_start(struct request *request);

// How long it may become in all.
uint64_t body_limit(const struct request *request);

// A piece of the body, without framing. False: the request was answered because of it (and may be
// gone).
MUST_CHECK bool body_add(struct request *request, struct slice piece);

// Trailers of a body, before body_added says that it ends; those marked `drop` do not go on. False:
// the request was answered because of them.
MUST_CHECK bool body_set_trailers(struct request *request, const struct http_header *trailers,
                                  size_t count);

// After pieces were added: goes on with them. end: there will be no more. The request may be gone
// on return.
void body_added(struct request *request, bool end);

// Bytes of the body as it goes upstream (model spliced); only for complete bodies.
uint64_t body_upstream_length(const struct request *request);

// Fills iovecs with the upstream body from `offset` on.
int body_pieces(const struct request *request, uint64_t offset, struct iovec *iov, int max);

// Everything that is here has been sent: a streamed body makes room and reads on.
void body_sent(struct request *request);
