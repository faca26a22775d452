// Hedges: a request that waits too long for its first token is sent to a second endpoint, too, and
// whichever answers first is heard. The second one is a copy of the request (request_copy) on a
// stream of its own. Each of the two is the other's `rival`; the one whose stream is the client's
// is the request, and is accounted. Where the copy is about to say something, or the other one
// fails, the two change streams, and with them their parts: then the copy is the request, and what
// it was copied from is dropped without a word. At most once a request.
#pragma once

#include "proxy/request.h"

// Does its rule hedge?
static inline bool hedge_is_on(const struct request *request)
{
    return UNLIKELY(request->rule != NULL && request->rule->hedge_delay_ms != 0);
}

// An attempt begins, or has all of the body: from now on runs the time after which it is hedged.
void hedge_schedule(struct request *request);

// That time has come: sends the copy, where that is possible. This request itself goes on.
void hedge_start(struct request *request);

// The rest is for a request that has a rival, as long as the client has had nothing.

// It is about to answer the client: the rival is aborted, and this request has the client's stream.
void hedge_win(struct request *request);

// Its attempt failed: ends it, and the rival goes on as the request. It is gone on return.
void hedge_give_way(struct request *request);

// It has an answer that is a retry condition (one enum snap_retry_on bit). True: such an answer is
// none as long as the rival may give another; it gave way, and is gone. False: this is the answer.
MUST_CHECK bool hedge_yields(struct request *request, uint32_t why);

// It ends with this fault. True: it gave way, and is gone. False: the rival is gone as well, and
// the fault is the answer.
MUST_CHECK bool hedge_survives(struct request *request, enum fault fault);

// It ends: the request itself takes its hedge along.
void hedge_part(struct request *request);
