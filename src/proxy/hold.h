// What is held before anything reaches the client, until it says what it is: the first event of a
// stream, which may be an error, and the body of an error, which may say that the server shuts
// down. What it turns out to be goes to the health of the endpoint.
#pragma once

#include "proxy/request.h"

enum hold {
    HOLD_MORE, // held
    HOLD_GO,   // may go to the client, with what was held before
    HOLD_GONE, // was answered, or is tried elsewhere: the exchange is gone
};

// Is an answer with this head judged by what follows it?
bool hold_waits(unsigned status, bool sse);

// A status (of the response, or named by its first event), with the text of the error where it is
// known. True: tried elsewhere.
bool hold_judge(struct request *request, unsigned status, struct slice text);

// The next bytes of an answer that is not committed; done: the last ones.
MUST_CHECK enum hold hold_back(struct request *request, char *data, size_t len, bool done);
