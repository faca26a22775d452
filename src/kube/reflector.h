// Keeps up with all objects of one kind: list, then watch, for ever, with the manners of
// client-go's reflector (tools/cache/reflector.go, pager.go).
//
// - The first list takes any version from the server's cache (resourceVersion=0, pages of 500), a
//   later one takes nothing older than what was seen; "gone" and "too large" versions lead at once
//   to a list at the newest.
// - A watch that ends is opened again from the last version seen, bookmarks included. One that says
//   nothing for longer than bookmarks are apart is taken for dead.
// - An object is reported gone when a DELETED event says so or when a whole and credible list lacks
//   it: never on a failed, cut or odd one. A list that suddenly has nothing, or less than half,
//   must be confirmed by consistent reads first.
//
// The loop's thread only.
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "base/macros.h"
#include "event/loop.h"
#include "kube/api.h"
#include "kube/object.h"

struct kube_reflector;

struct kube_reflector_events {
    // New or changed (another resourceVersion than before). The object is lent; it is stripped.
    void (*upsert)(void *arg, struct json_object *object);
    void (*remove)(void *arg, struct slice namespace_name, struct slice name);
    // A whole list was taken in. Comes after the first and after each later one.
    void (*synced)(void *arg);
    // For the log. Repetitions are left out.
    void (*note)(void *arg, enum log_level level, const char *text);
    // The server answers again. May be NULL.
    void (*in_touch)(void *arg);
};

struct kube_reflector_options {
    struct kube_resource resource; // strings are borrowed for good
    const char *namespace_name;    // NULL: all. Copied.
    const char *label_selector;    // NULL: all. Copied.
    const char *field_selector;    // NULL: all; "metadata.name=NAME" is one object. Copied.
    bool keep_objects;             // kube_reflector_get gives objects; else only versions are kept
    uint32_t silence_ms;           // 0 = 150 s; bookmarks come about every minute
    uint64_t seed;                 // of jitter; 0 = random
};

struct kube_reflector_counters {
    uint64_t lists;
    uint64_t watches;
    uint64_t events;    // without bookmarks
    uint64_t bookmarks;
    uint64_t duplicates; // events that told nothing new, or older than what is known
    uint64_t odd;       // events that were skipped: another kind, no name
    uint64_t failures;
    uint64_t prunes_held; // lists whose missing objects were not believed at once
};

// Does nothing until started. 0 or -ENOMEM.
MUST_CHECK int kube_reflector_new(struct loop *loop, struct kube_api *api,
                                  const struct kube_reflector_options *options,
                                  const struct kube_reflector_events *events, void *arg,
                                  struct kube_reflector **ret_reflector);

// Not from inside its own callbacks. NULL is fine.
void kube_reflector_free(struct kube_reflector *reflector);

void kube_reflector_start(struct kube_reflector *reflector);

// Forgets everything without a word and stays still until started again.
void kube_reflector_stop(struct kube_reflector *reflector);

// As stop, but with a removal for each object.
void kube_reflector_retire(struct kube_reflector *reflector);

// The server was heard to be well: a pause for one that could not be reached ends within half a
// second.
void kube_reflector_hurry(struct kube_reflector *reflector);

// A list was taken in since the start; stays true through outages.
bool kube_reflector_is_synced(const struct kube_reflector *reflector);

// The server refuses the kind (403, 404). It is asked again and again.
bool kube_reflector_is_refused(const struct kube_reflector *reflector);

// Borrowed; NULL when unknown or not kept.
struct json_object *kube_reflector_get(const struct kube_reflector *reflector,
                                       struct slice namespace_name, struct slice name);

size_t kube_reflector_count(const struct kube_reflector *reflector);
const struct kube_reflector_counters *kube_reflector_counters(
    const struct kube_reflector *reflector);

// When, on the loop's clock, the server said something last: a list, an event, a bookmark. 0 =
// never.
uint64_t kube_reflector_answered_ms(const struct kube_reflector *reflector);

// What is wrong now, or "" while the watch runs.
const char *kube_reflector_trouble(const struct kube_reflector *reflector);
