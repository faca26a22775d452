// A budget of retries for each backend: when all of it fails, every request would be sent several
// times, and what is down under its load would stay down. So only a share of the requests that are
// under way may be second tries at any moment. Counted over all workers.
#pragma once

#include "endpoint/endpoint.h"

struct retry_budget {
    uint32_t percent;         // of the requests outstanding at the backend
    uint32_t min_concurrency; // so many are always fine
};

// Takes a place for one more retry. False: there is none. Inside an epoch section.
MUST_CHECK bool retry_budget_take(struct backend_state *backend,
                                  const struct retry_budget *budget);

// Gives the place back: the retry had its first token, or ended. Any thread.
void retry_budget_give(struct backend_state *backend);
