// The text that a simulated model speaks: words drawn by a seed, so that the same request gets the
// same answer from every pod with the same seed.
#pragma once

#include <stdint.h>

#include "base/slice.h"

enum { SIM_WORD_MAX = 24 };

// Token number `index` of the text: a word with a space before it, but none before the first.
// Plain ASCII that needs no escaping in JSON.
struct slice sim_word(uint64_t seed, uint32_t index);

// Mixes two numbers into one seed.
uint64_t sim_mix(uint64_t a, uint64_t b);

// Where a model would stop by itself: some 16 to 400 tokens, about 120 in the mean.
uint32_t sim_natural_length(uint64_t seed);
