#include "kube/reflector.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "kube/reflector_state.h"

// ---- trouble ----

void reflector_set_trouble(struct kube_reflector *r, enum log_level level, const char *fmt, ...)
{
    char text[sizeof(r->trouble)];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (strcmp(text, r->trouble) != 0) {
        memcpy(r->trouble, text, sizeof(text));
        r->events.note(r->arg, level, text);
    }
}

void reflector_clear_trouble(struct kube_reflector *r)
{
    if (r->trouble[0] != '\0') {
        r->trouble[0] = '\0';
        r->events.note(r->arg, LOG_LEVEL_INFO, "in touch again");
        if (r->events.in_touch != NULL) {
            r->events.in_touch(r->arg);
        }
    }
}

// ---- pauses ----

static void on_pause_over(struct timer *timer, void *arg)
{
    (void)timer;
    struct kube_reflector *r = arg;
    if (r->next_step == STEP_LIST) {
        reflector_begin_list(r);
    } else {
        reflector_begin_watch(r);
    }
}

void reflector_pause(struct kube_reflector *r, enum reflector_step next, uint64_t ms)
{
    r->phase = PHASE_PAUSED;
    r->is_cut_off = false;
    r->next_step = next;
    loop_timer_set(r->loop, &r->timer, ms, on_pause_over, r);
}

void reflector_back_off(struct kube_reflector *r, enum reflector_step next, uint64_t at_least_ms)
{
    uint64_t ms = kube_backoff_next(&r->backoff, loop_now_ms(r->loop), &r->rng);
    r->counters.failures++;
    reflector_pause(r, next, MAX_OF(ms, at_least_ms));
}

enum { ASKED_MAX = 10, ASKED_JITTER_MS = 500, HURRY_MS = 500 };

void reflector_back_off_cut_off(struct kube_reflector *r, enum reflector_step next)
{
    reflector_back_off(r, next, 0);
    r->is_cut_off = true;
}

void kube_reflector_hurry(struct kube_reflector *r)
{
    if (r->phase == PHASE_PAUSED && r->is_cut_off) {
        kube_backoff_reset(&r->backoff);
        reflector_pause(r, r->next_step, rand_below(&r->rng, HURRY_MS));
    }
}

bool reflector_pause_as_asked(struct kube_reflector *r, enum reflector_step next, long status,
                              uint64_t ms)
{
    if (ms == 0 || (status != 429 && status < 500) || r->asked >= ASKED_MAX) {
        return false;
    }
    r->asked++;
    r->counters.failures++;
    uint32_t spread = (uint32_t)MIN_OF(ms / 4, (uint64_t)ASKED_JITTER_MS);
    reflector_pause(r, next, ms + rand_below(&r->rng, spread + 1));
    return true;
}

// ---- one object ----

bool reflector_is_our_kind(const struct kube_reflector *r, struct json_object *object)
{
    // Items of a list may leave both out; what is said must be right.
    struct slice kind = kube_get_str(object, "kind", NULL);
    struct slice version = kube_get_str(object, "apiVersion", NULL);
    return (kind.len == 0 || slice_eq_str(kind, r->options.resource.kind)) &&
           (version.len == 0 || slice_eq_str(version, r->options.resource.api_version));
}

// Takes the object over. 0 or -ENOMEM.
int reflector_take_object(struct kube_reflector *r, struct json_object *object, bool is_event)
{
    struct kube_meta meta;
    if (!reflector_is_our_kind(r, object) || !kube_meta_read(object, &meta)) {
        r->counters.odd++;
        json_object_put(object);
        return 0;
    }
    kube_strip(object);
    int rc = kube_store_put(&r->store, &meta, object, is_event);
    if (rc == KUBE_STORE_CHANGED) {
        r->events.upsert(r->arg, object);
    } else if (rc == KUBE_STORE_SAME && is_event) {
        r->counters.duplicates++;
    }
    json_object_put(object);
    return MIN_OF(rc, 0);
}

// ---- parts of requests and answers ----

void reflector_add_query(struct strbuf *path, const char *name, const char *value)
{
    if (value != NULL && *value != '\0') {
        strbuf_printf(path, "&%s=", name);
        kube_escape_add(path, slice_of_str(value));
    }
}

bool reflector_is_gone(long status, const char *reason)
{
    return status == 410 || strcmp(reason, "Expired") == 0 || strcmp(reason, "Gone") == 0;
}

// ---- life ----

int kube_reflector_new(struct loop *loop, struct kube_api *api,
                       const struct kube_reflector_options *options,
                       const struct kube_reflector_events *events, void *arg,
                       struct kube_reflector **ret_reflector)
{
    struct kube_reflector *r = calloc(1, sizeof(*r));
    if (r == NULL) {
        return -ENOMEM;
    }
    r->loop = loop;
    r->api = api;
    r->options = *options;
    r->events = *events;
    r->arg = arg;
    r->backoff = KUBE_BACKOFF_REFLECTOR;
    r->store.keep_objects = options->keep_objects;
    r->rng.state = options->seed;
    if (options->seed == 0) {
        rand_seed_random(&r->rng);
    }
    if (options->namespace_name != NULL) {
        r->namespace_name = strdup(options->namespace_name);
    }
    if (options->label_selector != NULL) {
        r->label_selector = strdup(options->label_selector);
    }
    if (options->field_selector != NULL) {
        r->field_selector = strdup(options->field_selector);
    }
    if ((options->namespace_name != NULL && r->namespace_name == NULL) ||
        (options->label_selector != NULL && r->label_selector == NULL) ||
        (options->field_selector != NULL && r->field_selector == NULL)) {
        kube_reflector_free(r);
        return -ENOMEM;
    }
    *ret_reflector = r;
    return 0;
}

void kube_reflector_start(struct kube_reflector *r)
{
    if (r->phase == PHASE_STOPPED) {
        reflector_pause(r, STEP_LIST, 0);
    }
}

void kube_reflector_stop(struct kube_reflector *r)
{
    loop_timer_cancel(r->loop, &r->timer);
    kube_api_cancel(r->api, r->call);
    r->call = NULL;
    kube_list_decoder_fini(&r->list);
    kube_watch_decoder_fini(&r->watch);
    kube_store_fini(&r->store);
    char **texts[] = {&r->version, &r->list_version, &r->continue_token, &r->watch_error_text};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        free(*texts[i]);
        *texts[i] = NULL;
    }
    r->version_unusable = false;
    r->is_synced = false;
    r->is_refused = false;
    r->answered_ms = 0;
    r->confirmed = 0;
    r->rewatches = 0;
    r->asked = 0;
    r->silences = 0;
    r->trouble[0] = '\0';
    kube_backoff_reset(&r->backoff);
    r->phase = PHASE_STOPPED;
}

void kube_reflector_retire(struct kube_reflector *r)
{
    loop_timer_cancel(r->loop, &r->timer);
    kube_api_cancel(r->api, r->call);
    r->call = NULL;
    kube_store_begin(&r->store);
    if (kube_store_prune(&r->store, r->events.remove, r->arg) != 0) {
        r->events.note(r->arg, LOG_LEVEL_ERROR,
                       "out of memory: objects are kept that are not needed");
    }
    kube_reflector_stop(r);
}

void kube_reflector_free(struct kube_reflector *r)
{
    if (r == NULL) {
        return;
    }
    kube_reflector_stop(r);
    free(r->namespace_name);
    free(r->label_selector);
    free(r->field_selector);
    free(r);
}

bool kube_reflector_is_synced(const struct kube_reflector *r)
{
    return r->is_synced;
}

bool kube_reflector_is_refused(const struct kube_reflector *r)
{
    return r->is_refused;
}

struct json_object *kube_reflector_get(const struct kube_reflector *r, struct slice namespace_name,
                                       struct slice name)
{
    return kube_store_get(&r->store, namespace_name, name);
}

size_t kube_reflector_count(const struct kube_reflector *r)
{
    return kube_store_count(&r->store);
}

const struct kube_reflector_counters *kube_reflector_counters(const struct kube_reflector *r)
{
    return &r->counters;
}

uint64_t kube_reflector_answered_ms(const struct kube_reflector *r)
{
    return r->answered_ms;
}

const char *kube_reflector_trouble(const struct kube_reflector *r)
{
    return r->trouble;
}
