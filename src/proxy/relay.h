// The response half: what comes from upstream, on its way to the client.
#pragma once

#include "proxy/request.h"

// Events of the upstream connection. After a call that returns false the upstream connection is
// gone or no longer this request's: the caller returns at once.

void relay_on_connected(struct request *request);
void relay_on_connect_failed(struct request *request, int error);
void relay_on_tls_failed(struct request *request);

// A final response head; its slices are valid during the call.
MUST_CHECK bool relay_on_head(struct request *request, const struct http_response *response);

// Nothing of the answer came with its head, but it is not over. gRPC's client may wait for the head
// before it says more: it gets it now; all others with the first bytes.
MUST_CHECK bool relay_head_alone(struct request *request);

// An interim response head (1xx), likewise. It passes to the client, but for 100: that one the
// client has had from us.
MUST_CHECK bool relay_on_interim(struct request *request, const struct http_response *response);

// Body bytes; where the exchange says `room`, in the worker's receive buffer, with SCRATCH_FRONT
// bytes before and SCRATCH_BACK behind them that may be written. done: the response is complete.
MUST_CHECK bool relay_on_data(struct request *request, char *data, size_t len, bool done);

// Trailers of the response, to be told right before the data that are done; valid so long.
void relay_set_trailers(struct request *request, const struct http_header *trailers, size_t count);

// Whether a header of a response goes to the client as it is.
bool relay_passes_to_client(const struct http_header *header);

// The connection broke (or sent nonsense: fault says which) before the response was complete.
void relay_on_broken(struct request *request, enum fault fault);

// The timer of the request.
void relay_set_phase(struct request *request, enum request_phase phase, uint32_t limit_ms);

// Who is waited for has changed: the client came to the end of its body, or shall go on with it.
void relay_wait_changed(struct request *request);
