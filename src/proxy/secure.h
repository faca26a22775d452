// What routes ask of the way by which requests come: TLS, a client's certificate.
#pragma once

#include <stdbool.h>

#include "proxy/request.h"

// A request in the clear that the rule wants to come by https was sent there (and is gone).
bool secure_redirects(struct request *request, const struct snap_rule *rule);

// May the client have what the request's rule gives? False: it was told why not, and the request is
// gone.
bool secure_admits(struct request *request);

// What the server is told of the client's certificate, if the request's rule asks for that and this
// is one of its authorities. Else empty. Lives as long as the connection.
struct slice secure_client_cert(const struct request *request);

// Strict-Transport-Security for the answer; empty: none of ours.
struct slice secure_hsts(const struct request *request);
