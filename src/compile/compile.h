// AIRoutes and ModelBackends to a snapshot and to what is to be said about each of them. Pure but
// for the backend states, which are found (or made) in the endpoint table; deterministic: the same
// objects give the same snapshot, in whatever order they came.
//
// Nothing that is wrong with one object touches another: it is left out, and its finding says why.
#pragma once

#include "compile/resolve.h"
#include "compile/resources.h"
#include "compile/status.h"
#include "snapshot/snapshot.h"

enum {
    // Hosts × matches × models of one route; beyond it the route is refused, so that one object
    // cannot fill the memory (its size alone would allow millions).
    COMPILE_ROUTE_MATCHES_MAX = 16384,
    // Regular expressions of one route: each may be tried for each request of its hosts.
    COMPILE_ROUTE_REGEXES_MAX = 64,
};

struct compile_input {
    const struct resources *resources;
    struct endpoint_table *endpoints;
    struct slice ingress_class;
    int64_t now_s; // seconds since 1970, for certificates
};

// What the compiler says of a fact: a condition without its generation.
struct verdict {
    bool holds;
    enum condition_reason reason;
    struct slice message;
    struct slice path; // of the first field that it is about, as in problems; may be empty
};

// A rule's backends by key, for readiness: those of weight 0 and fallbacks are not in it.
struct rule_finding {
    struct slice name;
    struct slice *backends;
    size_t backend_count;
    bool served; // at least one match is in the snapshot
};

struct finding {
    struct object *object; // one reference
    struct verdict accepted;
    // Of a ModelBackend only as far as its certificates go; its endpoints are known to
    // compile/resolve.h. A message although it holds is a warning.
    struct verdict resolved;
    bool left_out; // a ModelBackend that is accepted and yet not in the snapshot, for `resolved`
    const struct tls_upstream *tls; // a ModelBackend's, in the snapshot; NULL: none that is usable
    // AIRoute only:
    struct rule_finding *rules;
    size_t rule_count;
};

struct compile_result {
    struct arena arena;        // of the findings
    struct snapshot *snapshot; // one reference; take it by setting NULL here
    struct finding *findings;  // AIRoutes of the class and ModelBackends, oldest first by kind
    size_t finding_count;
    struct map by_key[2]; // OBJECT_AIROUTE, OBJECT_MODELBACKEND: key → finding
    // When, after now_s, the same objects may be judged differently, because a certificate begins
    // or ends to be valid. 0 = never.
    int64_t next_judgement_s;
};

// 0 or -ENOMEM (*ret untouched).
MUST_CHECK int compile(const struct compile_input *input, struct compile_result *ret);
void compile_result_fini(struct compile_result *result);

// The parts of a ModelBackend's configuration that the endpoint table needs.
void compile_scrape_config(const struct modelbackend_spec *spec, struct scrape_config *ret);
void compile_health_config(const struct modelbackend_spec *spec, struct health_config *ret);
