// A request's half of the way to a server, whatever version of HTTP is spoken there: what a request
// may ask of the connection that carries it. Events come back through proxy/relay.h.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct request;
struct exchange;

struct exchange_ops {
    // Sends what the request has to send; call when there is (more of) it.
    void (*send)(struct exchange *exchange);
    // The client took what it had been given: read on.
    void (*resume)(struct exchange *exchange);
    // The exchange is complete: the connection may serve others. whole: everything was sent, too.
    void (*release)(struct exchange *exchange, bool whole);
    // Given up: the request (if any) hears nothing more. Frees.
    void (*close)(struct exchange *exchange);
};

struct exchange {
    const struct exchange_ops *ops;
    struct request *request; // NULL while idle
    bool paused;             // the client is blocked: do not read
    bool room; // the bytes that it gives to relay_on_data have room around them (proxy/relay.h)
};
