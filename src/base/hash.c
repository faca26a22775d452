#include "base/hash.h"

#include <sys/random.h>

#define XXH_INLINE_ALL
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wundef"
#include <xxhash.h>
#pragma GCC diagnostic pop

static uint64_t hash_seed;

void hash_seed_random(void)
{
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof(seed), 0) == (ssize_t)sizeof(seed)) {
        hash_seed = seed;
    }
}

uint64_t hash_bytes(struct slice s)
{
    return XXH3_64bits_withSeed(s.ptr != NULL ? s.ptr : "", s.len, hash_seed);
}
