// The control half's core: takes objects from a source, compiles them, publishes snapshots, applies
// endpoints, says how each object fares. It does not know where objects come from (the API server
// or a folder) nor where snapshots and statuses go.
//
// Everything here runs on the control thread, the one that owns the loop.
//
// A Secret or ConfigMap in which something is broken is judged as it is, but used as it was while
// it was sound last; one that is gone is gone.
//
// A burst of changes is compiled once: 50 ms after the last change, at most 250 ms after the first.
// A change that touches only endpoints compiles nothing and waits 10 ms only. Nothing is published
// before the source called controller_synced, so that a restart never serves half of the
// configuration.
#pragma once

#include <json-c/json.h>

#include "compile/status.h"
#include "endpoint/endpoint.h"
#include "event/loop.h"
#include "model/object.h"
#include "snapshot/snapshot.h"

struct controller;

// Where the results go; arg is handed to each.
struct controller_sink {
    // Takes over the reference.
    void (*publish)(void *arg, struct snapshot *snapshot);
    // The wanted status of an AIRoute or ModelBackend: whenever it differs from what was said last,
    // and when an object comes again with the same generation (a write of ours, or somebody else's:
    // compare with the status that it has, and write only what differs). The struct is lent for the
    // call. NULL = nobody wants to know.
    void (*status)(void *arg, const struct object_status *status);
    // The object is gone: nothing more will be said of it. May be NULL.
    void (*status_gone)(void *arg, enum object_kind kind, struct slice namespace,
                        struct slice name);
    // The object is there, but of another class now: what was said of it is to be taken back. Only
    // for objects of which something was said. May be NULL.
    void (*status_withdraw)(void *arg, enum object_kind kind, struct slice namespace,
                            struct slice name);
    // A Secret or ConfigMap is named for the first time, or by nobody any more: the source is to
    // deliver it, or may forget it. Comes from inside controller_upsert and controller_delete of
    // others. May be NULL: a source that delivers all of them.
    void (*reference)(void *arg, enum object_kind kind, struct slice namespace, struct slice name,
                      bool is_wanted);
    void *arg;
};

struct controller_config {
    struct loop *loop;
    struct endpoint_table *endpoints;
    struct slice ingress_class;    // AIRoutes of another class are left alone
    struct controller_sink sink;
    uint32_t hold_off_ms;          // 0 = 50
    uint32_t hold_off_max_ms;      // 0 = 250
    uint32_t status_interval_ms;   // how often learnt engines and metrics are looked at; 0 = 2000
};

struct controller_counters {
    uint64_t compiles;
    uint64_t compile_us_sum;
    uint64_t compile_us_last;
    uint64_t endpoint_updates; // sets of endpoints that were applied
    uint64_t statuses;         // handed to the sink
    uint64_t objects[OBJECT_KIND_COUNT];
    uint64_t objects_invalid;  // AIRoutes and ModelBackends that are left out, now
    uint64_t upserts_rejected; // ever: not readable at all
};

MUST_CHECK int controller_new(const struct controller_config *config,
                              struct controller **ret_controller, struct error *err);
// The endpoints that it applied stay with the table.
void controller_free(struct controller *controller);

// A new or changed object. The JSON is lent for the call. An error means that it could not be read
// at all; what was known of that name stays.
MUST_CHECK int controller_upsert(struct controller *controller, enum object_kind kind,
                                 struct json_object *json, const struct object_origin *origin,
                                 struct error *err);
// The same for an object that was read already; takes a reference of its own.
MUST_CHECK int controller_upsert_object(struct controller *controller, struct object *object);

// Unknown names are fine.
void controller_delete(struct controller *controller, enum object_kind kind, struct slice namespace,
                       struct slice name);

// The source has delivered everything once. Compiles and publishes at the next turn of the loop.
// Later calls do nothing.
void controller_synced(struct controller *controller);

// Compiles now, if anything is waiting (tests, shutdown).
void controller_flush(struct controller *controller);

// Says every status again: a writer that just became the leader knows nothing. For leader election,
// which is not there yet.
void controller_repeat_status(struct controller *controller);

const struct controller_counters *controller_counters(const struct controller *controller);

// Is a Pod selector used? Then the source must deliver Pods; else it may leave them.
bool controller_needs_pods(const struct controller *controller);
