// What each inference engine calls the numbers that picking needs: one row per engine, and the
// reader that turns an exposition into them.
//
// Adding an engine: a row in base/engine.h, one in engine_table.c, and a test with an excerpt of
// its exposition.
#pragma once

#include "base/error.h"
#include "endpoint/endpoint.h"
#include "scrape/exposition.h"

// Counts are summed over all samples of a name (models, data-parallel engines), the others are the
// highest of them.
enum engine_field {
    FIELD_WAITING = 0,   // requests in the queue
    FIELD_RUNNING,       // requests in the batch
    FIELD_ACTIVE,        // both together, where the engine does not tell them apart
    FIELD_KV,            // utilisation, 0..1
    FIELD_KV_CAPACITY,   // tokens
    FIELD_KV_BLOCKS,     // blocks that there are
    FIELD_KV_BLOCKS_USED,
    FIELD_BLOCK_TOKENS,  // tokens in a block
    ENGINE_FIELD_COUNT,
};

struct engine_metric {
    enum engine_field field;
    const char *name;
    const char *label;      // NULL: every sample of the name counts
    const char *label_is;   // only samples whose label has this value …
                            // … or, when NULL, the label's value is the number
};

enum { ENGINE_METRICS_MAX = 14, ENGINE_PATHS_MAX = 3 };

struct engine_row {
    enum engine engine;
    // In order of preference: the first one of a field that the exposition has is the one used.
    struct engine_metric metrics[ENGINE_METRICS_MAX];
    const char *paths[ENGINE_PATHS_MAX]; // tried in this order; none = the engine has no metrics
    uint16_t port;                       // of the metrics, when it is not the endpoint's own
    const char *health;                  // where it is asked how it is; NULL: at /health
    // Labels that tell apart workers of one and the same engine, which all report the whole.
    const char *rank_labels[3];
    bool kv_old_at_idle; // the utilisation keeps its last value when nothing runs
};

// NULL for ENGINE_AUTO and ENGINE_GENERIC.
const struct engine_row *engine_row(enum engine engine);

// Names to look for, with what each means. Built once, read by any thread.
enum { PLAN_METRICS_MAX = EXPOSITION_NAMES_MAX };
struct metric_plan {
    enum engine engine; // ENGINE_AUTO: all engines' names, and the best match is the engine
    struct exposition_names names;
    struct plan_entry {
        struct engine_metric metric;
        enum engine engine;
        uint8_t preference; // within the engine; lower first
        int next;           // entry with the same name, or -1
    } entries[PLAN_METRICS_MAX];
    size_t count;
    int first[EXPOSITION_NAMES_MAX]; // entry of each name
};

// For ENGINE_GENERIC the three names come from `config` (and must outlive the plan); for the others
// config may be NULL. 0 or -EINVAL.
MUST_CHECK int metric_plan_init(struct metric_plan *plan, enum engine engine,
                                const struct scrape_config *config);

// Where to scrape: path number `n` of the configuration and engine. NULL: there is none (any more).
const char *engine_scrape_path(const struct scrape_config *config, enum engine engine, size_t n);

// Where health is checked when nobody says so; of ENGINE_AUTO, before anything was detected, too.
const char *engine_health_path(enum engine engine);

struct metric_result {
    enum engine engine; // ENGINE_AUTO: nothing known was found
    // NAN: not said
    double waiting;
    double running;
    double kv_utilisation;
    double kv_capacity_tokens;
    char found[METRICS_FOUND_MAX];   // names that gave the numbers, comma-separated
    char missing[METRICS_FOUND_MAX]; // waiting, running, KV: the engine has it, this one did not
};

enum { METRIC_VALUES_MAX = 512 };

// Reads one exposition. About 18 KB: one per scrape in flight, not on a stack.
struct metric_reader {
    const struct metric_plan *plan;
    struct exposition exposition;
    struct metric_value {
        int entry;
        uint32_t group; // hash of the labels without ranks
        double value;
    } values[METRIC_VALUES_MAX];
    size_t count;
    bool overflow; // more samples of wanted names than any real engine has: the rest was dropped
};

void metric_reader_init(struct metric_reader *reader, const struct metric_plan *plan);
void metric_reader_feed(struct metric_reader *reader, struct slice bytes);
// True when at least one wanted number was found (then *ret is filled).
bool metric_reader_finish(struct metric_reader *reader, struct metric_result *ret);
