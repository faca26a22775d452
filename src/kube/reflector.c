#include "kube/reflector.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "kube/backoff.h"
#include "kube/client.h"
#include "kube/decode.h"
#include "kube/store.h"

enum {
    PAGE_SIZE = 500,
    PATH_MAX_LEN = 64 << 10,
    LIST_TIMEOUT_MS = 5 * 60 * 1000,
    LIST_STALL_MS = 60 * 1000,
    WATCH_MIN_S = 300, // timeoutSeconds is drawn from [300, 600)
    WATCH_SPREAD_S = 300,
    WATCH_OVERTIME_MS = 30 * 1000,
    SILENCE_MS = 150 * 1000,
    VERY_SHORT_MS = 1000,
    REFUSED_PAUSE_MS = 5000, // 403, 404: a person must act, and wants to see it work then
    RELIST_GAP_MS = 10 * 1000,
    REWATCH_TRIES = 5, // then a list shows what is wrong
    SILENCES_MAX = 2,
    CONFIRM_EMPTY = 2, // consistent lists that must agree before everything is dropped
    CONFIRM_EMPTY_PAUSE_MS = 2000,
    CONFIRM_SHRUNK = 1,
    CONFIRM_SHRUNK_PAUSE_MS = 1000,
    SHRUNK_MIN = 10,
};

enum phase { PHASE_STOPPED, PHASE_PAUSED, PHASE_LISTING, PHASE_WATCHING };

// How the reflector comes to know everything. A watch that delivers the list (sendInitialEvents)
// would be another step here: it fills the store in the same way and ends in finish_sync.
enum step { STEP_LIST, STEP_WATCH };

struct kube_reflector {
    struct loop *loop;
    struct kube_api *api;
    struct kube_reflector_options options;
    struct kube_reflector_events events;
    void *arg;
    char *namespace_name;
    char *label_selector;
    struct rand_state rng;
    struct kube_backoff backoff;
    struct kube_store store;
    struct kube_reflector_counters counters;
    char trouble[512];
    bool is_synced;

    enum phase phase;
    enum step next_step; // of PHASE_PAUSED
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
    uint64_t watch_began_ms;
    uint64_t watch_ends_ms; // by our own clock, when the server does not end it
    uint64_t heard_ms;      // last byte
    unsigned int silences;  // in a row without an event
    uint64_t watch_events;
    struct kube_status watch_error; // of an ERROR event; code 0 = none
    char *watch_error_text;
    unsigned int rewatches; // in a row without a word from the server
};

static void begin_list(struct kube_reflector *r);
static void begin_watch(struct kube_reflector *r);

// ---- trouble ----

static void set_trouble(struct kube_reflector *r, enum log_level level, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

static void set_trouble(struct kube_reflector *r, enum log_level level, const char *fmt, ...)
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

static void clear_trouble(struct kube_reflector *r)
{
    if (r->trouble[0] != '\0') {
        r->trouble[0] = '\0';
        r->events.note(r->arg, LOG_LEVEL_INFO, "in touch again");
    }
}

// ---- pauses ----

static void on_pause_over(struct timer *timer, void *arg)
{
    (void)timer;
    struct kube_reflector *r = arg;
    if (r->next_step == STEP_LIST) {
        begin_list(r);
    } else {
        begin_watch(r);
    }
}

static void pause_for(struct kube_reflector *r, enum step next, uint64_t ms)
{
    r->phase = PHASE_PAUSED;
    r->next_step = next;
    loop_timer_set(r->loop, &r->timer, ms, on_pause_over, r);
}

static void back_off(struct kube_reflector *r, enum step next, uint64_t at_least_ms)
{
    uint64_t ms = kube_backoff_next(&r->backoff, loop_now_ms(r->loop), &r->rng);
    r->counters.failures++;
    pause_for(r, next, MAX_OF(ms, at_least_ms));
}

// ---- one object ----

static bool is_our_kind(const struct kube_reflector *r, struct json_object *object)
{
    // Items of a list may leave both out; what is said must be right.
    struct slice kind = kube_get_str(object, "kind", NULL);
    struct slice version = kube_get_str(object, "apiVersion", NULL);
    return (kind.len == 0 || slice_eq_str(kind, r->options.resource.kind)) &&
           (version.len == 0 || slice_eq_str(version, r->options.resource.api_version));
}

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

// Takes the object over. 0 or -ENOMEM.
static int take_object(struct kube_reflector *r, struct json_object *object, bool is_event)
{
    struct kube_meta meta;
    if (!is_our_kind(r, object) || !kube_meta_read(object, &meta)) {
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

static int on_item(struct json_object *object, void *arg)
{
    return take_object(arg, object, false);
}

// ---- list ----

static void on_list_done(const struct kube_response *response, void *arg);

static int on_list_data(struct slice bytes, void *arg)
{
    struct kube_reflector *r = arg;
    return kube_list_decoder_feed(&r->list, bytes);
}

static void add_query(struct strbuf *path, const char *name, const char *value)
{
    if (value != NULL && *value != '\0') {
        strbuf_printf(path, "&%s=", name);
        kube_escape_add(path, slice_of_str(value));
    }
}

static bool is_paged(const struct kube_reflector *r)
{
    // Pages of an exact version come from etcd: only where the cache cannot answer anyway, or may.
    return !r->is_whole_list && (r->list_version[0] == '\0' || strcmp(r->list_version, "0") == 0);
}

static void send_list(struct kube_reflector *r)
{
    struct strbuf path;
    strbuf_init(&path, PATH_MAX_LEN);
    kube_path_add(&path, &r->options.resource, r->namespace_name, NULL, NULL);
    strbuf_add_str(&path, "?");
    if (is_paged(r)) {
        strbuf_printf(&path, "limit=%d", PAGE_SIZE);
    } else {
        strbuf_add_str(&path, "limit=0");
    }
    add_query(&path, "labelSelector", r->label_selector);
    if (r->continue_token != NULL) {
        add_query(&path, "continue", r->continue_token);
    } else {
        add_query(&path, "resourceVersion", r->list_version);
    }
    struct kube_call_options options = {.method = "GET", .path = strbuf_cstr(&path),
                                        .on_data = on_list_data, .timeout_ms = LIST_TIMEOUT_MS,
                                        .stall_ms = LIST_STALL_MS};
    kube_list_decoder_fini(&r->list);
    r->phase = PHASE_LISTING;
    r->counters.lists++;
    int rc = path.failed ? -E2BIG : 0;
    rc = rc != 0 ? rc : kube_list_decoder_init(&r->list, KUBE_OBJECT_MAX, on_item, r);
    rc = rc != 0 ? rc : kube_api_start(r->api, &options, on_list_done, r, &r->call);
    strbuf_fini(&path);
    if (rc != 0) {
        set_trouble(r, LOG_LEVEL_ERROR, "cannot list: %s", strerror(-rc));
        back_off(r, STEP_LIST, 0);
    }
}

static void begin_list(struct kube_reflector *r)
{
    const char *version = r->version_unusable || r->confirmed > 0 ? ""
                          : r->version != NULL                    ? r->version
                                                                  : "0";
    char *copy = strdup(version);
    if (copy == NULL) {
        back_off(r, STEP_LIST, 0);
        return;
    }
    free(r->list_version);
    r->list_version = copy;
    free(r->continue_token);
    r->continue_token = NULL;
    r->is_whole_list = false;
    r->listed_at_ms = loop_now_ms(r->loop);
    kube_store_begin(&r->store);
    send_list(r);
}

static bool is_gone(long status, const char *reason)
{
    return status == 410 || strcmp(reason, "Expired") == 0 || strcmp(reason, "Gone") == 0;
}

static void list_refused(struct kube_reflector *r, const struct kube_response *response)
{
    const struct kube_resource *kind = &r->options.resource;
    if (response->status == 404) {
        set_trouble(r, LOG_LEVEL_WARN,
                    "the API server does not know %s (%s): install the resource definitions "
                    "(kubectl apply -f crds/); trying again",
                    kind->plural, kind->api_version);
    } else {
        set_trouble(r, LOG_LEVEL_WARN,
                    "not allowed to list and watch %s (%s): grant it in the Role or ClusterRole; "
                    "trying again: %s",
                    kind->plural, kind->api_version, response->text);
    }
    r->counters.failures++;
    pause_for(r, STEP_LIST, REFUSED_PAUSE_MS + rand_below(&r->rng, REFUSED_PAUSE_MS));
}

static void list_failed(struct kube_reflector *r, const struct kube_response *response)
{
    if (response->rc == 0 &&
        (is_gone(response->status, response->reason) || response->too_large_version)) {
        if (r->continue_token != NULL) { // the pages took too long: all at once, as first asked
            free(r->continue_token);
            r->continue_token = NULL;
            r->is_whole_list = true;
            kube_store_begin(&r->store);
            send_list(r);
            return;
        }
        if (r->list_version[0] != '\0') {
            r->version_unusable = true;
            begin_list(r);
            return;
        }
    }
    if (response->rc == 0 && (response->status == 404 || response->status == 403)) {
        list_refused(r, response);
        return;
    }
    set_trouble(r, LOG_LEVEL_WARN, "cannot list %s: %s", r->options.resource.plural,
                response->text);
    back_off(r, STEP_LIST, response->retry_after_ms);
}

static bool list_is_ours(const struct kube_reflector *r)
{
    const struct kube_resource *kind = &r->options.resource;
    struct slice name = kube_get_str(r->list.head, "kind", NULL);
    size_t len = strlen(kind->kind);
    return kube_list_decoder_is_complete(&r->list) && name.len == len + 4 &&
           slice_has_prefix(name, slice_of(kind->kind, len)) &&
           slice_has_suffix(name, SLICE("List")) &&
           slice_eq_str(kube_get_str(r->list.head, "apiVersion", NULL), kind->api_version) &&
           kube_get_str(r->list.head, "metadata", "resourceVersion").len > 0;
}

// Is so much missing that it may be the server's mistake? Then true, and the list will be repeated.
static bool hold_prune(struct kube_reflector *r)
{
    size_t gone = kube_store_unmarked(&r->store);
    size_t left = kube_store_count(&r->store) - gone;
    bool empty = left == 0 && gone > 0;
    bool shrunk = gone >= SHRUNK_MIN && gone > left;
    unsigned int needed = empty ? CONFIRM_EMPTY : shrunk ? CONFIRM_SHRUNK : 0;
    if (r->confirmed >= needed) {
        return false;
    }
    r->confirmed++;
    r->counters.prunes_held++;
    set_trouble(r, LOG_LEVEL_WARN,
                "the list of %s suddenly lacks %zu of %zu objects; keeping them until further lists "
                "agree",
                r->options.resource.plural, gone, gone + left);
    pause_for(r, STEP_LIST, empty ? CONFIRM_EMPTY_PAUSE_MS : CONFIRM_SHRUNK_PAUSE_MS);
    return true;
}

static void finish_sync(struct kube_reflector *r, struct slice version)
{
    if (hold_prune(r)) {
        return;
    }
    char *copy = slice_dup(version);
    if (copy == NULL || kube_store_prune(&r->store, r->events.remove, r->arg) != 0) {
        free(copy);
        back_off(r, STEP_LIST, 0);
        return;
    }
    free(r->version); // a list is believed even if its version is lower: the server was restored
    r->version = copy;
    r->version_unusable = false;
    r->confirmed = 0;
    r->is_synced = true;
    clear_trouble(r);
    r->events.synced(r->arg);
    begin_watch(r);
}

static void on_list_done(const struct kube_response *response, void *arg)
{
    struct kube_reflector *r = arg;
    r->call = NULL;
    bool odd = response->rc == -EBADMSG || response->rc == -EMSGSIZE; // the decoder's word
    if (!odd && (response->rc != 0 || response->status != 200)) {
        list_failed(r, response);
        return;
    }
    if (odd || !list_is_ours(r)) {
        set_trouble(r, LOG_LEVEL_WARN, "the answer to a list of %s is cut or is not a %sList",
                    r->options.resource.plural, r->options.resource.kind);
        back_off(r, STEP_LIST, 0);
        return;
    }
    struct slice token = kube_get_str(r->list.head, "metadata", "continue");
    if (token.len == 0) {
        finish_sync(r, kube_get_str(r->list.head, "metadata", "resourceVersion"));
        return;
    }
    char *copy = slice_dup(token);
    if (copy == NULL || (r->continue_token != NULL && strcmp(copy, r->continue_token) == 0)) {
        free(copy);
        set_trouble(r, LOG_LEVEL_WARN, "the pages of a list of %s do not end",
                    r->options.resource.plural);
        back_off(r, STEP_LIST, 0);
        return;
    }
    free(r->continue_token);
    r->continue_token = copy;
    send_list(r);
}

// ---- watch ----

static void on_watch_done(const struct kube_response *response, void *arg);

static int on_error_event(struct kube_reflector *r, struct json_object *object)
{
    r->watch_error = (struct kube_status){.reason = "", .message = ""};
    kube_status_read(object, &r->watch_error);
    free(r->watch_error_text);
    r->watch_error_text = NULL;
    if (asprintf(&r->watch_error_text, "%s: %s", r->watch_error.reason, r->watch_error.message) < 0) {
        r->watch_error_text = NULL;
    }
    // The strings die with the object; what they decide is decided here.
    if (is_gone(r->watch_error.code, r->watch_error.reason)) {
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
    if (!is_our_kind(r, object) || !kube_meta_read(object, &meta) || meta.version.len == 0) {
        r->counters.odd++;
        return 0;
    }
    take_version(r, meta.version);
    if (!slice_eq_str(type, "DELETED")) {
        return take_object(r, json_object_get(object), true);
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
        if (is_our_kind(r, object) &&
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
    return kube_watch_decoder_feed(&r->watch, bytes);
}

static void on_watch_open(void *arg)
{
    struct kube_reflector *r = arg;
    r->heard_ms = loop_now_ms(r->loop);
    clear_trouble(r);
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
        r->events.note(r->arg, LOG_LEVEL_INFO, "the watch went silent; opening it again");
    }
    if (r->silences >= SILENCES_MAX) {
        // A server that was restored from a backup keeps silent about versions from before: a list
        // tells.
        r->silences = 0;
        begin_list(r);
    } else {
        begin_watch(r);
    }
}

static void begin_watch(struct kube_reflector *r)
{
    struct strbuf path;
    uint64_t seconds = WATCH_MIN_S + rand_below(&r->rng, WATCH_SPREAD_S);
    strbuf_init(&path, PATH_MAX_LEN);
    kube_path_add(&path, &r->options.resource, r->namespace_name, NULL, NULL);
    strbuf_printf(&path, "?watch=1&allowWatchBookmarks=true&timeoutSeconds=%u",
                  (unsigned int)seconds);
    add_query(&path, "resourceVersion", r->version);
    add_query(&path, "labelSelector", r->label_selector);
    struct kube_call_options options = {.method = "GET", .path = strbuf_cstr(&path),
                                        .on_open = on_watch_open, .on_data = on_watch_data};
    kube_watch_decoder_fini(&r->watch);
    kube_watch_decoder_init(&r->watch, KUBE_OBJECT_MAX, on_event, r);
    r->phase = PHASE_WATCHING;
    r->watch_began_ms = loop_now_ms(r->loop);
    r->heard_ms = r->watch_began_ms;
    r->watch_ends_ms = r->watch_began_ms + seconds * 1000 + WATCH_OVERTIME_MS;
    r->watch_events = 0;
    r->watch_error = (struct kube_status){.code = 0};
    r->counters.watches++;
    int rc = path.failed ? -E2BIG : kube_api_start(r->api, &options, on_watch_done, r, &r->call);
    strbuf_fini(&path);
    if (rc != 0) {
        set_trouble(r, LOG_LEVEL_ERROR, "cannot watch: %s", strerror(-rc));
        back_off(r, STEP_WATCH, 0);
        return;
    }
    loop_timer_set(r->loop, &r->timer, silence_ms(r), on_watch_guard, r);
}

// From the same version again, unless that got nowhere several times: then a list says more.
static void rewatch(struct kube_reflector *r, uint64_t at_least_ms)
{
    r->rewatches++;
    bool lost = r->rewatches >= REWATCH_TRIES;
    if (lost) {
        r->rewatches = 0;
    }
    back_off(r, lost ? STEP_LIST : STEP_WATCH, at_least_ms);
}

// The version is too old to watch from. Not more than once in a while without a pause, should every
// version be too old.
static void relist(struct kube_reflector *r)
{
    if (loop_now_ms(r->loop) - r->listed_at_ms >= RELIST_GAP_MS) {
        begin_list(r);
    } else {
        back_off(r, STEP_LIST, 0);
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
    set_trouble(r, LOG_LEVEL_WARN, "the watch of %s ended: %s", r->options.resource.plural, text);
    if (too_large) {
        r->version_unusable = true;
        back_off(r, STEP_LIST, retry_after_ms);
    } else if (status == 429 || status >= 500) {
        rewatch(r, retry_after_ms);
    } else {
        back_off(r, STEP_LIST, retry_after_ms);
    }
}

static void watch_ended(struct kube_reflector *r)
{
    uint64_t lasted = loop_now_ms(r->loop) - r->watch_began_ms;
    if (r->watch_events == 0 && lasted < VERY_SHORT_MS) {
        set_trouble(r, LOG_LEVEL_WARN, "a watch of %s ended at once", r->options.resource.plural);
        back_off(r, STEP_LIST, 0);
    } else if (lasted < VERY_SHORT_MS) {
        pause_for(r, STEP_WATCH, VERY_SHORT_MS - lasted);
    } else {
        begin_watch(r);
    }
}

static void on_watch_done(const struct kube_response *response, void *arg)
{
    struct kube_reflector *r = arg;
    r->call = NULL;
    loop_timer_cancel(r->loop, &r->timer);
    if (r->watch_error.code != 0) {
        const char *text = r->watch_error_text != NULL ? r->watch_error_text : "";
        watch_refused(r, r->watch_error.code, r->watch_error.too_large_version,
                      r->watch_error.retry_after_ms, text);
    } else if (response->rc == -EBADMSG || response->rc == -EMSGSIZE) {
        set_trouble(r, LOG_LEVEL_WARN, "the watch of %s is not a stream of JSON objects%s",
                    r->options.resource.plural,
                    response->rc == -EMSGSIZE ? " of a bearable size" : "");
        back_off(r, STEP_LIST, 0);
    } else if (response->rc != 0) {
        set_trouble(r, LOG_LEVEL_WARN, "the watch of %s broke off: %s", r->options.resource.plural,
                    response->text);
        rewatch(r, 0);
    } else if (response->status == 200) {
        watch_ended(r);
    } else {
        watch_refused(r, response->status, response->too_large_version, response->retry_after_ms,
                      response->text);
    }
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
    if ((options->namespace_name != NULL && r->namespace_name == NULL) ||
        (options->label_selector != NULL && r->label_selector == NULL)) {
        kube_reflector_free(r);
        return -ENOMEM;
    }
    *ret_reflector = r;
    return 0;
}

void kube_reflector_start(struct kube_reflector *r)
{
    if (r->phase == PHASE_STOPPED) {
        pause_for(r, STEP_LIST, 0);
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
    r->confirmed = 0;
    r->rewatches = 0;
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
        r->events.note(r->arg, LOG_LEVEL_ERROR, "out of memory: objects are kept that are not needed");
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
    free(r);
}

bool kube_reflector_is_synced(const struct kube_reflector *r)
{
    return r->is_synced;
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

const char *kube_reflector_trouble(const struct kube_reflector *r)
{
    return r->trouble;
}
