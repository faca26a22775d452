// The sequence of requests: when each is due and what is in it. Depends on the configuration and
// its seed only, never on the answers.
#pragma once

#include "base/macros.h"
#include "base/strbuf.h"
#include "load/config.h"

// One request. Small, so that many can wait.
struct load_spec {
    uint64_t index;
    uint64_t at_ns; // since the start of the run
    uint64_t group; // with prefix groups
    uint32_t prefix_tokens;
    uint32_t prompt_tokens;
    uint32_t output_tokens;
    uint32_t block_count; // with a trace
    size_t first_block;
};

struct load_plan {
    const struct load_config *config;
    struct rand_state rng;
    uint64_t index;
    double at_s;
    double trace_factor;
    double *group_weights; // cumulative, up to 1
    uint32_t *group_tokens; // a group's prefix is always as long
};

// 0 or -ENOMEM. The configuration must outlive the plan.
MUST_CHECK int load_plan_init(struct load_plan *plan, const struct load_config *config);
void load_plan_fini(struct load_plan *plan);

// The next request; false when there is none (number, duration or trace exhausted). In a closed
// loop at_ns is 0: it is due when one before it ends.
MUST_CHECK bool load_plan_next(struct load_plan *plan, struct load_spec *ret_spec);

// Appends the body: the same text for the same seed and spec; equal blocks and equal groups give
// equal text at the same place.
void load_plan_body(const struct load_plan *plan, const struct load_spec *spec,
                    struct strbuf *out);

// Appends `tokens` short words, 4 bytes each with the space, which most tokenizers count as one
// token each. The same seed gives the same words.
void load_plan_words(struct strbuf *out, uint64_t seed, uint64_t tokens);
enum { LOAD_BYTES_PER_TOKEN = 4 };
