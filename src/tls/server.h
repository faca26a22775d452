// The server side of a worker: picks the certificate by the name that the client asks for.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/macros.h"
#include "base/slice.h"
#include "tls/config.h"
#include "tls/conn.h"
#include "tls/tickets.h"
#include "tls/worker.h"

struct tls_server;

// The host that serves the name now ("": the client gave none), or NULL: the handshake is refused.
// Called in a handshake; what it returns must be valid until the call that shook hands returns.
typedef const struct tls_host *tls_server_lookup(void *arg, struct slice name);

// The worker and the tickets are borrowed and must outlive it. 0 or negative.
MUST_CHECK int tls_server_new(struct tls_worker *worker, struct tls_tickets *tickets,
                              tls_server_lookup *lookup, void *arg, struct tls_server **ret_server,
                              struct error *err);
// After its connections. NULL is fine.
void tls_server_free(struct tls_server *server);

// A connection for an accepted socket, which stays its owner's. h2: may HTTP/2 be agreed on? NULL
// when out of memory.
struct tls_conn *tls_server_accept(struct tls_server *server, int fd, bool h2);

// The configuration changed: forgets what was made for hosts that are not among these any more.
// Connections keep what they use. Certificates are read when they are first asked for, so this is
// cheap.
void tls_server_keep_only(struct tls_server *server, const struct tls_host *hosts, size_t count);
