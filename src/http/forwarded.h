// Who a request comes from, when proxies that we trust stand between: X-Forwarded-For and Forwarded
// (RFC 7239), read and written.
#pragma once

#include "base/arena.h"
#include "http/message.h"
#include "net/cidr.h"

enum { FORWARDED_HOPS_MAX = 32 };

struct forwarded {
    // hops[0] is the client: the nearest address that is not trusted (or the farthest that is
    // known). Then the proxies that it came through, the last one is who speaks to us.
    struct ip hops[FORWARDED_HOPS_MAX];
    size_t count;        // ≥ 1
    struct slice scheme; // "http" or "https": what the client spoke
    struct slice host;   // what the client asked for: an authority; may be empty
};

// Reads the headers of a request from `peer`. Only what a peer in `trusted` says is believed, from
// the right to the left: each address was added by the one to its right. What does not parse, is
// obfuscated or "unknown" ends the chain. When X-Forwarded-For and Forwarded name different
// clients, a proxy wrote one and passed the other on unseen: none is believed. The scheme and the
// authority of our own connection hold where nobody trusted says otherwise.
void forwarded_read(const struct http_header *headers, size_t count, const struct ip *peer,
                    const struct cidr_list *trusted, struct slice scheme, struct slice authority,
                    struct forwarded *ret_forwarded);

// Values of the fields as they go upstream. What was not believed is not passed on: who reads the
// leftmost address finds the client. In the arena (ptr NULL: out of memory, or no host).
struct forwarded_fields {
    struct slice forwarded_for; // X-Forwarded-For
    struct slice proto;         // X-Forwarded-Proto
    struct slice host;          // X-Forwarded-Host
    struct slice forwarded;     // Forwarded
};

void forwarded_write(const struct forwarded *from, struct arena *arena,
                     struct forwarded_fields *ret_fields);
