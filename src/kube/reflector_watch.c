#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "kube/reflector_state.h"

enum {
    WATCH_MIN_S = 300, // timeoutSeconds is drawn from [300, 600)
    WATCH_SPREAD_S = 300,
    WATCH_OVERTIME_MS = 30 * 1000,
    SILENCE_MS = 150 * 1000,
    VERY_SHORT_MS = 1000,
    WORKED_MS = 5 * 1000, // a watch that lasted so long shows that the server is well
    RELIST_GAP_MS = 10 * 1000,
    REWATCH_TRIES = 5, // then a list shows what is wrong
    SILENCES_MAX = 2,
    // A server sends no bookmarks of a kind that never changed since it began.
    SILENCES_MAX_UNTOLD = 4,
};

static bool take_version(struct kube_reflector *r, struct slice version)
{
    bool known;
    if (version.len == 0 ||
        (r->version != NULL &&
         kube_version_compare(version, slice_of_str(r->version), &known) < 0)) {
        return false; // never back: a late event must not make us watch from the past
    }
    char *copy = slice_dup(version);
    if (copy != NULL) {
        free(r->version);
        r->version = copy;
    }
    return true;
}

static void on_watch_done(const struct kube_response *response, void *arg);

static int on_error_event(struct kube_reflector *r, struct json_object *object)
{
    r->watch_error = (struct kube_status){.reason = "", .message = ""};
    kube_status_read(object, &r->watch_error);
    free(r->watch_error_text);
    r->watch_error_text = NULL;
    if (asprintf(&r->watch_error_text, "%s: %s", r->watch_error.reason, r->watch_error.message) <
        0) {
        r->watch_error_text = NULL;
    }
    // The strings die with the object; what they decide is decided here.
    if (reflector_is_gone(r->watch_error.code, r->watch_error.reason)) {
        r->watch_error.code = 410;
    } else if (r->watch_error.code == 0) {
        r->watch_error.code = 500;
    }
    r->watch_error.reason = "";
    r->watch_error.message = "";
    return -ECANCELED;
}

static int on_change_event(struct kube_reflector *r, struct slice type, struct json_object *object)
{
    struct kube_meta meta;
    if (!reflector_is_our_kind(r, object) || !kube_meta_read(object, &meta) ||
        meta.version.len == 0) {
        r->counters.odd++;
        return 0;
    }
    take_version(r, meta.version);
    if (!slice_eq_str(type, "DELETED")) {
        return reflector_take_object(r, json_object_get(object), true);
    }
    if (kube_store_remove(&r->store, &meta)) {
        r->events.remove(r->arg, meta.namespace_name, meta.name);
    } else {
        r->counters.duplicates++;
    }
    return 0;
}

static int take_event(struct kube_reflector *r, struct json_object *event)
{
    struct json_object *object = NULL;
    struct slice type = kube_get_str(event, "type", NULL);
    json_object_object_get_ex(event, "object", &object);
    if (slice_eq_str(type, "ERROR")) {
        return on_error_event(r, object);
    }
    r->watch_events++;
    r->rewatches = 0;
    r->silences = 0;
    if (slice_eq_str(type, "BOOKMARK")) {
        if (reflector_is_our_kind(r, object) &&
            take_version(r, kube_get_str(object, "metadata", "resourceVersion"))) {
            r->counters.bookmarks++;
        } else {
            r->counters.odd++;
        }
        return 0;
    }
    if (slice_eq_str(type, "ADDED") || slice_eq_str(type, "MODIFIED") ||
        slice_eq_str(type, "DELETED")) {
        r->counters.events++;
        return on_change_event(r, type, object);
    }
    r->counters.odd++; // a type that was not there when this was written
    return 0;
}

static int on_event(struct json_object *event, void *arg)
{
    int rc = take_event(arg, event);
    json_object_put(event);
    return rc;
}

static int on_watch_data(struct slice bytes, void *arg)
{
    struct kube_reflector *r = arg;
    r->heard_ms = loop_now_ms(r->loop);
    r->answered_ms = r->heard_ms;
    return kube_watch_decoder_feed(&r->watch, bytes);
}

static void on_watch_open(void *arg)
{
    struct kube_reflector *r = arg;
    r->watch_open = true;
    r->asked = 0;
    r->heard_ms = loop_now_ms(r->loop);
    r->answered_ms = r->heard_ms;
    reflector_clear_trouble(r);
}

static uint32_t silence_ms(const struct kube_reflector *r)
{
    return r->options.silence_ms > 0 ? r->options.silence_ms : SILENCE_MS;
}

static void on_watch_guard(struct timer *timer, void *arg)
{
    (void)timer;
    struct kube_reflector *r = arg;
    uint64_t now = loop_now_ms(r->loop);
    uint64_t due = MIN_OF(r->heard_ms + silence_ms(r), r->watch_ends_ms);
    if (now < due) {
        loop_timer_set(r->loop, &r->timer, due - now, on_watch_guard, r);
        return;
    }
    bool silent = now < r->watch_ends_ms;
    kube_api_cancel(r->api, r->call);
    r->call = NULL;
    r->counters.failures++;
    r->silences = silent ? r->silences + 1 : 0;
    if (silent) {
        r->events.note(r->arg, r->counters.bookmarks > 0 ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG,
                       "the watch went silent; opening it again");
    }
    if (r->silences >= (r->counters.bookmarks > 0 ? SILENCES_MAX : SILENCES_MAX_UNTOLD)) {
        // A server that was restored from a backup keeps silent about versions from before: a list
        // tells.
        r->silences = 0;
        reflector_begin_list(r);
    } else {
        reflector_begin_watch(r);
    }
}

void reflector_begin_watch(struct kube_reflector *r)
{
    struct strbuf path;
    uint64_t seconds = WATCH_MIN_S + rand_below(&r->rng, WATCH_SPREAD_S);
    strbuf_init(&path, REFLECTOR_PATH_MAX);
    kube_path_add(&path, &r->options.resource, r->namespace_name, NULL, NULL);
    strbuf_printf(&path, "?watch=1&allowWatchBookmarks=true&timeoutSeconds=%u",
                  (unsigned int)seconds);
    reflector_add_query(&path, "resourceVersion", r->version);
    reflector_add_query(&path, "labelSelector", r->label_selector);
    reflector_add_query(&path, "fieldSelector", r->field_selector);
    struct kube_call_options options = {.method = "GET", .path = strbuf_cstr(&path),
                                        .on_open = on_watch_open, .on_data = on_watch_data};
    kube_watch_decoder_fini(&r->watch);
    kube_watch_decoder_init(&r->watch, KUBE_OBJECT_MAX, on_event, r);
    r->phase = PHASE_WATCHING;
    r->watch_began_ms = loop_now_ms(r->loop);
    r->heard_ms = r->watch_began_ms;
    r->watch_ends_ms = r->watch_began_ms + seconds * 1000 + WATCH_OVERTIME_MS;
    r->watch_open = false;
    r->watch_events = 0;
    r->watch_error = (struct kube_status){.code = 0};
    r->counters.watches++;
    int rc = path.failed ? -E2BIG : kube_api_start(r->api, &options, on_watch_done, r, &r->call);
    strbuf_fini(&path);
    if (rc != 0) {
        reflector_set_trouble(r, LOG_LEVEL_ERROR, "cannot watch: %s", strerror(-rc));
        reflector_back_off(r, STEP_WATCH, 0);
        return;
    }
    loop_timer_set(r->loop, &r->timer, silence_ms(r), on_watch_guard, r);
}

// From the same version again, unless that got nowhere several times: then a list says more.
static enum reflector_step rewatch_step(struct kube_reflector *r)
{
    r->rewatches++;
    bool lost = r->rewatches >= REWATCH_TRIES;
    if (lost) {
        r->rewatches = 0;
    }
    return lost ? STEP_LIST : STEP_WATCH;
}

// The version is too old to watch from. Not more than once in a while without a pause, should every
// version be too old.
static void relist(struct kube_reflector *r)
{
    if (loop_now_ms(r->loop) - r->listed_at_ms >= RELIST_GAP_MS) {
        reflector_begin_list(r);
    } else {
        reflector_back_off(r, STEP_LIST, 0);
    }
}

// The stream broke off, with an ERROR event (status of a Status object) or instead of opening.
static void watch_refused(struct kube_reflector *r, long status, bool too_large,
                          uint64_t retry_after_ms, const char *text)
{
    if (status == 410) {
        relist(r);
        return;
    }
    reflector_set_trouble(r, LOG_LEVEL_WARN, "the watch of %s ended: %s",
                          r->options.resource.plural, text);
    if (too_large) {
        r->version_unusable = true;
        reflector_back_off(r, STEP_LIST, retry_after_ms);
    } else if (reflector_pause_as_asked(r, STEP_WATCH, status, retry_after_ms)) {
        return;
    } else if (status == 429 || status >= 500) {
        reflector_back_off(r, rewatch_step(r), retry_after_ms);
    } else {
        reflector_back_off(r, STEP_LIST, retry_after_ms);
    }
}

static void watch_ended(struct kube_reflector *r)
{
    uint64_t lasted = loop_now_ms(r->loop) - r->watch_began_ms;
    if (r->watch_events == 0 && lasted < VERY_SHORT_MS) {
        reflector_set_trouble(r, LOG_LEVEL_WARN, "a watch of %s ended at once",
                              r->options.resource.plural);
        reflector_back_off(r, STEP_LIST, 0);
    } else if (lasted < VERY_SHORT_MS) {
        reflector_pause(r, STEP_WATCH, VERY_SHORT_MS - lasted);
    } else {
        reflector_begin_watch(r);
    }
}

static void on_watch_done(const struct kube_response *response, void *arg)
{
    struct kube_reflector *r = arg;
    r->call = NULL;
    loop_timer_cancel(r->loop, &r->timer);
    // The pauses of the last outage have no part in the next one, however soon that comes: else a
    // server that is restarted twice leaves us behind for half a minute.
    if ((r->watch_open || r->watch_events > 0) &&
        loop_now_ms(r->loop) - r->watch_began_ms >= WORKED_MS) {
        kube_backoff_reset(&r->backoff);
    }
    if (r->watch_error.code != 0) {
        const char *text = r->watch_error_text != NULL ? r->watch_error_text : "";
        watch_refused(r, r->watch_error.code, r->watch_error.too_large_version,
                      r->watch_error.retry_after_ms, text);
    } else if (response->rc == -EBADMSG || response->rc == -EMSGSIZE) {
        reflector_set_trouble(r, LOG_LEVEL_WARN,
                              "the watch of %s is not a stream of JSON objects%s",
                              r->options.resource.plural,
                              response->rc == -EMSGSIZE ? " of a bearable size" : "");
        reflector_back_off(r, STEP_LIST, 0);
    } else if (response->rc != 0) {
        reflector_set_trouble(r, LOG_LEVEL_WARN, "the watch of %s broke off: %s",
                              r->options.resource.plural,
                              response->text);
        reflector_back_off_cut_off(r, rewatch_step(r));
    } else if (response->status == 200) {
        watch_ended(r);
    } else {
        watch_refused(r, response->status, response->too_large_version, response->retry_after_ms,
                      response->text);
    }
}
