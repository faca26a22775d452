// XXH3 with a seed drawn at process start, so that clients cannot choose collisions.
#pragma once

#include <stdint.h>

#include "base/slice.h"

// Call once at start; without it the seed is 0 (tests: repeatable).
void hash_seed_random(void);

uint64_t hash_bytes(struct slice s);
