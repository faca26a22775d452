// TLS on the way to a server, whatever version of HTTP is spoken there.
#pragma once

#include "endpoint/endpoint.h"
#include "net/transport.h"
#include "tls/config.h"

struct request;
struct worker;

// What was verified of the server of a connection (and shown to it): the configuration's digest.
// Requests of another configuration do not go over that connection.
struct upstream_pin {
    uint8_t digest[TLS_DIGEST_LEN];
    bool tls;
};

// What the backend that the request goes to asks for.
struct upstream_pin upstream_tls_pin(const struct request *request);
bool upstream_tls_same(const struct upstream_pin *a, const struct upstream_pin *b);

// Before the socket is connected: makes it one with TLS where the request's backend wants that. 0,
// or an errno: it cannot be (counted, and logged).
MUST_CHECK int upstream_tls_begin(struct worker *worker, struct transport *transport,
                                  const struct endpoint *endpoint, const struct request *request);

// Once it is connected, and again at each event: 0 hands are shaken (or there is no TLS); -EAGAIN;
// -EPROTO: failed (counted, and logged).
MUST_CHECK int upstream_tls_shake(struct worker *worker, struct transport *transport,
                                  const struct endpoint *endpoint);
