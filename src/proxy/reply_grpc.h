// Our own errors as gRPC says them: in trailers, with :status 200.
#pragma once

#include "proxy/request.h"

// Nothing of an answer has been sent: answers with trailers alone, and ends the request.
void reply_grpc(struct request *request, enum fault fault, struct slice message);

// The client has had a part of the answer: the trailers that end it tell why. 0, or -errno.
MUST_CHECK int reply_grpc_cut(struct request *request, enum fault fault);
