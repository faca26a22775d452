// Where a request names its model, and how another name takes that place.
#pragma once

#include "proxy/request.h"

// Requests that name it in their target: OIP's paths (ai/oip.h), and upgrades (realtime APIs) with
// a query parameter `model`. Sets request->model and its place when it is there. False: replied,
// because it is there and no name.
MUST_CHECK bool model_place_of_target(struct request *request);

// `name` as it has to stand in the place; in the arena. ptr NULL: out of memory, or the place
// cannot take it.
struct slice model_place_encode(struct request *request, struct slice name);

// Path and query as they go upstream.
void model_place_write_target(const struct request *request, struct strbuf *out);
