// What is written down about a request: metrics, decisions, the access log, what it taught us.
#pragma once

#include "proxy/request.h"

// Around a pick for the next attempt: the first lends the trace to be filled, the second writes
// down what came of it. `why`: the kind of failure before (one enum snap_retry_on bit, or
// ATTEMPT_HEDGE; 0 = the first attempt, or no endpoint before).
struct pick_trace *account_pick_begin(struct request *request);
void account_pick(struct request *request, struct pick_trace *trace,
                  const struct snap_target *target, uint32_t why, bool picked);

// The next attempt is a retry for this reason (one enum snap_retry_on bit).
void account_retry(struct request *request, uint32_t why);

// It was sent to a second endpoint.
void account_hedge(struct request *request);

void account_first_token(struct request *request);

// More events of a stream arrived.
void account_event(struct request *request);

// The request ends: counts, learns from its usage, writes the log line.
void account_request(struct request *request);
