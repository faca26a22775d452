// The reflector from inside: shared by reflector.c (life, pauses, objects), reflector_list.c and
// reflector_watch.c, and by nobody else.
#pragma once

#include <stdint.h>

#include "base/rand.h"
#include "kube/backoff.h"
#include "kube/client.h"
#include "kube/decode.h"
#include "kube/reflector.h"
#include "kube/store.h"

enum { REFLECTOR_PATH_MAX = 64 << 10 };

enum reflector_phase { PHASE_STOPPED, PHASE_PAUSED, PHASE_LISTING, PHASE_WATCHING };

// How the reflector comes to know everything. A watch that delivers the list (sendInitialEvents)
// would be another step here: it fills the store in the same way and ends in finish_sync.
enum reflector_step { STEP_LIST, STEP_WATCH };

struct kube_reflector {
    struct loop *loop;
    struct kube_api *api;
    struct kube_reflector_options options;
    struct kube_reflector_events events;
    void *arg;
    char *namespace_name;
    char *label_selector;
    char *field_selector;
    struct rand_state rng;
    struct kube_backoff backoff;
    struct kube_store store;
    struct kube_reflector_counters counters;
    char trouble[512];
    bool is_synced;
    bool is_refused; // by the last answer to a list
    bool is_cut_off; // the pause is for a server that cannot be reached

    enum reflector_phase phase;
    enum reflector_step next_step; // of PHASE_PAUSED
    struct timer timer;  // of a pause, or the watch's guard
    struct kube_call *call;

    char *version;         // last seen; NULL = none
    bool version_unusable; // the server does not know it (any more): list at the newest

    struct kube_list_decoder list;
    char *list_version;   // that the list asked for: "", "0", or a version
    char *continue_token; // NULL on the first page
    bool is_whole_list;   // one answer, after a page's token expired
    uint64_t listed_at_ms;
    unsigned int confirmed; // how often a suspicious list was repeated

    struct kube_watch_decoder watch;
    bool watch_open;
    uint64_t watch_began_ms;
    uint64_t watch_ends_ms; // by our own clock, when the server does not end it
    uint64_t heard_ms;      // last byte, or the beginning of the watch
    uint64_t answered_ms;   // when the server said something of the kind last; 0 = never
    unsigned int silences;  // in a row without an event
    uint64_t watch_events;
    struct kube_status watch_error; // of an ERROR event; code 0 = none
    char *watch_error_text;
    unsigned int rewatches; // in a row without a word from the server
    unsigned int asked;     // pauses in a row that the server asked for
};

// Lists, from where it should; ends in reflector_begin_watch, or in a pause.
void reflector_begin_list(struct kube_reflector *r);
// Watches from the last version; ends in a pause, another watch, or a list.
void reflector_begin_watch(struct kube_reflector *r);

// Remembers what is wrong, and says it once.
void reflector_set_trouble(struct kube_reflector *r, enum log_level level, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
void reflector_clear_trouble(struct kube_reflector *r);

void reflector_pause(struct kube_reflector *r, enum reflector_step next, uint64_t ms);
// A pause after a failure: growing, and not shorter than at_least_ms.
void reflector_back_off(struct kube_reflector *r, enum reflector_step next, uint64_t at_least_ms);

// The same after a failure to reach the server at all.
void reflector_back_off_cut_off(struct kube_reflector *r, enum reflector_step next);

// A pause as long as a busy server asked for (429 or 5xx with Retry-After), up to ten in a row as
// client-go's rest/request.go. False: it asked for nothing, or too often; back off.
MUST_CHECK bool reflector_pause_as_asked(struct kube_reflector *r, enum reflector_step next,
                                         long status, uint64_t ms);

// Is what the object says of its kind right? Items of a list may say nothing.
bool reflector_is_our_kind(const struct kube_reflector *r, struct json_object *object);

// Takes a listed object, or one of an ADDED or MODIFIED event, over: into the store, and to the
// receiver when it tells something new. 0 or -ENOMEM.
MUST_CHECK int reflector_take_object(struct kube_reflector *r, struct json_object *object,
                                     bool is_event);

// "&name=value", escaped; nothing without a value.
void reflector_add_query(struct strbuf *path, const char *name, const char *value);

// Is this the server's word for a version that it no longer has?
bool reflector_is_gone(long status, const char *reason);
