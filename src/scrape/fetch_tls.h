// TLS of fetches: who is asked over it, what OpenSSL needs of the scraper's thread (made when first
// used), and its counts.
//
// Everything on the scraper's thread.
#pragma once

#include "base/strbuf.h"
#include "endpoint/endpoint.h"
#include "endpoint/server_tls.h"
#include "net/transport.h"
#include "tls/client.h"

// Zeroed, with the table set, is ready.
struct fetch_tls {
    struct endpoint_table *table; // has the counts
    struct tls_worker *worker;    // NULL: nothing was fetched over TLS yet
    struct tls_client *client;
};

// Is the endpoint asked over TLS at this port (of a backend whose servers speak TLS, or not)?
bool fetch_speaks_tls(enum endpoint_scheme scheme, bool backend_is_tls,
                      const struct endpoint *endpoint, uint16_t port);

// The Host of a request: the name that the server's certificate must have, where there is one.
void fetch_add_host(struct strbuf *request, const struct endpoint *endpoint, uint16_t port,
                    const struct server_tls *tls);

// After all fetches.
void fetch_tls_fini(struct fetch_tls *tls);

// Gives the transport, which connects to `peer`, its TLS. 0 or negative, *err says why.
MUST_CHECK int fetch_tls_begin(struct fetch_tls *tls, struct transport *transport,
                               const struct server_tls *server, const struct sockaddr *peer,
                               struct error *err);

// Goes on with the handshake; as tls_conn_handshake. Counts its end.
MUST_CHECK int fetch_tls_shake(struct fetch_tls *tls, struct transport *transport);

// Something else than a handshake failed, or one did not begin or end.
void fetch_tls_failed(struct fetch_tls *tls, enum tls_fault fault);

// The table, whose lock is held, changed: forgets what was made for configurations that no backend
// has any more. False: out of memory, to be called again.
bool fetch_tls_follow(struct fetch_tls *tls, struct endpoint_table *table);
