// A request's share of an endpoint's books: one outstanding request, and its uncached prompt tokens
// until the first token came; perhaps a place in a retry budget. Made by picking (endpoint/pick.h).
// Its owner releases it exactly once; a zero-initialised one is empty and every call on it is
// harmless.
#pragma once

#include "endpoint/retry_budget.h"

struct reservation {
    struct endpoint *endpoint; // pinned by its books until released; NULL = empty
    uint64_t tokens;           // uncached prompt tokens still in the books
    // A place in this backend's retry budget, until the first token; NULL = none.
    struct backend_state *retry_of;
};

// The prompt was processed: its tokens leave the books, a retry gives its place back. Idempotent.
void reservation_first_token(struct reservation *reservation);

// Ends it: everything leaves the books, the endpoint is unpinned. Idempotent.
void reservation_release(struct reservation *reservation);
