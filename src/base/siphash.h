// SipHash-2-4 (Aumasson, Bernstein: "SipHash: a fast short-input PRF"): a keyed hash that tells
// nothing of its key or its input, and the same number everywhere for the same of both.
#pragma once

#include <stdint.h>

#include "base/slice.h"

struct siphash_key {
    uint64_t words[2];
};

uint64_t siphash(const struct siphash_key *key, struct slice s);
