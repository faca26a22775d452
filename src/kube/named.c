#include "kube/named.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/map.h"

struct one {
    struct kube_named *named;
    const struct kube_named_kind *kind;
    struct kube_reflector *reflector;
    char *key; // "namespace/name"
    uint64_t wanted_since_ms;
};

struct kube_named {
    struct loop *loop;
    struct kube_api *api;
    struct kube_source_events events;
    void *arg;
    size_t n_kinds;
    struct kube_named_kind kinds[KUBE_NAMED_KINDS_MAX];
    struct map ones[KUBE_NAMED_KINDS_MAX]; // "namespace/name" → one
    size_t n_unsettled;
    struct kube_reflector_counters gone[KUBE_NAMED_KINDS_MAX]; // of those that were let go
};

enum { TROUBLES_MAX = 12, KEY_MAX = 512 };

static bool is_settled(const struct one *one)
{
    return kube_reflector_is_synced(one->reflector) || kube_reflector_is_refused(one->reflector);
}

static size_t count_unsettled(const struct kube_named *named)
{
    size_t n = 0;
    for (size_t k = 0; k < named->n_kinds; k++) {
        for (struct map_entry *e = NULL; (e = map_next(&named->ones[k], e)) != NULL;) {
            n += !is_settled(e->value);
        }
    }
    return n;
}

bool kube_named_is_settled(const struct kube_named *named)
{
    return count_unsettled(named) == 0;
}

static void tell_settled(struct kube_named *named)
{
    size_t before = named->n_unsettled;
    named->n_unsettled = before > 0 ? count_unsettled(named) : 0;
    if (before > 0 && named->n_unsettled == 0) {
        named->events.synced(named->arg);
    }
}

// ---- what a reflector says ----

static void on_upsert(void *arg, struct json_object *object)
{
    struct one *one = arg;
    one->named->events.upsert(one->named->arg, one->kind->tag, object);
}

static void on_remove(void *arg, struct slice namespace_name, struct slice name)
{
    struct one *one = arg;
    one->named->events.remove(one->named->arg, one->kind->tag, namespace_name, name);
}

static void on_synced(void *arg)
{
    struct one *one = arg;
    tell_settled(one->named);
}

static void on_note(void *arg, enum log_level level, const char *text)
{
    struct one *one = arg;
    LOG_AT(level, "kubernetes", LOG_STR("kind", one->kind->resource.kind),
           LOG_STR("object", one->key), LOG_STR("what", text));
    tell_settled(one->named); // a refusal is an answer too
}

// ---- life ----

int kube_named_new(struct loop *loop, struct kube_api *api, const struct kube_named_kind *kinds,
                   size_t n_kinds, const struct kube_source_events *events, void *arg,
                   struct kube_named **ret_named)
{
    BUG_ON(n_kinds > KUBE_NAMED_KINDS_MAX);
    struct kube_named *named = calloc(1, sizeof(*named));
    if (named == NULL) {
        return -ENOMEM;
    }
    named->loop = loop;
    named->api = api;
    named->events = *events;
    named->arg = arg;
    named->n_kinds = n_kinds;
    for (size_t k = 0; k < n_kinds; k++) {
        named->kinds[k] = kinds[k];
    }
    *ret_named = named;
    return 0;
}

static void one_free(struct one *one)
{
    kube_reflector_free(one->reflector);
    free(one->key);
    free(one);
}

void kube_named_free(struct kube_named *named)
{
    if (named == NULL) {
        return;
    }
    for (size_t k = 0; k < named->n_kinds; k++) {
        for (struct map_entry *e = NULL; (e = map_next(&named->ones[k], e)) != NULL;) {
            one_free(e->value);
        }
        map_fini(&named->ones[k]);
    }
    free(named);
}

static size_t find_kind(const struct kube_named *named, int tag)
{
    size_t k = 0;
    while (k < named->n_kinds && named->kinds[k].tag != tag) {
        k++;
    }
    BUG_ON(k == named->n_kinds);
    return k;
}

static struct slice print_key(struct slice namespace_name, struct slice name, char buf[KEY_MAX])
{
    int n = snprintf(buf, KEY_MAX, "%.*s/%.*s", SLICE_FMT(namespace_name), SLICE_FMT(name));
    return slice_of(buf, MIN_OF((size_t)n, (size_t)KEY_MAX - 1));
}

static struct one *one_new(struct kube_named *named, const struct kube_named_kind *kind,
                           struct slice key, struct slice namespace_name, struct slice name)
{
    static const struct kube_reflector_events handlers = {
        .upsert = on_upsert, .remove = on_remove, .synced = on_synced, .note = on_note};
    char selector[KEY_MAX];
    struct one *one = calloc(1, sizeof(*one));
    char *namespace_copy = slice_dup(namespace_name);
    if (one == NULL || namespace_copy == NULL) {
        free(one);
        free(namespace_copy);
        return NULL;
    }
    snprintf(selector, sizeof(selector), "metadata.name=%.*s", SLICE_FMT(name));
    one->named = named;
    one->kind = kind;
    one->key = slice_dup(key);
    one->wanted_since_ms = loop_now_ms(named->loop);
    struct kube_reflector_options options = {.resource = kind->resource,
                                             .namespace_name = namespace_copy,
                                             .field_selector = selector,
                                             .silence_ms = kind->silence_ms};
    int rc = one->key == NULL ? -ENOMEM
                              : kube_reflector_new(named->loop, named->api, &options, &handlers,
                                                   one, &one->reflector);
    free(namespace_copy);
    if (rc < 0) {
        one_free(one);
        return NULL;
    }
    return one;
}

int kube_named_want(struct kube_named *named, int tag, struct slice namespace_name,
                    struct slice name)
{
    char buf[KEY_MAX];
    size_t k = find_kind(named, tag);
    struct slice key = print_key(namespace_name, name, buf);
    if (map_get(&named->ones[k], key) != NULL) {
        return 0;
    }
    struct one *one = one_new(named, &named->kinds[k], key, namespace_name, name);
    if (one == NULL || map_put(&named->ones[k], key, one, NULL) < 0) {
        if (one != NULL) {
            one_free(one);
        }
        return -ENOMEM;
    }
    named->n_unsettled++;
    kube_reflector_start(one->reflector);
    return 0;
}

static void add_counters(struct kube_reflector_counters *sum,
                         const struct kube_reflector_counters *more)
{
    sum->lists += more->lists;
    sum->watches += more->watches;
    sum->events += more->events;
    sum->bookmarks += more->bookmarks;
    sum->duplicates += more->duplicates;
    sum->odd += more->odd;
    sum->failures += more->failures;
    sum->prunes_held += more->prunes_held;
}

void kube_named_unwant(struct kube_named *named, int tag, struct slice namespace_name,
                       struct slice name)
{
    char buf[KEY_MAX];
    size_t k = find_kind(named, tag);
    struct one *one = map_remove(&named->ones[k], print_key(namespace_name, name, buf));
    if (one == NULL) {
        return;
    }
    add_counters(&named->gone[k], kube_reflector_counters(one->reflector));
    kube_reflector_retire(one->reflector);
    one_free(one);
    tell_settled(named); // it may have been all that was missing
}

// ---- how it stands ----

void kube_named_trouble(const struct kube_named *named, struct strbuf *to)
{
    size_t n = 0;
    for (size_t k = 0; k < named->n_kinds; k++) {
        for (struct map_entry *e = NULL; (e = map_next(&named->ones[k], e)) != NULL;) {
            const struct one *one = e->value;
            const char *text = kube_reflector_trouble(one->reflector);
            if (*text != '\0' && n++ < TROUBLES_MAX) {
                strbuf_printf(to, "%s %s: %s\n", one->kind->resource.plural, one->key, text);
            }
        }
    }
}

bool kube_named_look(const struct kube_named *named, int tag,
                     struct kube_reflector_counters *ret_counters,
                     struct kube_source_state *ret_state)
{
    size_t k = find_kind(named, tag);
    uint64_t now = loop_now_ms(named->loop);
    struct kube_source_state state = {.is_in_touch = true};
    *ret_counters = named->gone[k];
    for (struct map_entry *e = NULL; (e = map_next(&named->ones[k], e)) != NULL;) {
        const struct one *one = e->value;
        const struct kube_reflector *r = one->reflector;
        uint64_t since = MAX_OF(kube_reflector_answered_ms(r), one->wanted_since_ms);
        state.is_in_touch = state.is_in_touch && kube_reflector_is_synced(r) &&
                            *kube_reflector_trouble(r) == '\0';
        state.silent_ms = MAX_OF(state.silent_ms, now - since);
        add_counters(ret_counters, kube_reflector_counters(r));
    }
    *ret_state = state;
    return named->ones[k].len > 0;
}
