#include "kube/store.h"

#include <errno.h>
#include <stdlib.h>

#include "base/vec.h"

struct entry {
    uint64_t epoch;
    struct json_object *object; // NULL when objects are not kept
    size_t uid_len;
    size_t version_len;
    char text[]; // uid, version
};

enum { KEY_MAX = 1024 }; // a namespace has up to 63 bytes, a name up to 253

static struct slice entry_uid(const struct entry *e)
{
    return slice_of(e->text, e->uid_len);
}

static struct slice entry_version(const struct entry *e)
{
    return slice_of(e->text + e->uid_len, e->version_len);
}

static void entry_free(struct entry *e)
{
    if (e != NULL) {
        json_object_put(e->object);
        free(e);
    }
}

static struct entry *entry_new(const struct kube_store *store, const struct kube_meta *meta,
                               struct json_object *object)
{
    struct entry *e = malloc(sizeof(*e) + meta->uid.len + meta->version.len);
    if (e == NULL) {
        return NULL;
    }
    *e = (struct entry){.epoch = store->epoch, .uid_len = meta->uid.len,
                        .version_len = meta->version.len};
    if (meta->uid.len > 0) {
        memcpy(e->text, meta->uid.ptr, meta->uid.len);
    }
    if (meta->version.len > 0) {
        memcpy(e->text + meta->uid.len, meta->version.ptr, meta->version.len);
    }
    e->object = store->keep_objects ? json_object_get(object) : NULL;
    return e;
}

// The key is lent until the buffer goes.
static struct slice make_key(char buf[KEY_MAX], struct slice namespace_name, struct slice name)
{
    size_t prefix = namespace_name.len > 0 ? namespace_name.len + 1 : 0;
    if (prefix + name.len > KEY_MAX) {
        return SLICE_NULL;
    }
    if (prefix > 0) {
        memcpy(buf, namespace_name.ptr, namespace_name.len);
        buf[namespace_name.len] = '/';
    }
    memcpy(buf + prefix, name.ptr, name.len);
    return slice_of(buf, prefix + name.len);
}

void kube_store_fini(struct kube_store *store)
{
    for (struct map_entry *at = NULL; (at = map_next(&store->map, at)) != NULL;) {
        entry_free(at->value);
    }
    map_fini(&store->map);
    store->map = (struct map){.len = 0};
}

int kube_store_put(struct kube_store *store, const struct kube_meta *meta,
                   struct json_object *object, bool is_event)
{
    char buf[KEY_MAX];
    struct slice key = make_key(buf, meta->namespace_name, meta->name);
    struct entry *known = map_get(&store->map, key);
    if (known != NULL) {
        bool order_known;
        int order = kube_version_compare(meta->version, entry_version(known), &order_known);
        bool same_object = slice_eq(meta->uid, entry_uid(known));
        if ((order_known && order == 0 && same_object) || (is_event && order_known && order < 0)) {
            known->epoch = store->epoch;
            return KUBE_STORE_SAME;
        }
    }
    struct entry *fresh = entry_new(store, meta, object);
    void *old = NULL;
    if (fresh == NULL || map_put(&store->map, key, fresh, &old) != 0) {
        entry_free(fresh);
        return -ENOMEM;
    }
    entry_free(old);
    return KUBE_STORE_CHANGED;
}

bool kube_store_remove(struct kube_store *store, const struct kube_meta *meta)
{
    char buf[KEY_MAX];
    struct slice key = make_key(buf, meta->namespace_name, meta->name);
    struct entry *known = map_get(&store->map, key);
    bool order_known;
    if (known == NULL) {
        return false;
    }
    int order = kube_version_compare(meta->version, entry_version(known), &order_known);
    if (order_known && order < 0) {
        return false; // an earlier object of that name, or a repetition
    }
    entry_free(map_remove(&store->map, key));
    return true;
}

struct json_object *kube_store_get(const struct kube_store *store, struct slice namespace_name,
                                   struct slice name)
{
    char buf[KEY_MAX];
    struct entry *known = map_get(&store->map, make_key(buf, namespace_name, name));
    return known != NULL ? known->object : NULL;
}

void kube_store_begin(struct kube_store *store)
{
    store->epoch++;
}

size_t kube_store_unmarked(const struct kube_store *store)
{
    size_t n = 0;
    for (struct map_entry *at = NULL; (at = map_next(&store->map, at)) != NULL;) {
        const struct entry *e = at->value;
        n += e->epoch != store->epoch;
    }
    return n;
}

int kube_store_prune(struct kube_store *store, kube_store_gone *gone, void *arg)
{
    VEC(char *) keys = {0};
    int rc = 0;
    for (struct map_entry *at = NULL; rc == 0 && (at = map_next(&store->map, at)) != NULL;) {
        const struct entry *e = at->value;
        if (e->epoch == store->epoch) {
            continue;
        }
        char *key = slice_dup(at->key);
        if (key == NULL || !VEC_PUSH(&keys, key)) {
            free(key);
            rc = -ENOMEM;
        }
    }
    for (size_t i = 0; i < keys.len; i++) {
        if (rc == 0) {
            struct slice rest = slice_of_str(keys.items[i]);
            struct slice namespace_name = SLICE_NULL;
            ptrdiff_t slash = slice_find_byte(rest, '/');
            entry_free(map_remove(&store->map, rest));
            if (slash >= 0) {
                namespace_name = slice_first(rest, (size_t)slash);
                rest = slice_skip(rest, (size_t)slash + 1);
            }
            gone(arg, namespace_name, rest);
        }
        free(keys.items[i]);
    }
    VEC_FINI(&keys);
    return rc;
}
