#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "kube/reflector_state.h"

enum {
    PAGE_SIZE = 500,
    LIST_TIMEOUT_MS = 5 * 60 * 1000,
    LIST_STALL_MS = 60 * 1000,
    REFUSED_PAUSE_MS = 5000, // 403, 404: a person must act, and wants to see it work then
    CONFIRM_EMPTY = 2, // consistent lists that must agree before everything is dropped
    CONFIRM_EMPTY_PAUSE_MS = 2000,
    CONFIRM_SHRUNK = 1,
    CONFIRM_SHRUNK_PAUSE_MS = 1000,
    SHRUNK_MIN = 10,
};

static int on_item(struct json_object *object, void *arg)
{
    return reflector_take_object(arg, object, false);
}

static void on_list_done(const struct kube_response *response, void *arg);

static int on_list_data(struct slice bytes, void *arg)
{
    struct kube_reflector *r = arg;
    return kube_list_decoder_feed(&r->list, bytes);
}

static bool is_paged(const struct kube_reflector *r)
{
    // Pages of an exact version come from etcd: only where the cache cannot answer anyway, or may.
    return !r->is_whole_list && (r->list_version[0] == '\0' || strcmp(r->list_version, "0") == 0);
}

static void send_list(struct kube_reflector *r)
{
    struct strbuf path;
    strbuf_init(&path, REFLECTOR_PATH_MAX);
    kube_path_add(&path, &r->options.resource, r->namespace_name, NULL, NULL);
    strbuf_add_str(&path, "?");
    if (is_paged(r)) {
        strbuf_printf(&path, "limit=%d", PAGE_SIZE);
    } else {
        strbuf_add_str(&path, "limit=0");
    }
    reflector_add_query(&path, "labelSelector", r->label_selector);
    reflector_add_query(&path, "fieldSelector", r->field_selector);
    if (r->continue_token != NULL) {
        reflector_add_query(&path, "continue", r->continue_token);
    } else {
        reflector_add_query(&path, "resourceVersion", r->list_version);
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
        reflector_set_trouble(r, LOG_LEVEL_ERROR, "cannot list: %s", strerror(-rc));
        reflector_back_off(r, STEP_LIST, 0);
    }
}

void reflector_begin_list(struct kube_reflector *r)
{
    const char *version = r->version_unusable || r->confirmed > 0 ? ""
                          : r->version != NULL                    ? r->version
                                                                  : "0";
    char *copy = strdup(version);
    if (copy == NULL) {
        reflector_back_off(r, STEP_LIST, 0);
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

static void list_refused(struct kube_reflector *r, const struct kube_response *response)
{
    const struct kube_resource *kind = &r->options.resource;
    r->is_refused = true;
    if (response->status == 404) {
        reflector_set_trouble(r, LOG_LEVEL_WARN,
                              "the API server does not know %s (%s): install the resource "
                              "definitions (kubectl apply -f crds/); trying again",
                              kind->plural, kind->api_version);
    } else {
        reflector_set_trouble(r, LOG_LEVEL_WARN,
                              "not allowed to list and watch %s (%s): grant it in the Role or "
                              "ClusterRole; trying again: %s",
                              kind->plural, kind->api_version, response->text);
    }
    r->counters.failures++;
    reflector_pause(r, STEP_LIST, REFUSED_PAUSE_MS + rand_below(&r->rng, REFUSED_PAUSE_MS));
}

static void list_failed(struct kube_reflector *r, const struct kube_response *response)
{
    if (response->rc == 0 &&
        (reflector_is_gone(response->status, response->reason) || response->too_large_version)) {
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
            reflector_begin_list(r);
            return;
        }
    }
    if (response->rc == 0 && (response->status == 404 || response->status == 403)) {
        list_refused(r, response);
        return;
    }
    reflector_set_trouble(r, LOG_LEVEL_WARN, "cannot list %s: %s", r->options.resource.plural,
                          response->text);
    if (response->rc != 0) {
        reflector_back_off_cut_off(r, STEP_LIST);
    } else if (!reflector_pause_as_asked(r, STEP_LIST, response->status,
                                         response->retry_after_ms)) {
        reflector_back_off(r, STEP_LIST, response->retry_after_ms);
    }
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
    reflector_set_trouble(r, LOG_LEVEL_WARN,
                          "the list of %s suddenly lacks %zu of %zu objects; keeping them "
                          "until further lists agree",
                          r->options.resource.plural, gone, gone + left);
    reflector_pause(r, STEP_LIST, empty ? CONFIRM_EMPTY_PAUSE_MS : CONFIRM_SHRUNK_PAUSE_MS);
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
        reflector_back_off(r, STEP_LIST, 0);
        return;
    }
    free(r->version); // a list is believed even if its version is lower: the server was restored
    r->version = copy;
    r->version_unusable = false;
    r->confirmed = 0;
    r->is_synced = true;
    r->is_refused = false;
    r->asked = 0;
    r->answered_ms = loop_now_ms(r->loop);
    reflector_clear_trouble(r);
    r->events.synced(r->arg);
    reflector_begin_watch(r);
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
        reflector_set_trouble(r, LOG_LEVEL_WARN,
                              "the answer to a list of %s is cut or is not a %sList",
                              r->options.resource.plural, r->options.resource.kind);
        reflector_back_off(r, STEP_LIST, 0);
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
        reflector_set_trouble(r, LOG_LEVEL_WARN, "the pages of a list of %s do not end",
                              r->options.resource.plural);
        reflector_back_off(r, STEP_LIST, 0);
        return;
    }
    free(r->continue_token);
    r->continue_token = copy;
    send_list(r);
}
