// Recorded request traces: when each request came, how long prompt and answer were, and, where the
// trace tells, which prompt blocks it shares with others.
//
// Two formats, told apart by their first bytes:
//   Mooncake (JSON lines): {"timestamp": ms, "input_length": n, "output_length": n,
//     "hash_ids": [one for each block of 512 prompt tokens; equal ids mean equal prefixes]}
//   Azure LLM inference (CSV): TIMESTAMP,ContextTokens,GeneratedTokens with a date and time
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "base/macros.h"
#include "base/slice.h"

enum { LOAD_TRACE_BLOCK_TOKENS = 512 };

struct load_trace_item {
    uint64_t at_ns; // since the first request
    uint32_t prompt_tokens;
    uint32_t output_tokens;
    uint32_t block_count; // 0: the prompt shares nothing
    size_t first_block;   // index into blocks
};

struct load_trace {
    struct load_trace_item *items; // ascending in time
    size_t len;
    size_t cap;
    uint64_t *blocks;
    size_t block_len;
    size_t block_cap;
};

// Reads a whole trace. 0, or a negative code with "name:line: why".
MUST_CHECK int load_trace_parse(struct slice text, const char *name, struct load_trace *ret_trace,
                                struct error *err);

// The same from a file, at most 1 GiB. A missing file says where traces are to be had.
MUST_CHECK int load_trace_read(const char *path, struct load_trace *ret_trace, struct error *err);

void load_trace_fini(struct load_trace *trace);
