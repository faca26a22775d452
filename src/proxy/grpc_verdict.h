// What a gRPC answer says of its server. :status is 200 whatever happened; the verdict is in
// grpc-status: in the head of an answer that is nothing but trailers, else in the trailers. It
// counts for health and retries as the HTTP status that says the same (grpc_status_blames).
#pragma once

#include "proxy/request.h"

// The final head came. True: the answer is gRPC's, and this judges it, nobody else; then *ret_gone
// when it is tried elsewhere.
MUST_CHECK bool grpc_verdict_on_head(struct request *request, const struct http_response *response,
                                     bool *ret_gone);

// Before every piece of the answer goes on, of whatever kind of request; done: the last, with the
// trailers set. A first message shows that the server works. True: tried elsewhere, which it can be
// as long as nothing was committed.
MUST_CHECK bool grpc_verdict_on_data(struct request *request, size_t len, bool done);
