// How many tokens: a fixed number or a distribution to draw from.
//
//   128   uniform:64-256   exp:200   normal:200,50   lognormal:200,0.8
//
// The first number is the mean (of lognormal the median; the second is sigma of the logarithm).
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "base/macros.h"
#include "base/rand.h"
#include "base/slice.h"

enum load_dist_kind {
    LOAD_DIST_FIXED,
    LOAD_DIST_UNIFORM,
    LOAD_DIST_EXP,
    LOAD_DIST_NORMAL,
    LOAD_DIST_LOGNORMAL,
};

struct load_dist {
    enum load_dist_kind kind;
    double a;
    double b;
};

enum { LOAD_TOKENS_MAX = 1 << 20 }; // of one prompt or answer

// 0, or -EINVAL with the text of what is wrong.
MUST_CHECK int load_dist_parse(struct slice text, struct load_dist *ret_dist, struct error *err);

// At least 1 (0 only when fixed at 0), at most LOAD_TOKENS_MAX.
uint32_t load_dist_draw(const struct load_dist *dist, struct rand_state *rng);

// Exponentially distributed with mean 1: the gaps of a Poisson process.
double load_draw_exp(struct rand_state *rng);
