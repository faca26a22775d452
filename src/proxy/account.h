// What is written down about a request: metrics, decisions, the access log, what it taught us.
#pragma once

#include "proxy/request.h"

// An endpoint was picked (and reserved) for the next attempt, after a failure of kind `why` (one enum
// snap_retry_on bit; 0 = the first attempt, or no endpoint before).
void account_decision(struct request *request, const struct snap_target *target,
                      const struct pick_trace *trace, uint32_t why);

// The next attempt is a retry for this reason (one enum snap_retry_on bit).
void account_retry(struct request *request, uint32_t why);

void account_first_token(struct request *request);

// More events of a stream arrived.
void account_event(struct request *request);

// The request ends: counts, learns from its usage, writes the log line.
void account_request(struct request *request);
