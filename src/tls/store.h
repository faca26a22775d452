// Lists of authorities as OpenSSL looks them up, read once for all threads. A certificate takes
// about a millisecond to read and a public bundle has some 150 of them: a worker that reads serves
// nobody meanwhile. So the compiler reads what a configuration names before it is published, and
// the snapshot holds it; workers find it here.
//
// Any thread.
#pragma once

#include "base/error.h"
#include "base/macros.h"
#include "tls/config.h"

struct tls_store; // counted

// The one that somebody holds, by the digest; without one, the authorities are read here and now.
// NULL for `trust` means the system's, which stay once they are read. One reference; NULL: *err
// says why.
struct tls_store *tls_store_get(const struct tls_trust *trust, struct error *err);
void tls_store_unref(struct tls_store *store); // NULL is fine
