// What a run has seen: times, failures by kind, tokens, and which endpoint answered how much.
#pragma once

#include <stdint.h>

#include "base/histogram.h"
#include "base/macros.h"
#include "base/vec.h"
#include "load/reply.h"

enum { LOAD_NAME_MAX = 64, LOAD_SHARES_MAX = 1024 };

struct load_failures {
    enum load_failure failure;
    unsigned code; // status or code of the event; 0 = none
    uint64_t count;
    char sample[LOAD_SAMPLE_MAX]; // of the first
};

struct load_share {
    char name[LOAD_NAME_MAX]; // as the response header told; "" when it was absent
    uint64_t requests;
    uint64_t failed;
    uint64_t ttft_sum_ns;
    uint64_t ttft_count;
    uint64_t cached_tokens;
};

struct load_tally {
    uint64_t sent;
    uint64_t succeeded;
    uint64_t failed;
    uint64_t resent;     // on a new connection, because a kept one turned out to be closed
    uint64_t measured_ns; // from the end of the warm-up to the last answer
    // All in nanoseconds. Times start at the moment when a request was due, not when it could be
    // sent: a stalled server cannot make its own latencies vanish.
    struct histogram ttft; // to the first text
    struct histogram gap;  // between two pieces of text of a stream
    struct histogram tpot; // (end - first) / (tokens - 1)
    struct histogram e2e;
    struct histogram lag; // how late requests were sent: with a cap, or when this program is slow
    uint64_t prompt_tokens;
    uint64_t cached_tokens;
    uint64_t completion_tokens;
    uint64_t text_events;
    uint64_t without_usage; // answers that told no token counts
    VEC(struct load_failures) failures;
    VEC(struct load_share) shares;
};

// One request, when it is over.
struct load_outcome {
    uint64_t due_ns;
    uint64_t sent_ns;
    uint64_t first_ns; // 0 = no text came
    uint64_t last_ns;  // of the last text
    uint64_t end_ns;
    const struct load_reply *reply;
    const char *share;
};

void load_tally_init(struct load_tally *tally);
void load_tally_fini(struct load_tally *tally);

void load_tally_add(struct load_tally *tally, const struct load_outcome *outcome);

// Failures with the most first; endpoints by name.
void load_tally_sort(struct load_tally *tally);
