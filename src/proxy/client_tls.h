// What TLS told of a client: gathered once for each connection, when hands were shaken, for
// whatever asks later.
#pragma once

#include "base/arena.h"
#include "observe/access_line.h"
#include "tls/conn.h"

struct client_tls {
    struct arena arena; // what is pointed to
    bool is_verified;   // the client showed a certificate, and that was good:
    struct tls_peer peer;
    struct slice forwarded; // and as servers are told (proxy/forwarded_cert.h)
    struct access_tls log;
};

// The connection is borrowed and must outlive it. NULL: out of memory.
struct client_tls *client_tls_new(const struct tls_conn *conn);
// NULL is fine.
void client_tls_free(struct client_tls *tls);
