// What is read of an answer while it passes, streamed or not: the usage, and why the model stopped.
// Of OpenAI's formats (chat and text completions, embeddings, the responses API) and of Anthropic's
// messages. Resumable: feed every byte of the body once, in order, in pieces of any size.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

enum { ANSWER_REASON_MAX = 24, ANSWER_KEY_MAX = 32 };

struct answer_usage {
    uint64_t prompt_tokens; // of OpenAI's formats: cached ones included
    uint64_t completion_tokens;
    uint64_t cached_tokens;
    bool found;
};

// Zero-initialised is ready. A later usage object overrides what it says again (engines that report
// usage with every event count up).
struct answer_scan {
    struct answer_usage usage;
    // private
    uint64_t number;
    uint8_t state;
    uint8_t key;     // the one that is read
    uint8_t matched; // bytes of it, quotes included
    uint8_t depth;   // in the usage object
    uint8_t name_len;
    uint8_t len; // of a reason that is read
    uint8_t reason_len;
    bool name_ready; // the name's colon was seen
    bool in_number;
    bool bad_number;
    bool escaped;
    bool is_final; // the reason is OpenAI's, which no stop_reason overrides
    char name[ANSWER_KEY_MAX];
    char reason[ANSWER_REASON_MAX];
};

void answer_feed(struct answer_scan *scan, struct slice piece);

// "stop", "length", "tool_calls", "end_turn" …, the last that was given; empty: none was. Lives in
// the scan.
static inline struct slice answer_reason(const struct answer_scan *scan)
{
    return slice_of(scan->reason, scan->reason_len);
}
