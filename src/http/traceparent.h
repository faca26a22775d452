// W3C Trace Context, level 1 and what level 2 adds: traceparent and tracestate.
#pragma once

#include "base/rand.h"
#include "http/message.h"

enum { TRACEPARENT_LEN = 55 };

// "00-<32 hex>-<16 hex>-<2 hex>" in lower case, ids not all zero; of a version that we do not know
// (not ff) also what follows after a dash.
bool traceparent_is_valid(struct slice value);

// The traceparent of a request that may be passed on: there is one only, and it is valid; otherwise
// ptr NULL. *ret_pass_state: whether its tracestate fields may be passed on, too: at most 512
// printable bytes and 32 members in all. Without a valid parent they may not.
struct slice traceparent_find(const struct http_header *headers, size_t count,
                              bool *ret_pass_state);

// A new one: random ids and the flag "sampled". So a server that records what nobody decided about
// still does.
void traceparent_make(struct rand_state *rng, char out[TRACEPARENT_LEN]);
