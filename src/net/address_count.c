#include "net/address_count.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

enum {
    WAYS = 8, // slots of one place: a cache line
    COUNT_BITS = 24,
    SLOTS_MAX = 1 << 22,
    TRIES_MAX = 64, // after so many lost races with other threads nobody counts
};
#define COUNT_MASK ((UINT64_C(1) << COUNT_BITS) - 1)

// A slot is the upper bits of the address' hash and the number of its connections; 0 of them: free.
// All orders are relaxed: the words stand for nothing but themselves.
struct address_count {
    size_t places; // a power of two
    CACHE_ALIGNED _Atomic uint64_t slots[];
};

struct address_count *address_count_new(size_t connections)
{
    size_t places = 1;
    while (places * WAYS < 2 * connections && places * WAYS < SLOTS_MAX) {
        places *= 2;
    }
    size_t size = sizeof(struct address_count) + places * WAYS * sizeof(uint64_t);
    size = (size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    struct address_count *count = aligned_alloc(CACHE_LINE, size);
    if (count != NULL) {
        memset(count, 0, size);
        count->places = places;
    }
    return count;
}

void address_count_free(struct address_count *count)
{
    free(count);
}

static uint64_t hash_of(const struct ip *address)
{
    const char *bytes = (const char *)address->bytes;
    // Of different lengths: the one is never the other's.
    return hash_bytes(ip_is_v4(address) ? slice_of(bytes + 12, 4) : slice_of(bytes, 8));
}

// A slot of the place that the address has or may have; -1 when all are others'.
static int find_slot(_Atomic uint64_t *place, uint64_t tag)
{
    int unused = -1;
    for (int i = WAYS - 1; i >= 0; i--) {
        uint64_t word = atomic_load_explicit(&place[i], memory_order_relaxed);
        if ((word & COUNT_MASK) == 0) {
            unused = i;
        } else if (word >> COUNT_BITS == tag) {
            return i;
        }
    }
    return unused;
}

uint32_t address_count_enter(struct address_count *count, const struct ip *address, uint32_t max)
{
    uint64_t hash = hash_of(address);
    uint64_t tag = hash >> COUNT_BITS;
    size_t first = (size_t)(hash & (count->places - 1)) * WAYS;
    for (int tries = 0; tries < TRIES_MAX; tries++) {
        int i = find_slot(&count->slots[first], tag);
        if (i < 0) {
            break;
        }
        _Atomic uint64_t *slot = &count->slots[first + (size_t)i];
        uint64_t word = atomic_load_explicit(slot, memory_order_relaxed);
        bool is_free = (word & COUNT_MASK) == 0;
        if (!is_free && word >> COUNT_BITS != tag) {
            continue; // taken by another address meanwhile
        }
        if (!is_free && (word & COUNT_MASK) >= MIN_OF((uint64_t)max, COUNT_MASK)) {
            return ADDRESS_COUNT_REFUSED;
        }
        uint64_t next = is_free ? tag << COUNT_BITS | 1 : word + 1;
        if (atomic_compare_exchange_strong_explicit(slot, &word, next, memory_order_relaxed,
                                                    memory_order_relaxed)) {
            return (uint32_t)(first + (size_t)i);
        }
    }
    return ADDRESS_COUNT_UNCOUNTED;
}

void address_count_leave(struct address_count *count, uint32_t slot)
{
    if (slot < ADDRESS_COUNT_REFUSED) {
        atomic_fetch_sub_explicit(&count->slots[slot], 1, memory_order_relaxed);
    }
}
