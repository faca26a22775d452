// X-Forwarded-Client-Cert: what a server is told of a client's certificate, in the form that Envoy
// gave it (its "HTTP header manipulation" page, x-forwarded-client-cert). Pure.
#pragma once

#include "base/strbuf.h"
#include "tls/conn.h"

enum { FORWARDED_CERT_MAX = 4096 };

// Appends one element of the list:
//
//   Hash=<hex>;Subject="CN=me,O=Example";URI=spiffe://example.com/me;DNS=me.example.com
//
// URI and DNS come as often as there are names. Whatever a reader makes of quotes and backslashes,
// it finds the same: a quote or a backslash inside the subject is written as RFC 2253 writes odd
// bytes (\22, \5C), and names that have one are left out, as neither a URI nor a host may. So is a
// subject that was cut, and what would make more than FORWARDED_CERT_MAX bytes.
void forwarded_cert_write(const struct tls_peer *peer, struct strbuf *out);
