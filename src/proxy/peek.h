// Bodies that are looked at only as far as their model, and stream from there on: multipart forms
// (audio, images, files) and the gRPC messages of the Open Inference Protocol. What follows is read
// on while it passes: a second model ends the request before its last bytes went out.
#pragma once

#include "proxy/request.h"

// A rule wants the model out of the body: when the body is of such a kind, begins to read it; when
// it is gRPC that we know nothing of, nothing is read. False: replied.
MUST_CHECK bool peek_begin(struct request *request);

static inline bool peek_is_on(const struct request *request)
{
    return request->form != NULL || request->rpc != NULL;
}

// A piece arrived, of which nothing has been sent yet. False: replied.
MUST_CHECK bool peek_add(struct request *request, struct slice piece);

// Enough is known to route, and the rest may stream.
bool peek_is_ready(const struct request *request);

// Routes what is ready.
void peek_route(struct request *request);

// All of it is here. False: replied.
MUST_CHECK bool peek_end(struct request *request);

// gRPC: the length of the first message becomes what it is with the model's name that is sent.
void peek_settle_message(struct request *request);
