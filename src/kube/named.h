// Single objects by name, kept up to date: a reflector for each, on the one object (a list and a
// watch with the field selector metadata.name, in its namespace). For kinds of which only what is
// named may and should be known: Secrets and ConfigMaps. A Role that grants list and watch for
// those names alone (resourceNames) is enough.
//
// The loop's thread only.
#pragma once

#include "base/error.h"
#include "base/strbuf.h"
#include "event/loop.h"
#include "kube/source.h"

struct kube_named;

struct kube_named_kind {
    struct kube_resource resource; // strings borrowed for good
    int tag;                       // the receiver's name for it
    uint32_t silence_ms;           // see kube/reflector.h; 0 = its default
};

enum { KUBE_NAMED_KINDS_MAX = 4 };

// events: as of a kube_source, but that synced comes whenever the last one of those wanted was
// settled. 0 or -ENOMEM.
MUST_CHECK int kube_named_new(struct loop *loop, struct kube_api *api,
                              const struct kube_named_kind *kinds, size_t n_kinds,
                              const struct kube_source_events *events, void *arg,
                              struct kube_named **ret_named);
// Not from inside its own callbacks. NULL is fine.
void kube_named_free(struct kube_named *named);

// Watches the object, there or not. Not from inside its own callbacks, nor unwant. Repetitions are
// fine. 0 or -ENOMEM.
MUST_CHECK int kube_named_want(struct kube_named *named, int tag, struct slice namespace_name,
                               struct slice name);
// No longer; with a removal, when the object was there.
void kube_named_unwant(struct kube_named *named, int tag, struct slice namespace_name,
                       struct slice name);

// Each one that is wanted was looked for: it is known, is known not to be there, or may not be
// read.
bool kube_named_is_settled(const struct kube_named *named);

// Writes one line for each that is in trouble: "secret ml/chat: …", up to a dozen.
void kube_named_trouble(const struct kube_named *named, struct strbuf *to);

// The sums over all of a kind; *ret_state as of the one that is worst. False when none is wanted.
MUST_CHECK bool kube_named_look(const struct kube_named *named, int tag,
                                struct kube_reflector_counters *ret_counters,
                                struct kube_source_state *ret_state);
