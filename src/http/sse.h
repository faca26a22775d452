// Server-sent events, as far as a relay needs them: where events end, and what the data of an event
// is. WHATWG HTML, section "Server-sent events"; lines end with LF, CR LF or CR.
#pragma once

#include "base/macros.h"
#include "base/slice.h"

// Resumable finder of event ends. Zero-initialised is ready.
struct sse_scan {
    uint8_t state;
};

// Index just after the first event end (the blank line) in data, or 0 when no event ends in it.
// Feed every byte once; after a hit, call again with the rest.
size_t sse_scan_event_end(struct sse_scan *scan, struct slice data);

// The payload of the first "data:" line of a whole event (without the one space after the colon);
// ptr NULL when it has none (a comment, a ping).
struct slice sse_event_data(struct slice event);
