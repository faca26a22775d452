// Judging PEM before the data plane sees it: is this chain, with this key, one that a TLS server
// can present; is that a list of authorities. No text that comes out of here holds key material.
//
// The control half's; any thread.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/slice.h"
#include "tls/config.h"

enum {
    TLS_PEM_MAX = 1 << 20, // as Kubernetes limits a Secret or ConfigMap
    TLS_CHAIN_MAX = 16,    // certificates of one chain
    TLS_TRUST_MAX = 1024,  // authorities of one list; public bundles have some 150
    TLS_NAMES_MAX = 256,   // names of one certificate that are looked at
};

// What a certificate says of itself.
struct tls_leaf {
    int64_t not_before; // seconds since 1970
    int64_t not_after;
    struct slice *names; // DNS names of its subjectAltName, lower case
    size_t name_count;
};

// Does the chain parse (leaf first), does the key parse and belong to the leaf, and would OpenSSL
// take both at its usual security level? A key with a passphrase does not parse. The arena gets
// the names. 0; -EINVAL with *err; -ENOMEM.
MUST_CHECK int tls_pem_check_identity(struct slice certificate_pem, struct slice key_pem,
                                      struct arena *arena, struct tls_leaf *ret_leaf,
                                      struct error *err);

// At least one certificate, and nothing broken. 0; -EINVAL with *err; -ENOMEM.
MUST_CHECK int tls_pem_check_trust(struct slice ca_pem, struct error *err);

// May the certificate be shown for this host (lower case; "*.example.com" asks for all names of one
// label more; "" is any)? As RFC 6125: an exact name, or a wildcard as the whole left-most label.
// The subject's common name does not count, as for browsers.
bool tls_leaf_covers(const struct tls_leaf *leaf, struct slice host);

// SHA-256 over the parts, each with its length, so that no two lists of parts are alike. False when
// out of memory.
MUST_CHECK bool tls_digest(const struct slice *parts, size_t count, uint8_t digest[TLS_DIGEST_LEN]);
