// After a 101: bytes of another protocol (WebSocket) in both directions, until one side ends.
//
// Over HTTP/2 the same is an extended CONNECT that is answered with a 2xx (RFC 8441). Within us it
// is the GET that asks for an upgrade, and the 101, whatever either side speaks; each side gets the
// half of the handshake that its version has: keys are a matter of HTTP/1 alone.
#pragma once

#include "base/strbuf.h"
#include "proxy/request.h"

// Before each attempt of any request: what an upgrade needs for the versions of this one. 0;
// EBADMSG: the client gave no key that could be answered; ENOMEM.
MUST_CHECK int tunnel_prepare(struct request *request);

// Adds the key of ours to the head of an upgrade, where the client could not give one.
void tunnel_write_key(const struct request *request, struct strbuf *out);

// The server switched, as it was asked to: its head goes to the client, and what the client has
// sent since goes to the server from now on. False: the exchange is gone or no longer this
// request's.
MUST_CHECK bool tunnel_open(struct request *request, const struct http_response *response);

// The client ended its side: the server hears of it behind what came before, and may go on.
void tunnel_client_ended(struct request *request);

// How long nothing may move, in ms.
uint32_t tunnel_limit(const struct request *request);

// Nothing moved for the time limit.
void tunnel_idle(struct request *request);
