// How a backend's servers are talked to over TLS, for those who outlive snapshots: the scraper. A
// copy on the heap, counted, wiped at its end since it may hold a key.
#pragma once

#include <stdatomic.h>
#include <stddef.h>

#include "base/macros.h"
#include "tls/config.h"

struct server_tls {
    _Atomic uint32_t refs;
    struct tls_upstream upstream; // points into what follows
    struct tls_trust trust;
    struct tls_identity identity;
    size_t size; // of the bytes
    char bytes[];
};

// Any thread that holds a reference, or the table's lock. NULL is fine.
struct server_tls *server_tls_ref(struct server_tls *tls);
void server_tls_unref(struct server_tls *tls);

// The same configuration; both NULL are the same.
bool server_tls_same(const struct server_tls *a, const struct server_tls *b);
