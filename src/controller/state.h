// The controller's own state, shared by its parts; not for others.
#pragma once

#include "base/map.h"
#include "compile/compile.h"
#include "compile/judge.h"
#include "controller/controller.h"

// An endpoint as the table was given it. The pod's name itself lives in an object that may go.
struct applied_endpoint {
    struct endpoint_spec spec; // without the pod's name
    uint64_t pod_hash;
};

// A ModelBackend that is accepted, and what was applied for it.
struct backend_record {
    char *key;
    struct object *object;       // one reference
    struct backend_state *state; // one reference
    struct resolution resolution;
    struct applied_endpoint *applied;
    size_t applied_count;
    struct scrape_config scrape;
    bool configured;
    bool is_dirty;  // its endpoints may have changed
    bool was_ready; // as of the last look at the routes
    uint64_t seen;  // the compilation that has it
    char engine[32];
    char metrics_found[METRICS_FOUND_MAX];
};

// What was said of an object last.
struct said {
    struct object_status status;
    uint64_t seen;
};

struct controller {
    struct controller_config config;
    char *ingress_class;
    struct resources resources;
    struct compile_result current; // zeroed before the first
    struct map records;            // key → backend_record
    struct map said[2];            // OBJECT_AIROUTE, OBJECT_MODELBACKEND: key → said
    struct map wanted[2];          // Secret, ConfigMap: key → how often it is named
    struct controller_counters counters;
    struct timer hold_off;
    struct timer learnt; // looks for engines and metrics that were detected
    uint64_t first_change_ms;
    uint64_t compilation; // counts
    bool is_synced;
    bool is_ready;
    bool routes_dirty;
    bool endpoints_dirty;
    bool repeat_status;
};

// records.c: brings the records in line with the current findings; resolves and applies endpoints.
MUST_CHECK int records_update_all(struct controller *controller, struct compile_result *result);
MUST_CHECK int records_update_dirty(struct controller *controller);
void records_mark(struct controller *controller, const struct object *changed);
// Reads what was detected; true when the record changed.
bool records_learn(struct controller *controller, struct backend_record *record);
void records_fini(struct controller *controller);

// wanted.c: counts what AIRoutes of our class and ModelBackends name, and tells the sink of the
// first and the last mention. wanted_add: 0 or -ENOMEM (some may be counted, and stay so).
MUST_CHECK int wanted_add(struct controller *controller, const struct object *object);
void wanted_drop(struct controller *controller, const struct object *object); // NULL is fine
// Is the Secret or ConfigMap named by anybody?
bool wanted_is(const struct controller *controller, const struct object *object);
void wanted_fini(struct controller *controller);

// say.c: computes statuses and hands the changed ones to the sink.
void say_all(struct controller *controller);
void say_backend(struct controller *controller, struct backend_record *record);
void say_routes_of(struct controller *controller, struct slice backend_key);
// The object came again with the same spec, perhaps with a status that is not ours.
void say_again(struct controller *controller, const struct object *object);
void say_gone(struct controller *controller, enum object_kind kind, const struct object *object);
void say_fini(struct controller *controller);
