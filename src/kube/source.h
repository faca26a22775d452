// Objects of several kinds from an API server, kept up to date: a reflector for each kind.
//
// Receivers are told of every object and of every removal; `synced` comes once, when all kinds were
// listed. Kinds on demand (Pods) are watched only while somebody needs them.
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/macros.h"
#include "base/slice.h"
#include "event/loop.h"
#include "kube/api.h"
#include "kube/object.h"
#include "kube/reflector.h"

struct kube_source;

struct kube_source_kind {
    struct kube_resource resource; // strings borrowed for good
    int tag;                       // the receiver's name for it
    bool keep_objects;             // for kube_source_get
    bool on_demand;                // not watched until kube_source_demand
    uint32_t silence_ms;           // see kube/reflector.h; 0 = its default
};

struct kube_source_events {
    void (*upsert)(void *arg, int tag, struct json_object *object); // lent
    void (*remove)(void *arg, int tag, struct slice namespace_name, struct slice name);
    void (*synced)(void *arg);
};

enum { KUBE_SOURCE_KINDS_MAX = 16 };

// namespace_name: NULL = all. Does nothing until started. 0 or -ENOMEM.
MUST_CHECK int kube_source_new(struct loop *loop, struct kube_api *api,
                               const struct kube_source_kind *kinds, size_t n_kinds,
                               const char *namespace_name, const struct kube_source_events *events,
                               void *arg, struct kube_source **ret_source);
// Not from inside its own callbacks. NULL is fine.
void kube_source_free(struct kube_source *source);

void kube_source_start(struct kube_source *source);

// Says whether a kind on demand is needed. It is let go half a minute after the need ended, with a
// removal for each object. From any callback, repetitions are fine. A demand from inside upsert is
// always early enough to be waited for before synced.
void kube_source_demand(struct kube_source *source, int tag, bool wanted);

// What the API server said last of an object of a kind with keep_objects; borrowed, or NULL.
struct json_object *kube_source_get(const struct kube_source *source, int tag,
                                    struct slice namespace_name, struct slice name);

// Writes one line for each kind that is in trouble: "services: …". Empty when all is well.
void kube_source_trouble(const struct kube_source *source, struct strbuf *to);

const struct kube_reflector_counters *kube_source_counters(const struct kube_source *source,
                                                           int tag);

// How it stands with a kind. False when it is not watched, or unknown.
struct kube_source_state {
    bool is_in_touch;   // listed, and its watch runs as far as is known
    uint64_t silent_ms; // since the server said something of it last, or since the kind was wanted
};
MUST_CHECK bool kube_source_look(const struct kube_source *source, int tag,
                                 struct kube_source_state *ret_state);
