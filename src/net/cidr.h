// Ranges of IP addresses, as "10.0.0.0/8, fd00::/8, 192.0.2.7".
#pragma once

#include "base/error.h"
#include "net/ip.h"

enum { CIDR_LIST_MAX = 256 };

struct cidr {
    struct ip first; // the host bits are zero
    uint8_t bits;    // of the 128
};

// Zero-initialised is empty: nothing is in it. Constant once it is filled, and then free for all
// threads.
struct cidr_list {
    struct cidr *ranges;
    size_t count;
};

// One range or single address. An address with bits set beyond its prefix is refused: one of the
// two is not what was meant. 0 or -EINVAL with a text.
MUST_CHECK int cidr_parse(struct slice text, struct cidr *ret_range, struct error *err);

// The same, but takes an address for the range around it: what it has beyond the prefix is cleared.
MUST_CHECK int cidr_parse_around(struct slice text, struct cidr *ret_range, struct error *err);

// Adds the ranges of a list that commas separate, white space around them allowed; all or none. 0,
// -EINVAL, -E2BIG (over CIDR_LIST_MAX) or -ENOMEM, with a text.
MUST_CHECK int cidr_list_add(struct cidr_list *list, struct slice text, struct error *err);
void cidr_list_fini(struct cidr_list *list);

// An IPv6 range that is shorter than the mapped prefix (::/0) holds no IPv4 address: who trusts it
// had IPv6 in mind.
bool cidr_contains(const struct cidr *range, const struct ip *ip);

// IPv4 addresses are in the IPv6 ranges that their mapped form is in: ::/0 holds everything.
bool cidr_contains_mapped(const struct cidr *range, const struct ip *ip);

bool cidr_list_contains(const struct cidr_list *list, const struct ip *ip);
