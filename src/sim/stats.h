// What a simulated engine has counted since it started; the dialects show it as their metrics.
#pragma once

#include <stdint.h>

#include "base/histogram.h"

// X(name): distributions. Times in nanoseconds, lengths in tokens.
#define SIM_STATS_HISTOGRAMS(X)                                                                  \
    X(ttft)                                                                                      \
    X(inter_token)                                                                               \
    X(time_per_output_token)                                                                     \
    X(end_to_end)                                                                                \
    X(queue)                                                                                     \
    X(prefill)                                                                                   \
    X(decode)                                                                                    \
    X(inference)                                                                                 \
    X(prompt_length)                                                                             \
    X(uncached_prompt_length)                                                                    \
    X(generation_length)                                                                         \
    X(max_tokens_asked)                                                                          \
    X(step_tokens)                                                                               \
    X(preemptions_each)                                                                          \
    X(one)

enum sim_histogram {
#define X(name) SIM_HISTOGRAM_##name,
    SIM_STATS_HISTOGRAMS(X)
#undef X
    SIM_HISTOGRAM_COUNT,
};

enum sim_finish { SIM_FINISH_NONE, SIM_FINISH_STOP, SIM_FINISH_LENGTH, SIM_FINISH_ABORT, SIM_FINISH_COUNT };

struct sim_stats {
    uint64_t prompt_tokens;  // of admitted requests, cached or not
    uint64_t cached_tokens;  // of these, found in the prefix cache
    uint64_t computed_prompt_tokens;
    uint64_t generation_tokens;
    uint64_t preemptions;
    uint64_t rejections; // by the queue limit
    uint64_t arrivals;
    uint64_t finished[SIM_FINISH_COUNT];
    uint64_t steps;
    uint64_t busy_slot_steps; // sum over steps of the requests in the batch
    uint64_t prefill_ns;      // time of steps, split by what caused it
    uint64_t decode_ns;
    uint64_t longest_sequence;
    uint64_t started_wall_ns;
    struct histogram histograms[SIM_HISTOGRAM_COUNT];
};
