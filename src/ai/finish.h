// Why a model stopped: the last "finish_reason" of an answer of chat or text completions, streamed
// or not. Resumable: feed every byte of the body once, in order, in pieces of any size.
#pragma once

#include <stdint.h>

#include "ai/key_scan.h"
#include "base/slice.h"

enum { FINISH_REASON_MAX = 24 };

// Zero-initialised is ready.
struct finish_scan {
    struct key_scan search;
    uint8_t len;     // of a value that is read
    uint8_t reason_len;
    char reason[FINISH_REASON_MAX];
};

void finish_feed(struct finish_scan *scan, struct slice piece);

// "stop", "length", "tool_calls" …; empty: none was given. Lives in the scan.
static inline struct slice finish_reason(const struct finish_scan *scan)
{
    return slice_of(scan->reason, scan->reason_len);
}
