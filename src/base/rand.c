#include "base/rand.h"

#include <sys/random.h>

#include "base/clock.h"

void rand_seed_random(struct rand_state *rng)
{
    if (getrandom(&rng->state, sizeof(rng->state), 0) != (ssize_t)sizeof(rng->state)) {
        rng->state = clock_mono_ns();
    }
}
