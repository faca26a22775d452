// How many connections each client address has, over all workers. An IPv6 client is its /64:
// whoever has one of its addresses usually has all 2^64 of them.
//
// A table of fixed size without locks: any thread may enter and leave. Addresses are told apart by
// a seeded hash of 64 bits. Where eight of them that are all in use fall into one place of the
// table, a ninth is let in uncounted; with twice as many slots as connections that is rare, and
// nobody outside can aim at it.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "net/ip.h"

struct address_count;

enum { ADDRESS_COUNT_UNCOUNTED = UINT32_MAX, ADDRESS_COUNT_REFUSED = UINT32_MAX - 1 };

// For so many connections at a time. NULL: out of memory.
struct address_count *address_count_new(size_t connections);
void address_count_free(struct address_count *count);

// One more connection. ADDRESS_COUNT_REFUSED: the address has `max` already, or more. Else what
// address_count_leave wants to have when the connection is gone. Two first connections of an
// address at the very same moment may be counted apart, so that it gets up to max of each.
MUST_CHECK uint32_t address_count_enter(struct address_count *count, const struct ip *address,
                                        uint32_t max);
void address_count_leave(struct address_count *count, uint32_t slot);
