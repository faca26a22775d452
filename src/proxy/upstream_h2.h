// HTTP/2 connections to endpoints (RFC 9113, over nghttp2): each carries many exchanges at a time,
// up to its cap and to what the server allows; one more is opened when they are full.
//
// A stream's window opens again when the client took what came; the connection's at once, so that
// no client holds up the others. What a server sends beyond the rules ends the connection.
#pragma once

#include <stdbool.h>

#include "endpoint/endpoint.h"
#include "proxy/exchange.h"

struct worker;

// As upstream_open and upstream_reuse. A connection that is being opened takes further requests,
// which wait for it as for one of their own.
struct exchange *upstream_h2_open(struct worker *worker, struct endpoint *endpoint,
                                  struct request *request, int *ret_errno);
struct exchange *upstream_h2_reuse(struct worker *worker, const struct endpoint *endpoint,
                                   struct request *request);

// Closes what idles for too long, and idle connections to endpoints that are gone; all: every
// connection without an exchange.
void upstream_h2_sweep(struct worker *worker, bool all);
