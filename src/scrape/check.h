// Active health checks: a GET to each endpoint of the backends that ask for it, again and again.
// So many failures in a row make an endpoint unhealthy, so many good answers healthy again
// (endpoint/health.h). A scrape that fails is no failed check: metrics are another matter.
//
// Everything on the scraper's thread.
#pragma once

#include "base/list.h"
#include "base/rand.h"
#include "endpoint/endpoint.h"
#include "event/loop.h"
#include "scrape/fetch.h"

enum {
    CHECKS_IN_FLIGHT_MAX = 64,
    CHECK_BUSY_MS = 20,       // how long a check waits when so many are on their way
    CHECK_BYTES_MAX = 64 << 10, // of an answer
};

// Zeroed, with loop, fetch and rng set, is ready once check_init was called.
struct check_context {
    struct loop *loop;
    const struct fetch_context *fetch;
    struct rand_state *rng;
    struct list_node groups; // one a backend that is checked
    unsigned in_flight;
};

void check_init(struct check_context *context);
// Also in the middle of checks. Nothing counts as unhealthy any more.
void check_fini(struct check_context *context);

// Brings the checks in line with the table, whose lock is held. False: out of memory, to be called
// again.
bool check_follow(struct check_context *context, struct endpoint_table *table);

// Frees what check_follow found to be gone. Without the lock.
void check_sweep(struct check_context *context);
