// What a reflector knows: for each object its uid and version, and the object itself where it is
// kept. A list marks what it saw; what is left unmarked at its end is gone.
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"
#include "base/map.h"
#include "kube/object.h"

struct kube_store {
    struct map map;
    uint64_t epoch;
    bool keep_objects;
};

// Zero-initialised (but for keep_objects) is empty and valid.
void kube_store_fini(struct kube_store *store);

enum kube_store_change {
    KUBE_STORE_SAME,    // that version was known already, or a newer one
    KUBE_STORE_CHANGED, // new, or another version
};

// Takes an object in and marks it. is_event: it comes from a watch, where an older version than the
// known one of the same object is late; a list is believed in any case. Returns a kube_store_change
// or -ENOMEM. Takes a reference when objects are kept.
MUST_CHECK int kube_store_put(struct kube_store *store, const struct kube_meta *meta,
                              struct json_object *object, bool is_event);

// A DELETED event. True when it removed something: not when it is about an earlier object of that
// name.
bool kube_store_remove(struct kube_store *store, const struct kube_meta *meta);

struct json_object *kube_store_get(const struct kube_store *store, struct slice namespace_name,
                                   struct slice name);

static inline size_t kube_store_count(const struct kube_store *store)
{
    return store->map.len;
}

// Begins a list: nothing is marked.
void kube_store_begin(struct kube_store *store);
size_t kube_store_unmarked(const struct kube_store *store);

// Removes what is unmarked and names each. 0 or -ENOMEM (some may be left, unmarked still).
typedef void kube_store_gone(void *arg, struct slice namespace_name, struct slice name);
MUST_CHECK int kube_store_prune(struct kube_store *store, kube_store_gone *gone, void *arg);
