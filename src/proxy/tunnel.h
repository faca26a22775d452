// After a 101: bytes of another protocol (WebSocket) in both directions, until one side ends.
#pragma once

#include "proxy/request.h"

// The server switched, as it was asked to: its head goes to the client, and what the client has
// sent since goes to the server from now on. False: the exchange is gone or no longer this
// request's.
MUST_CHECK bool tunnel_open(struct request *request, const struct http_response *response);

// The client ended its side. What it had sent before still goes to the server; then all ends.
void tunnel_client_ended(struct request *request);

// Nothing moved for the time limit.
void tunnel_idle(struct request *request);
