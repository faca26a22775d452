// What a load run is to do. Filled by the program from its options; constant while it runs.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "load/dist.h"
#include "load/trace.h"
#include "load/url.h"

enum load_arrivals { LOAD_POISSON = 0, LOAD_FIXED };

enum { LOAD_TARGETS_MAX = 64 };

struct load_target {
    struct load_url url;
    struct load_addresses addresses;
};

struct load_config {
    struct load_target *targets; // requests go to them in turn
    size_t target_count;
    enum load_api api;
    struct slice model;
    bool stream;

    // When. rate > 0 without a trace: open loop at that many requests a second. rate = 0 without a
    // trace: closed loop, `concurrency` requests at any time. A trace: as recorded, time multiplied
    // by time_scale, or, with a rate, scaled to that mean rate.
    double rate;
    enum load_arrivals arrivals;
    const struct load_trace *trace;
    double time_scale;
    uint64_t duration_ns;  // of sending; 0 = until `requests` or the trace end
    uint64_t requests;     // 0 = no bound
    uint64_t concurrency;  // requests in flight at most; 0 = no cap (open loop)
    uint64_t warmup_ns;    // requests due before this are sent but not counted
    uint64_t drain_ns;     // wait so long for the last answers

    // What.
    struct load_dist prompt_tokens; // of the question, where there are prefix groups
    struct load_dist prefix_tokens;
    struct load_dist output_tokens;
    uint64_t prefix_groups; // 0 = none: prompts share nothing
    double prefix_skew;     // popularity of group i ~ 1 / i^skew; 0 = all alike
    uint32_t prompt_max;    // cut longer prompts of a trace; 0 = no cut
    uint32_t output_max;
    uint64_t seed;
    struct slice headers;   // whole lines, each with CR LF
    struct slice body_extra; // `,"key":value` …
    bool ignore_eos;

    uint64_t connect_timeout_ms;
    uint64_t first_timeout_ms;   // to the first token, or the answer where it is not a stream
    uint64_t between_timeout_ms; // between two pieces of a stream
    uint64_t total_timeout_ms;   // 0 = none

    struct slice share_header; // which response header names the endpoint
};
