// What answers a GET: models, health, metrics, version.
#pragma once

#include "sim/exchange.h"

typedef void sim_page_fn(struct sim_exchange *exchange);

// Who answers a GET of the exchange's path, or NULL.
sim_page_fn *sim_page_find(const struct sim_exchange *exchange);
