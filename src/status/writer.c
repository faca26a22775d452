#include "status/writer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/strbuf.h"
#include "kube/object.h"
#include "kube/workqueue.h"
#include "status/document.h"

enum {
    SETTLE_MS = 100,
    INTERVAL_MS = 1000,
    CALL_TIMEOUT_MS = 30 * 1000,
    REFUSED_PAUSE_MS = 60 * 1000,
    CONTEST_MAX_MS = 5 * 60 * 1000,
};
static const char FIELD_MANAGER[] = "headrace";

struct item {
    struct kube_work work;
    struct status_writer *writer;
    struct object_status wanted;
    struct kube_call *call;
    struct json_object *answer; // to our last write: may be newer than what was heard
    uint64_t written_ms;        // 0 = never
    bool is_sent;               // the wish as it stands is on its way
    bool is_written;            // … and was taken by the server
    bool is_withdrawing;        // not a wish any more: what was written of it is to go
    unsigned contests;          // how often in a row others undid it
    char refusal[160];          // what was logged last, so that it is logged once
};

struct status_writer {
    struct loop *loop;
    struct kube_api *api;
    struct status_writer_options options;
    struct kube_workqueue queue;
    struct map items;
    struct status_writer_counters counters;
};

static void run(struct kube_work *work, void *arg);

int status_writer_new(struct loop *loop, struct kube_api *api,
                      const struct status_writer_options *options,
                      struct status_writer **ret_writer)
{
    struct status_writer *w = calloc(1, sizeof(*w));
    if (w == NULL) {
        return -ENOMEM;
    }
    w->loop = loop;
    w->api = api;
    w->options = *options;
    if (w->options.settle_ms == 0) {
        w->options.settle_ms = SETTLE_MS;
    }
    if (w->options.interval_ms == 0) {
        w->options.interval_ms = INTERVAL_MS;
    }
    kube_workqueue_init(&w->queue, loop, NULL, run, w);
    *ret_writer = w;
    return 0;
}

static void item_free(struct item *item)
{
    kube_work_forget(&item->work);
    kube_api_cancel(item->writer->api, item->call);
    object_status_fini(&item->wanted);
    json_object_put(item->answer);
    free(item);
}

void status_writer_free(struct status_writer *w)
{
    if (w == NULL) {
        return;
    }
    for (struct map_entry *at = NULL; (at = map_next(&w->items, at)) != NULL;) {
        item_free(at->value);
    }
    map_fini(&w->items);
    kube_workqueue_fini(&w->queue);
    free(w);
}

static bool make_key(struct strbuf *key, enum object_kind kind, struct slice namespace,
                     struct slice name)
{
    strbuf_init(key, 1024);
    strbuf_printf(key, "%d/", (int)kind);
    kube_key_add(key, namespace, name);
    return !key->failed;
}

static struct item *find_or_make(struct status_writer *w, const struct object_status *status)
{
    struct strbuf key;
    struct item *item = NULL;
    if (make_key(&key, status->kind, slice_of_str(status->namespace), slice_of_str(status->name))) {
        item = map_get(&w->items, strbuf_slice(&key));
    }
    if (item == NULL && !key.failed && (item = calloc(1, sizeof(*item))) != NULL) {
        item->writer = w;
        if (map_put(&w->items, strbuf_slice(&key), item, NULL) != 0) {
            free(item);
            item = NULL;
        }
    }
    strbuf_fini(&key);
    return item;
}

// How long until the object may be written to again. What others undo is written again, but ever
// more rarely: two replicas that do not see the same would else write in turns for ever.
static uint64_t pause_of(const struct item *item)
{
    const struct status_writer *w = item->writer;
    uint64_t now = loop_now_ms(w->loop);
    uint64_t interval = w->options.interval_ms;
    for (unsigned i = 0; i < item->contests && interval < CONTEST_MAX_MS; i++) {
        interval = MIN_OF(interval * 2, (uint64_t)CONTEST_MAX_MS);
    }
    uint64_t due = item->written_ms == 0 ? 0 : item->written_ms + interval;
    return MAX_OF((uint64_t)w->options.settle_ms, due > now ? due - now : 0);
}

int status_writer_want(struct status_writer *w, const struct object_status *status)
{
    struct object_status copy;
    w->counters.wishes++;
    if (!object_status_copy(status, &copy)) {
        return -ENOMEM;
    }
    struct item *item = find_or_make(w, status);
    if (item == NULL) {
        object_status_fini(&copy);
        return -ENOMEM;
    }
    bool is_new_wish = item->is_withdrawing || !object_status_equal(&item->wanted, &copy);
    object_status_fini(&item->wanted);
    item->wanted = copy;
    item->is_withdrawing = false;
    bool held_up = item->work.failures > 0 || item->contests > 0;
    if (is_new_wish) {
        item->is_sent = false;
        item->is_written = false;
        item->contests = 0;
    }
    if (is_new_wish && item->work.is_waiting && held_up) {
        kube_work_forget(&item->work); // what failed, or was undone, was something else
    }
    kube_work_add_after(&w->queue, &item->work, pause_of(item));
    return 0;
}

static struct item *find(struct status_writer *w, enum object_kind kind, struct slice namespace,
                         struct slice name)
{
    struct strbuf key;
    bool ok = make_key(&key, kind, namespace, name);
    struct item *item = ok ? map_get(&w->items, strbuf_slice(&key)) : NULL;
    strbuf_fini(&key);
    return item;
}

void status_writer_withdraw(struct status_writer *w, enum object_kind kind, struct slice namespace,
                            struct slice name)
{
    struct item *item = find(w, kind, namespace, name);
    if (item == NULL) {
        return;
    }
    item->is_withdrawing = true;
    item->is_sent = false;
    item->is_written = false;
    item->contests = 0;
    if (item->work.is_waiting) {
        kube_work_forget(&item->work); // what failed, or was undone, was something else
    }
    kube_work_add_after(&w->queue, &item->work, pause_of(item));
}

void status_writer_gone(struct status_writer *w, enum object_kind kind, struct slice namespace,
                        struct slice name)
{
    struct strbuf key;
    if (make_key(&key, kind, namespace, name)) {
        struct item *item = map_remove(&w->items, strbuf_slice(&key));
        if (item != NULL) {
            item_free(item);
        }
    }
    strbuf_fini(&key);
}

void status_writer_set_open(struct status_writer *w, bool is_open)
{
    kube_workqueue_pause(&w->queue, !is_open);
}

void status_writer_counters(const struct status_writer *w, struct status_writer_counters *ret)
{
    *ret = w->counters;
    for (struct map_entry *at = NULL; (at = map_next(&w->items, at)) != NULL;) {
        const struct item *item = at->value;
        ret->pending += item->work.is_queued || item->work.is_waiting || item->work.is_running;
    }
}

// ---- writing ----

// The newest that we know of the object: what was heard, or the answer to our own last write, which
// the watch may not have brought yet.
static struct json_object *newest(struct item *item)
{
    const struct status_writer *w = item->writer;
    struct json_object *heard = w->options.current(w->options.arg, item->wanted.kind,
                                                   slice_of_str(item->wanted.namespace),
                                                   slice_of_str(item->wanted.name));
    struct kube_meta a;
    struct kube_meta b;
    bool known;
    if (item->answer == NULL || !kube_meta_read(item->answer, &a)) {
        return heard;
    }
    if (heard == NULL || !kube_meta_read(heard, &b)) {
        return item->answer;
    }
    if (slice_eq(a.uid, b.uid) && kube_version_compare(a.version, b.version, &known) > 0) {
        return item->answer;
    }
    json_object_put(item->answer);
    item->answer = NULL;
    return heard;
}

static void log_refusal(struct item *item, const struct kube_response *response)
{
    const struct object_kind_info *info = &object_kinds[item->wanted.kind];
    char text[sizeof(item->refusal)];
    snprintf(text, sizeof(text), "%s", response->text);
    if (strcmp(text, item->refusal) == 0) {
        return;
    }
    memcpy(item->refusal, text, sizeof(text));
    const char *hint = response->status == 403
                           ? "grant patch on its status in the Role or ClusterRole"
                       : response->status == 422
                           ? "the resource definition and this version may not fit: apply crds/"
                           : "trying again";
    log_warn("cannot write a status", LOG_STR("kind", info->kind),
             LOG_STR("namespace", item->wanted.namespace), LOG_STR("name", item->wanted.name),
             LOG_STR("why", text), LOG_STR("hint", hint));
}

// A withdrawal has ended: there is nothing more to be said of the object.
static void drop(struct item *item)
{
    struct slice namespace = slice_of_str(item->wanted.namespace);
    struct slice name = slice_of_str(item->wanted.name);
    status_writer_gone(item->writer, item->wanted.kind, namespace, name);
}

static void on_written(struct item *item, const struct kube_response *response)
{
    struct status_writer *w = item->writer;
    w->counters.written++;
    item->is_written = item->is_sent;
    item->refusal[0] = '\0';
    json_object_put(item->answer);
    item->answer = json_object_get(response->body);
    kube_strip(item->answer);
    kube_work_done(&item->work, pause_of(item));
}

static void on_done(const struct kube_response *response, void *arg)
{
    struct item *item = arg;
    struct status_writer *w = item->writer;
    item->call = NULL;
    item->written_ms = loop_now_ms(w->loop);
    bool is_gone = response->rc == 0 && response->status == 404;
    bool is_good = response->rc == 0 && response->status >= 200 && response->status < 300;
    if (item->is_withdrawing && item->is_sent && (is_good || is_gone)) {
        w->counters.written += is_good;
        drop(item);
    } else if (is_good) {
        on_written(item, response);
    } else if (is_gone) {
        kube_work_done(&item->work, pause_of(item)); // deleted; we shall hear of it
    } else if (response->rc == 0 && response->status == 409) {
        w->counters.conflicts++;
        kube_work_failed(&item->work, 0);
    } else if (response->rc == 0 && (response->status == 403 || response->status == 422)) {
        w->counters.refused++;
        log_refusal(item, response);
        kube_work_failed(&item->work, REFUSED_PAUSE_MS);
    } else {
        w->counters.failed++;
        log_refusal(item, response);
        kube_work_failed(&item->work, response->retry_after_ms);
    }
}

static int send(struct item *item, struct json_object *body)
{
    const struct object_kind_info *info = &object_kinds[item->wanted.kind];
    const struct kube_resource resource = {
        .api_version = info->api_version, .kind = info->kind, .plural = info->plural};
    struct strbuf path;
    strbuf_init(&path, 4096);
    kube_path_add(&path, &resource, item->wanted.namespace, item->wanted.name, "status");
    strbuf_printf(&path, "?fieldManager=%s&force=true", FIELD_MANAGER);
    struct kube_call_options options = {
        .method = "PATCH",
        .path = strbuf_cstr(&path),
        .content_type = "application/apply-patch+yaml", // JSON is YAML
        // YAML knows no "\\/", which json-c would write.
        .body = slice_of_str(json_object_to_json_string_ext(
            body, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)),
        .timeout_ms = CALL_TIMEOUT_MS,
    };
    int rc = path.failed || options.body.ptr == NULL
                 ? -ENOMEM
                 : kube_api_start(item->writer->api, &options, on_done, item, &item->call);
    strbuf_fini(&path);
    return rc;
}

// The server does not say what we had it say: somebody else wrote. After a long peace, this is the
// first time again.
static void note_contest(struct item *item)
{
    struct status_writer *w = item->writer;
    if (!item->is_written) {
        return;
    }
    w->counters.undone++;
    bool peace = loop_now_ms(w->loop) - item->written_ms > 2 * CONTEST_MAX_MS;
    item->contests = peace ? 0 : item->contests + 1;
}

// What is to be sent about the object as the server has it; NULL with *ret_is_current when nothing
// is.
static struct json_object *make_body(struct item *item, struct json_object *object,
                                     struct slice version, bool *ret_is_current)
{
    struct json_object *status = NULL;
    json_object_object_get_ex(object, "status", &status);
    if (item->is_withdrawing) {
        *ret_is_current = !status_document_is_ours(&item->wanted, status);
        return *ret_is_current ? NULL : status_document_withdraw(&item->wanted, version);
    }
    int64_t now_s = (int64_t)(clock_wall_ns() / 1000000000u);
    struct json_object *document = status_document(&item->wanted, status, now_s);
    *ret_is_current = document != NULL && status_document_is_current(document, status);
    if (*ret_is_current) {
        json_object_put(document);
        return NULL;
    }
    return status_document_apply(&item->wanted, version, document);
}

static void end_without_write(struct item *item)
{
    if (item->is_withdrawing) {
        drop(item);
    } else {
        kube_work_done(&item->work, 0);
    }
}

static void run(struct kube_work *work, void *arg)
{
    struct item *item = container_of(work, struct item, work);
    struct status_writer *w = arg;
    struct json_object *object = newest(item);
    struct kube_meta meta;
    if (object == NULL || !kube_meta_read(object, &meta) ||
        !slice_eq_str(meta.uid, item->wanted.uid != NULL ? item->wanted.uid : "")) {
        end_without_write(item); // gone, or another one of that name: a wish for it will come
        return;
    }
    bool is_current;
    struct json_object *body = make_body(item, object, meta.version, &is_current);
    if (is_current) {
        w->counters.unchanged++;
        end_without_write(item);
        return;
    }
    note_contest(item);
    item->is_sent = true;
    item->is_written = false;
    int rc = body != NULL ? send(item, body) : -ENOMEM;
    json_object_put(body);
    if (rc != 0) {
        w->counters.failed++;
        kube_work_failed(work, 0);
    }
}
