// Embeddings: unit vectors drawn by the seed, so that the same text gets the same vector.
#pragma once

#include <json-c/json.h>

#include "sim/exchange.h"

// Makes the vectors that the body asks for; they take the place of the exchange's body.
void sim_embeddings_prepare(struct sim_exchange *exchange, struct json_object *body);

// Appends the answer, once its prompt was processed.
void sim_embeddings_write(struct sim_exchange *exchange, struct strbuf *out);
