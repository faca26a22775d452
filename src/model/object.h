// One Kubernetes object in typed form, whether it came from the API server or from a file.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <json-c/json.h>

#include "base/arena.h"
#include "base/error.h"
#include "model/airoute.h"
#include "model/material.h"
#include "model/modelbackend.h"
#include "model/problem.h"

enum object_kind {
    OBJECT_AIROUTE,
    OBJECT_MODELBACKEND,
    OBJECT_SERVICE,
    OBJECT_ENDPOINTSLICE,
    OBJECT_POD,
    OBJECT_SECRET,
    OBJECT_CONFIGMAP,
    OBJECT_KIND_COUNT,
};
// The kinds before this one are watched whole; those from it on by name, each object for itself.
enum { OBJECT_LISTED_COUNT = OBJECT_SECRET };

struct object_kind_info {
    const char *kind;        // "AIRoute"
    const char *api_version; // "headrace.dev/v1alpha1"
    const char *plural;      // "airoutes", as in URLs
};
extern const struct object_kind_info object_kinds[OBJECT_KIND_COUNT];

// 0, or -ENOENT when these are none of ours.
MUST_CHECK int object_kind_find(const char *api_version, const char *kind,
                                enum object_kind *ret_kind);

// ---- what is needed of the kinds that are not ours ----

struct service_port {
    struct slice name; // may be empty
    int64_t port;
    struct slice app_protocol; // may be empty
};

struct service_spec {
    SCHEMA_LIST(struct service_port) ports;
    bool is_external_name;
};

struct slice_endpoint {
    SCHEMA_LIST(struct slice) addresses;
    struct slice pod; // of targetRef, may be empty
    bool ready;       // absent counts as true
    bool serving;     // absent counts as ready
    bool terminating; // absent counts as false
};

struct slice_port {
    struct slice name;
    int64_t port; // 0: the slice says "all ports", which is no use here
    struct slice app_protocol; // may be empty
};

struct endpointslice_spec {
    struct slice service; // of the label kubernetes.io/service-name; may be empty
    bool is_ip;           // addressType IPv4 or IPv6
    SCHEMA_LIST(struct slice_endpoint) endpoints;
    SCHEMA_LIST(struct slice_port) ports;
};

struct pod_spec {
    SCHEMA_LIST(struct string_pair) labels; // sorted by key
    struct slice ip;                        // empty while it has none
    bool ready;                             // condition Ready is True
    bool finished;                          // phase Succeeded or Failed
};

// ---- the object ----

struct object {
    uint32_t refs; // control thread only
    enum object_kind kind;
    struct arena arena;
    struct slice namespace;
    struct slice name;
    struct slice key; // "namespace/name"
    struct slice uid; // may be empty
    int64_t generation;
    int64_t created; // seconds since 1970; 0 = unknown
    bool deleting;   // has a deletionTimestamp
    struct slice ingress_class; // AIRoute only; also when the rest of the spec is wrong
    // ModelBackend only: what its status said had been found, so that a restart does not unlearn
    // it.
    struct slice found_engine;
    struct slice found_metrics; // names, comma-separated
    // Where it came from, for messages; file is empty for the API server's.
    struct slice file;
    int line;
    struct json_object *source; // for object_line; NULL unless AIRoute or ModelBackend from a file
    struct problems problems; // what is wrong with it; then `spec` is NULL
    // Secret and ConfigMap: an earlier state in which everything was sound, while this one is not.
    struct object *last_good; // one reference, or NULL
    union {
        void *spec;
        struct airoute_spec *airoute;
        struct modelbackend_spec *modelbackend;
        struct service_spec *service;
        struct endpointslice_spec *endpointslice;
        struct pod_spec *pod;
        struct material *material; // Secret and ConfigMap
    };
};

struct object_origin {
    struct slice file;         // empty: the API server
    int line;                  // where the document begins
    bool strict;               // unknown fields of our own kinds are problems
    struct slice default_namespace; // for an object without one; empty: that is an error
};

// Reads an object of a known kind. Something wrong inside an AIRoute or ModelBackend is not an
// error here: the object then carries its problems, and has no spec. Errors: -EINVAL (no usable
// metadata, or an object of another kind that does not even have the shape), -ENOMEM. The caller
// owns one reference.
MUST_CHECK int object_read(enum object_kind kind, struct json_object *json,
                           const struct object_origin *origin, struct object **ret_object,
                           struct error *err);

// The line of the field at a path such as "spec.rules[0].name", or of the nearest around it that is
// there; of the object for an empty path. 0 when the object is not from a file.
int object_line(const struct object *object, struct slice path);

void object_ref(struct object *object);
void object_unref(struct object *object); // NULL is fine
