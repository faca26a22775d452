// Connections to endpoints, for requests that need one.
#pragma once

#include <stdbool.h>

#include "endpoint/endpoint.h"
#include "proxy/exchange.h"

struct worker;

// The backend of the request's target does.
bool upstream_speaks_http2(const struct request *request);

// Opens a connection for the request (which then gets events through relay_*). NULL: could not even
// start (*ret_errno; EACCES: nobody may connect there; EPROTONOSUPPORT: it would open no tunnel).
struct exchange *upstream_open(struct worker *worker, struct endpoint *endpoint,
                               struct request *request, int *ret_errno);

// Gives the request an open connection to the endpoint: an idle one on which the server has said
// nothing since its last answer, or with HTTP/2 one that has room for another stream. NULL: there
// is none.
struct exchange *upstream_reuse(struct worker *worker, const struct endpoint *endpoint,
                                struct request *request);

// Closes what idles for too long, and connections to endpoints that are gone; all: every idle one.
void upstream_sweep_idle(struct worker *worker, bool all);
