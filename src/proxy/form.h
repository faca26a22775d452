// A multipart form whose field `model` routes (audio, images, files): collected until the field is
// there, then routed while the rest streams through.
#pragma once

#include "proxy/request.h"

// The body is read for its model: when it is a form, begins to read it as one. False: replied.
MUST_CHECK bool form_begin(struct request *request);

// A piece arrived, of which nothing has been sent yet. False: replied.
MUST_CHECK bool form_add(struct request *request, struct slice piece);

// Enough is known to route, and the rest may stream.
bool form_is_ready(const struct request *request);

// Routes what is ready.
void form_route(struct request *request);

// All of it is here. False: replied.
MUST_CHECK bool form_end(struct request *request);
