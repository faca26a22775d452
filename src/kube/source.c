#include "kube/source.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"

enum { LET_GO_MS = 30 * 1000 };

struct kind {
    struct kube_source *source;
    struct kube_source_kind what;
    struct kube_reflector *reflector;
    struct timer let_go;
    uint64_t active_since_ms;
    bool is_active;
};

struct kube_source {
    struct loop *loop;
    struct kube_source_events events;
    void *arg;
    bool is_started;
    bool told_synced;
    size_t n_kinds;
    struct kind kinds[KUBE_SOURCE_KINDS_MAX];
};

static void on_upsert(void *arg, struct json_object *object)
{
    struct kind *kind = arg;
    kind->source->events.upsert(kind->source->arg, kind->what.tag, object);
}

static void on_remove(void *arg, struct slice namespace_name, struct slice name)
{
    struct kind *kind = arg;
    kind->source->events.remove(kind->source->arg, kind->what.tag, namespace_name, name);
}

// All kinds that are watched were listed since the start.
static bool is_synced(const struct kube_source *s)
{
    bool synced = s->is_started;
    for (size_t i = 0; i < s->n_kinds; i++) {
        synced = synced && (!s->kinds[i].is_active ||
                            kube_reflector_is_synced(s->kinds[i].reflector));
    }
    return synced;
}

static void tell_synced(struct kube_source *s)
{
    if (s->told_synced || !is_synced(s)) {
        return;
    }
    s->told_synced = true;
    s->events.synced(s->arg);
}

static void on_synced(void *arg)
{
    struct kind *kind = arg;
    log_debug("listed", LOG_STR("kind", kind->what.resource.kind),
              LOG_U64("objects", kube_reflector_count(kind->reflector)));
    tell_synced(kind->source);
}

static void on_note(void *arg, enum log_level level, const char *text)
{
    struct kind *kind = arg;
    LOG_AT(level, "kubernetes", LOG_STR("kind", kind->what.resource.kind), LOG_STR("what", text));
}

// The others need not sit out pauses that have grown during an outage.
static void on_in_touch(void *arg)
{
    struct kind *kind = arg;
    struct kube_source *s = kind->source;
    for (size_t i = 0; i < s->n_kinds; i++) {
        if (&s->kinds[i] != kind) {
            kube_reflector_hurry(s->kinds[i].reflector);
        }
    }
}

int kube_source_new(struct loop *loop, struct kube_api *api, const struct kube_source_kind *kinds,
                    size_t n_kinds, const char *namespace_name,
                    const struct kube_source_events *events, void *arg,
                    struct kube_source **ret_source)
{
    static const struct kube_reflector_events handlers = {
        .upsert = on_upsert, .remove = on_remove, .synced = on_synced, .note = on_note,
        .in_touch = on_in_touch};
    BUG_ON(n_kinds > KUBE_SOURCE_KINDS_MAX);
    struct kube_source *s = calloc(1, sizeof(*s));
    if (s == NULL) {
        return -ENOMEM;
    }
    s->loop = loop;
    s->events = *events;
    s->arg = arg;
    for (size_t i = 0; i < n_kinds; i++) {
        struct kind *kind = &s->kinds[i];
        struct kube_reflector_options options = {.resource = kinds[i].resource,
                                                 .namespace_name = namespace_name,
                                                 .keep_objects = kinds[i].keep_objects,
                                                 .silence_ms = kinds[i].silence_ms};
        kind->source = s;
        kind->what = kinds[i];
        if (kube_reflector_new(loop, api, &options, &handlers, kind, &kind->reflector) != 0) {
            kube_source_free(s);
            return -ENOMEM;
        }
        s->n_kinds = i + 1;
    }
    *ret_source = s;
    return 0;
}

void kube_source_free(struct kube_source *s)
{
    if (s == NULL) {
        return;
    }
    for (size_t i = 0; i < s->n_kinds; i++) {
        loop_timer_cancel(s->loop, &s->kinds[i].let_go);
        kube_reflector_free(s->kinds[i].reflector);
    }
    free(s);
}

static void activate(struct kind *kind)
{
    kind->is_active = true;
    kind->active_since_ms = loop_now_ms(kind->source->loop);
    kube_reflector_start(kind->reflector);
}

void kube_source_start(struct kube_source *s)
{
    s->is_started = true;
    for (size_t i = 0; i < s->n_kinds; i++) {
        if (!s->kinds[i].what.on_demand || s->kinds[i].is_active) {
            activate(&s->kinds[i]);
        }
    }
}

static struct kind *find(const struct kube_source *s, int tag)
{
    for (size_t i = 0; i < s->n_kinds; i++) {
        if (s->kinds[i].what.tag == tag) {
            return (struct kind *)&s->kinds[i];
        }
    }
    return NULL;
}

static void on_let_go(struct timer *timer, void *arg)
{
    (void)timer;
    struct kind *kind = arg;
    log_info("no longer watching", LOG_STR("kind", kind->what.resource.kind));
    kind->is_active = false;
    kube_reflector_retire(kind->reflector);
    tell_synced(kind->source); // it may have been all that was missing
}

void kube_source_demand(struct kube_source *s, int tag, bool wanted)
{
    struct kind *kind = find(s, tag);
    if (kind == NULL || !kind->what.on_demand) {
        return;
    }
    if (wanted) {
        loop_timer_cancel(s->loop, &kind->let_go);
        if (!kind->is_active) {
            log_info("watching on demand", LOG_STR("kind", kind->what.resource.kind));
            kind->is_active = true;
            if (s->is_started) {
                activate(kind);
            }
        }
    } else if (kind->is_active && !timer_is_set(&kind->let_go)) {
        loop_timer_set(s->loop, &kind->let_go, LET_GO_MS, on_let_go, kind);
    }
}

struct json_object *kube_source_get(const struct kube_source *s, int tag,
                                    struct slice namespace_name, struct slice name)
{
    const struct kind *kind = find(s, tag);
    return kind != NULL ? kube_reflector_get(kind->reflector, namespace_name, name) : NULL;
}

void kube_source_trouble(const struct kube_source *s, struct strbuf *to)
{
    for (size_t i = 0; i < s->n_kinds; i++) {
        const char *text = kube_reflector_trouble(s->kinds[i].reflector);
        if (*text != '\0') {
            strbuf_printf(to, "%s: %s\n", s->kinds[i].what.resource.plural, text);
        }
    }
}

const struct kube_reflector_counters *kube_source_counters(const struct kube_source *s, int tag)
{
    const struct kind *kind = find(s, tag);
    return kind != NULL ? kube_reflector_counters(kind->reflector) : NULL;
}

bool kube_source_look(const struct kube_source *s, int tag, struct kube_source_state *ret_state)
{
    const struct kind *kind = find(s, tag);
    if (!s->is_started || kind == NULL || !kind->is_active) {
        return false;
    }
    const struct kube_reflector *r = kind->reflector;
    uint64_t since = MAX_OF(kube_reflector_answered_ms(r), kind->active_since_ms);
    *ret_state = (struct kube_source_state){
        .is_in_touch = kube_reflector_is_synced(r) && *kube_reflector_trouble(r) == '\0',
        .silent_ms = loop_now_ms(s->loop) - since,
    };
    return true;
}
