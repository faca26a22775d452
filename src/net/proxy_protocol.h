// The PROXY protocol, versions 1 and 2 (haproxy's doc/proxy-protocol.txt): what a load balancer
// says about the connection before its first byte. Strict: who speaks it is a machine.
#pragma once

#include "net/ip.h"

// X(name, text)
#define PROXY_PROTOCOL_ERROR_TABLE(X)                                                             \
    X(NONE, "")                                                                                   \
    X(SIGNATURE, "no PROXY protocol header")                                                      \
    X(SYNTAX, "malformed PROXY protocol line")                                                    \
    X(ADDRESS, "malformed address or port in the PROXY protocol header")                          \
    X(VERSION, "unknown version or command of the PROXY protocol")                                \
    X(FAMILY, "the PROXY protocol header is not for a stream connection")                         \
    X(LENGTH, "the PROXY protocol header is too short for its addresses, or too long")            \
    X(TLV, "malformed extension in the PROXY protocol header")                                    \
    X(CHECKSUM, "wrong checksum of the PROXY protocol header")

enum proxy_protocol_error {
#define X(name, text) PROXY_PROTOCOL_##name,
    PROXY_PROTOCOL_ERROR_TABLE(X)
#undef X
    PROXY_PROTOCOL_ERROR_COUNT,
};

enum {
    PROXY_PROTOCOL_SIGNATURE_MAX = 12,
    PROXY_PROTOCOL_MAX = 16 + 2048, // a longer header of version 2 is refused
};

struct proxy_protocol {
    // False: the connection is the sender's own (LOCAL, UNKNOWN, or a UNIX socket behind it), and
    // its own address is the one that counts.
    bool has_addresses;
    struct ip source;
    struct ip destination;
    uint16_t source_port;
    uint16_t destination_port;
};

// Whether buf[0..len), as far as it goes, may be the start of a header; at most
// PROXY_PROTOCOL_SIGNATURE_MAX bytes decide. An HTTP request or a TLS handshake never is one.
bool proxy_protocol_may_start(const char *buf, size_t len);

// Parses a header at the start of buf[0..len). > 0: the bytes consumed; 0: more are needed (never
// with PROXY_PROTOCOL_MAX there); < 0: refused, -(int)enum proxy_protocol_error. Extensions (TLVs)
// are checked for their form, the checksum for its value.
MUST_CHECK ptrdiff_t proxy_protocol_parse(const char *buf, size_t len,
                                          struct proxy_protocol *ret_header);

const char *proxy_protocol_text(enum proxy_protocol_error error);
