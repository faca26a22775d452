// Attempts: which backend, which endpoint, and what comes after a failure.
#pragma once

#include "proxy/request.h"

// Where a retry condition stands for why there is another attempt: none failed, it is a hedge.
enum { ATTEMPT_HEDGE = 1 << 30 };

// The body is complete (or may be streamed): routes and starts the first attempt, or replies.
void attempt_first(struct request *request);

// The copy of a request (proxy/mirror.h): one attempt on the target, with nothing after it.
void attempt_copy(struct request *request, const struct snap_target *target);

// Reserves another endpoint of the current target that is well and was not tried yet, as far as the
// retry budget goes; it counts as tried. False: there is none.
MUST_CHECK bool attempt_reserve_hedge(struct request *request, struct reservation *ret);

// The hedge, which has a reservation on the target of this request, is sent. It may be gone on
// return.
void attempt_hedge(struct request *hedge, const struct snap_target *target);

// The current attempt failed before the commit. `why` is its retry condition (one enum
// snap_retry_on bit), `fault` what the client hears when nothing is left to try. Starts another
// attempt, or replies with the fault. The failed upstream connection must be gone already.
void attempt_failed(struct request *request, uint32_t why, enum fault fault);

// Whether another attempt is possible at all after such a failure; then drops the current upstream
// connection and starts it. False: nothing was changed (the answer at hand is passed on).
bool attempt_again(struct request *request, uint32_t why);

// A kept connection turned out to be dead before it answered: once, a fresh connection to the same
// endpoint. False when that is not possible.
bool attempt_stale_connection(struct request *request);

// How the current attempt fares, for the health of its endpoint.
void attempt_report(struct request *request, enum health_report report);
// The same of a connection that did not come to be.
void attempt_report_connect(struct request *request, int error);

// The connection has no room for it after all, and nothing of it was sent: another connection to
// the same endpoint. It is the same attempt still.
void attempt_move(struct request *request);

// An errno of connecting that says something about us, not about the server.
bool attempt_is_our_failure(int error);

// What the request ends as after such an error.
enum fault attempt_connect_fault(int error);

// The pieces of head and body from `offset` on; returns how many iovecs were filled (0: nothing
// to send now).
int attempt_pieces(const struct request *request, uint64_t offset, struct iovec *iov, int max);

// Bytes of the head that are still to be sent.
size_t attempt_head_left(const struct request *request);

// `sent` more bytes of head and body went out.
void attempt_sent(struct request *request, size_t sent);

// Everything that is to be sent has been sent.
bool attempt_all_sent(const struct request *request);
