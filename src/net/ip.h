// An IP address of either version in one form: IPv4 lies in ::ffff:0:0/96 (RFC 4291 section 2.5.5),
// so that a dual-stack socket's view of a client and its own address are equal.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/slice.h"

struct ip {
    uint8_t bytes[16];
};

enum { IP_TEXT_MAX = 46 }; // with the NUL

// Dotted IPv4 (four decimal numbers without leading zeros) or IPv6; no port, brackets or zone. 0 or
// -EINVAL.
MUST_CHECK int ip_parse(struct slice text, struct ip *ret_ip);

// -EAFNOSUPPORT for what is no IP address.
MUST_CHECK int ip_of_sockaddr(const struct sockaddr *address, struct ip *ret_ip);

struct ip ip_of_v4(const uint8_t bytes[4]);
bool ip_is_v4(const struct ip *ip);
bool ip_eq(const struct ip *a, const struct ip *b);

// The usual text, IPv4 dotted; NUL-terminated. Returns its length.
size_t ip_print(const struct ip *ip, char out[IP_TEXT_MAX]);
