// Inside the scraper: one endpoint that is scraped, and the backend that it belongs to. Everything
// runs on the scraper's thread.
#pragma once

#include "base/list.h"
#include "base/rand.h"
#include "endpoint/endpoint.h"
#include "event/loop.h"
#include "scrape/engine_table.h"
#include "scrape/fetch.h"

enum {
    SCRAPE_BYTES_MAX = 8 << 20,   // of one exposition
    SCRAPE_IDLE_FACTOR = 5,       // so much slower while nothing runs
    SCRAPE_BUSY_MS = 2000,        // how long a backend counts as busy after a request
    SCRAPE_BACKOFF_MAX_MS = 10000,
    SCRAPE_TIMEOUT_MIN_MS = 500,
    SCRAPE_TIMEOUT_MAX_MS = 5000,
    SCRAPE_WARN_AFTER = 3,        // failures in a row
    SCRAPE_NARROW_MIN = 8192,     // bytes of an exposition that are worth asking for less
};

// What all share.
struct scrape_context {
    struct loop *loop;
    struct fetch_context fetch;
    struct rand_state rng;
    struct list_node idle_readers; // kept for the next scrape
    struct metric_plan plans[ENGINE_COUNT]; // Generic's is with the source
};

struct scrape_source {
    struct list_node node;
    struct list_node targets;
    struct scrape_context *context;
    struct backend_state *backend; // watched
    struct scrape_config config;   // as it was when the targets were made
    struct server_tls *tls;        // one reference; see backend_state
    struct metric_plan *generic;   // NULL unless the engine is Generic
    uint64_t busy_until_ms;
    uint64_t picks_seen;
    bool warned_missing;
    bool seen; // by the walk over the table that is going on
};

struct scrape_target;

// A new target, its first scrape within one interval. With the table's lock. NULL: out of memory.
struct scrape_target *scrape_target_new(struct scrape_source *source, struct endpoint *endpoint);
// Also in the middle of a scrape.
void scrape_target_free(struct scrape_target *target);

struct endpoint *scrape_target_endpoint(const struct scrape_target *target);
struct scrape_target *scrape_target_of_node(struct list_node *node);
struct list_node *scrape_target_node(struct scrape_target *target);

// The source's TLS is another one: what was connected with the one before goes.
void scrape_target_reconnect(struct scrape_target *target);

// The backend became busy: a scrape that is farther away than an interval comes sooner.
void scrape_target_hurry(struct scrape_target *target);

// At the end.
void scrape_readers_free(struct scrape_context *context);
