// Small fast generator (splitmix64). Not for secrets.
#pragma once

#include <stdint.h>

struct rand_state {
    uint64_t state;
};

// Seeds from the kernel.
void rand_seed_random(struct rand_state *rng);

static inline uint64_t rand_u64(struct rand_state *rng)
{
    uint64_t z = (rng->state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

// Uniform in [0, n); n > 0.
static inline uint64_t rand_below(struct rand_state *rng, uint64_t n)
{
    return (uint64_t)(((unsigned __int128)rand_u64(rng) * n) >> 64);
}

// Uniform in [0, 1).
static inline double rand_unit(struct rand_state *rng)
{
    return (double)(rand_u64(rng) >> 11) * 0x1.0p-53;
}
