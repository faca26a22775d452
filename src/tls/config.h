// What the compiled configuration says of TLS: plain, immutable data. The compiler fills it on the
// snapshot's arena, the data plane builds OpenSSL objects from it (per worker, see tls/server.h and
// tls/client.h).
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

enum { TLS_DIGEST_LEN = 32 };

// A certificate chain (leaf first) and its private key, both PEM, from a kubernetes.io/tls Secret.
struct tls_identity {
    struct slice certificate_pem;
    struct slice key_pem;
    uint8_t digest[TLS_DIGEST_LEN]; // SHA-256 of both: equal digests are the same identity
};

// Certificate authorities, PEM, from a Secret or ConfigMap.
struct tls_trust {
    struct slice ca_pem;
    uint8_t digest[TLS_DIGEST_LEN];
};

enum tls_client_auth {
    TLS_CLIENT_AUTH_NONE,
    TLS_CLIENT_AUTH_OPTIONAL, // asked for; one that is shown must be good
    TLS_CLIENT_AUTH_REQUIRED, // no handshake without a good one
};

// How connections for a server name are terminated.
struct tls_host {
    struct slice name; // lower case; "*.example.com" for names of one label more, "" = the default
    const struct tls_identity *identity;
    enum tls_client_auth client_auth;
    const struct tls_trust *client_trust; // NULL with TLS_CLIENT_AUTH_NONE
};

// How a backend's servers are talked to. NULL instead of one means in the clear.
struct tls_upstream {
    const struct tls_trust *trust;       // NULL: the system's authorities
    const struct tls_identity *identity; // client certificate; NULL = none
    struct slice server_name;            // SNI, and what the certificate must name; "" = the
                                         // endpoint's address
    bool insecure;                       // the certificate is not verified
    uint8_t digest[TLS_DIGEST_LEN];      // of all of it: a pooled connection serves only its equal
};
