// The client side of a worker: connections to servers of a backend that is reached over TLS.
#pragma once

#include <stddef.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/macros.h"
#include "tls/config.h"
#include "tls/conn.h"
#include "tls/worker.h"

enum { TLS_CLIENT_SESSIONS_MAX = 1024 };

struct tls_client;

// The worker is borrowed and must outlive it. 0 or negative.
MUST_CHECK int tls_client_new(struct tls_worker *worker, struct tls_client **ret_client,
                              struct error *err);
// After its connections. NULL is fine.
void tls_client_free(struct tls_client *client);

// A connection over a connected (or connecting) socket, which stays its owner's, to the server at
// `peer`. alpn: what to ask for; the handshake fails when H2 was asked for and the server does not
// agree. A session of an earlier connection to the same address under an equal configuration is
// taken up. NULL when out of memory, or when the configuration cannot be used: *err says why.
struct tls_conn *tls_client_connect(struct tls_client *client, int fd,
                                    const struct tls_upstream *upstream,
                                    const struct sockaddr *peer, enum tls_alpn alpn,
                                    struct error *err);

// The configuration changed: forgets contexts and sessions of others than these.
void tls_client_keep_only(struct tls_client *client, const struct tls_upstream *const *upstreams,
                          size_t count);
