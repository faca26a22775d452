// Our own answers: errors in OpenAI's format, the model list, what rules answer themselves.
#pragma once

#include "proxy/request.h"

struct reply {
    unsigned status;
    struct slice content_type; // empty = none
    struct slice body;
    const struct http_header *fields; // in addition
    size_t field_count;
};

// Answers, and ends the request. Nothing was sent to the client yet.
void reply_with(struct request *request, const struct reply *reply);

// Writes into the worker's head, for answers that are sent in another way: a field that the rule
// may have replaced, and what all of our answers have.
void reply_write_field(struct request *request, struct slice name, struct slice value);
void reply_write_common(struct request *request);

// Answers with the fault; `detail` (may be empty) is appended to its text. Ends the request: when
// the client must not be answered any more (committed), the connection is cut instead.
void reply_fault(struct request *request, enum fault fault, struct slice detail);

// 404 with names that are close to the one asked for.
void reply_model_not_found(struct request *request);

// GET /v1/models and /v1/models/NAME from the snapshot.
void reply_models(struct request *request, struct slice name);

// Sends the client elsewhere.
void reply_redirect(struct request *request, unsigned status, struct slice location);

// Any status with a JSON body that somebody else wrote (an error event of the engine).
void reply_json(struct request *request, unsigned status, struct slice body);
