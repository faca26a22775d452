// TLS of routes and backends: the certificates and authorities that they name, looked up, judged
// and put into the snapshot. A part of the compiler; not for others.
//
// A reference that is wrong is noted, and what hangs on it fails closed: without its certificate a
// host is not terminated, without its authorities nobody is let in, without either a backend is
// not talked to, and never in the clear instead. Secrets and ConfigMaps that are broken now but
// were sound before are used as they were.
#pragma once

#include "compile/build.h"

// What a route says of TLS, for its rules and its hosts.
struct route_tls {
    struct tls_host *entries; // one for each of spec.tls, without a name; identity NULL: left out
    struct snap_client_auth *client_auth;
    size_t client_auth_count;
    uint16_t https_port;
    struct slice hsts;
};

void build_route_tls(struct build *build, const struct object *route,
                     struct references *references, struct route_tls *ret);

// Enters the hosts of a route that has a place in the snapshot. Older ones keep what they have;
// the outcome says what was lost.
void build_claim_tls_hosts(struct build *build, const struct object *route,
                           const struct route_tls *tls, struct match_outcome *outcome);

// Moves them into the snapshot, sorted.
void build_finish_tls_hosts(struct build *build);

// False: the backend cannot be talked to, and the references say why. *ret is NULL for in the
// clear. Without a serverName, endpoints of a Service must be NAME.NAMESPACE.svc, as authorities
// inside a cluster name them; others by their address.
bool build_backend_tls(struct build *build, const struct object *backend,
                       struct references *references, const struct tls_upstream **ret);
