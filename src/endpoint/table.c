// The table of backends and their endpoint sets: changes, and the one place that frees.
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "endpoint/affinity.h"
#include "endpoint/endpoint.h"
#include "endpoint/server_tls.h"

enum {
    DEFAULT_INTERVAL_MS = 200,
    DEFAULT_STALE_MS = 2000,
    DEFAULT_BYTES_PER_TOKEN_Q10 = 4 * 1024,
};

// What makes two specs the same address.
struct address_key {
    uint8_t ip[16];
    uint32_t scope;
    uint16_t family;
    uint16_t port;
};

static struct address_key address_key_of(const struct sockaddr_storage *address)
{
    struct address_key key;
    memset(&key, 0, sizeof(key));
    key.family = address->ss_family;
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;
        memcpy(key.ip, &in->sin_addr, sizeof(in->sin_addr));
        key.port = in->sin_port;
    } else if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)address;
        memcpy(key.ip, &in6->sin6_addr, sizeof(in6->sin6_addr));
        key.port = in6->sin6_port;
        key.scope = in6->sin6_scope_id;
    }
    return key;
}

static struct slice address_key_slice(const struct address_key *key)
{
    return slice_of((const char *)key, sizeof(*key));
}

int endpoint_address_parse(struct slice ip, uint16_t port, struct endpoint_spec *spec)
{
    char text[INET6_ADDRSTRLEN];
    if (ip.len == 0 || ip.len >= sizeof(text) || port == 0 || memchr(ip.ptr, 0, ip.len) != NULL) {
        return -EINVAL;
    }
    memcpy(text, ip.ptr, ip.len);
    text[ip.len] = '\0';
    struct sockaddr_storage address;
    memset(&address, 0, sizeof(address));
    struct sockaddr_in *in = (struct sockaddr_in *)(void *)&address;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)&address;
    if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = htons(port);
        spec->address_len = sizeof(*in);
    } else if (inet_pton(AF_INET6, text, &in6->sin6_addr) == 1) {
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(port);
        spec->address_len = sizeof(*in6);
    } else {
        return -EINVAL;
    }
    spec->address = address;
    return 0;
}

void endpoint_address_format(const struct sockaddr_storage *address, char *buf, size_t size)
{
    char ip[INET6_ADDRSTRLEN] = "?";
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;
        inet_ntop(AF_INET, &in->sin_addr, ip, sizeof(ip));
        snprintf(buf, size, "%s:%u", ip, ntohs(in->sin_port));
    } else if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)address;
        inet_ntop(AF_INET6, &in6->sin6_addr, ip, sizeof(ip));
        snprintf(buf, size, "[%s]:%u", ip, ntohs(in6->sin6_port));
    } else {
        snprintf(buf, size, "?");
    }
}

// ---- ids ----

static int id_take(struct endpoint_table *table, uint32_t *ret_id)
{
    if (table->free_id_count > 0) {
        *ret_id = table->free_ids[--table->free_id_count];
        return 0;
    }
    // Room for giving it back is made now, so that giving back cannot fail.
    if (table->next_id >= table->free_id_cap) {
        size_t cap = table->free_id_cap == 0 ? 64 : table->free_id_cap * 2;
        uint32_t *ids = realloc(table->free_ids, cap * sizeof(*ids));
        if (ids == NULL) {
            return -ENOMEM;
        }
        table->free_ids = ids;
        table->free_id_cap = cap;
    }
    *ret_id = table->next_id++;
    return 0;
}

static void id_give_back(struct endpoint_table *table, uint32_t id)
{
    BUG_ON(table->free_id_count >= table->free_id_cap);
    table->free_ids[table->free_id_count++] = id;
}

// ---- endpoints ----

static struct endpoint *endpoint_new(struct endpoint_table *table, const struct endpoint_spec *spec)
{
    struct endpoint *endpoint = NULL;
    if (posix_memalign((void **)&endpoint, CACHE_LINE, sizeof(*endpoint)) != 0) {
        return NULL;
    }
    memset(endpoint, 0, sizeof(*endpoint));
    if (id_take(table, &endpoint->id) != 0) {
        free(endpoint);
        return NULL;
    }
    atomic_init(&endpoint->refs, 1);
    atomic_init(&endpoint->weight, MAX_OF(spec->weight, 1u));
    endpoint->address = spec->address;
    endpoint->address_len = spec->address_len;
    endpoint_address_format(&spec->address, endpoint->text, sizeof(endpoint->text));
    endpoint->stable_id = affinity_hash(slice_of_str(endpoint->text));
    snprintf(endpoint->pod, sizeof(endpoint->pod), "%.*s", SLICE_FMT(spec->pod));
    endpoint->added_ms = clock_mono_ms();
    endpoint->health.window_began_ms = endpoint->added_ms;
    list_init(&endpoint->gone_node);
    atomic_fetch_add_explicit(&table->endpoint_count, 1, memory_order_relaxed);
    return endpoint;
}

static void endpoint_destroy(struct endpoint_table *table, struct endpoint *endpoint)
{
    list_remove(&endpoint->gone_node);
    id_give_back(table, endpoint->id);
    atomic_fetch_sub_explicit(&table->endpoint_count, 1, memory_order_relaxed);
    free(endpoint);
}

static bool endpoint_is_for(const struct endpoint *endpoint, const struct endpoint_spec *spec)
{
    struct slice pod = slice_first(spec->pod, sizeof(endpoint->pod) - 1);
    return pod.len == 0 || slice_eq_str(pod, endpoint->pod);
}

// Back in a set. What was learnt about its health before it went is old.
static void endpoint_revive(struct endpoint *endpoint)
{
    list_remove(&endpoint->gone_node);
    atomic_store_explicit(&endpoint->failures_in_row, 0, memory_order_relaxed);
    atomic_store_explicit(&endpoint->avoid_until_ms, 0, memory_order_relaxed);
    atomic_store_explicit(&endpoint->health.overloads_in_row, 0, memory_order_relaxed);
    atomic_store_explicit(&endpoint->overloaded_until_ms, 0, memory_order_relaxed);
    health_forget(endpoint);
    atomic_store_explicit(&endpoint->removed, false, memory_order_relaxed);
}

// ---- sets ----

static struct endpoint_set *set_new(size_t cap)
{
    struct endpoint_set *set = malloc(sizeof(*set) + cap * sizeof(set->items[0]));
    if (set != NULL) {
        set->count = 0;
    }
    return set;
}

// No worker reads the replaced set any more.
static void set_retired(void *arg)
{
    struct endpoint_set *set = arg;
    for (size_t i = 0; i < set->count; i++) {
        set->items[i]->in_sets--;
    }
    free(set);
}

// A set on its way to be published. Until then nothing shared was touched.
struct set_change {
    struct backend_state *backend;
    struct endpoint_set *old;
    struct endpoint_set *next;
    struct map known; // address → endpoint: in the old set, or gone but still held
    struct map taken; // address → endpoint: in the new set
};

static int set_change_know(struct set_change *change, struct endpoint *endpoint)
{
    struct address_key key = address_key_of(&endpoint->address);
    return map_put(&change->known, address_key_slice(&key), endpoint, NULL);
}

static int set_change_init(struct set_change *change, struct backend_state *backend, size_t count)
{
    memset(change, 0, sizeof(*change));
    change->backend = backend;
    change->old = atomic_load_explicit(&backend->set, memory_order_relaxed); // we are the writer
    change->next = set_new(count);
    int rc = change->next == NULL ? -ENOMEM : 0;
    list_for_each(&backend->gone, node) {
        if (rc == 0) {
            rc = set_change_know(change, container_of(node, struct endpoint, gone_node));
        }
    }
    for (size_t i = 0; rc == 0 && i < change->old->count; i++) {
        rc = set_change_know(change, change->old->items[i]); // wins over one that is gone
    }
    return rc;
}

static int set_change_add(struct set_change *change, const struct endpoint_spec *spec)
{
    struct address_key key = address_key_of(&spec->address);
    if (map_get(&change->taken, address_key_slice(&key)) != NULL) {
        return 0;
    }
    struct endpoint *known = map_get(&change->known, address_key_slice(&key));
    struct endpoint *endpoint = known != NULL && endpoint_is_for(known, spec)
                                    ? known
                                    : endpoint_new(change->backend->table, spec);
    if (endpoint == NULL) {
        return -ENOMEM;
    }
    if (map_put(&change->taken, address_key_slice(&key), endpoint, NULL) != 0) {
        if (endpoint != known) {
            endpoint_destroy(change->backend->table, endpoint);
        }
        return -ENOMEM;
    }
    endpoint->in_sets++;
    change->next->items[change->next->count++] = endpoint;
    return 0;
}

static void set_change_undo(struct set_change *change)
{
    for (size_t i = 0; change->next != NULL && i < change->next->count; i++) {
        struct endpoint *endpoint = change->next->items[i];
        // Only those made just now are in no other set and not waiting for their end either.
        if (--endpoint->in_sets == 0 && list_empty(&endpoint->gone_node)) {
            endpoint_destroy(change->backend->table, endpoint);
        }
    }
    free(change->next);
}

// What the spec says of an endpoint that will be served. Of a backend's first endpoints none is
// fresh beside others: there is no slow start.
static void set_change_apply(const struct set_change *change, struct endpoint *endpoint,
                             const struct endpoint_spec *spec)
{
    bool fresh = endpoint->in_sets == 1; // in this set only
    atomic_store_explicit(&endpoint->weight, MAX_OF(spec->weight, 1u), memory_order_relaxed);
    if (atomic_load_explicit(&endpoint->removed, memory_order_relaxed)) {
        endpoint_revive(endpoint);
        fresh = true;
    }
    health_set_terminating(endpoint, spec->terminating);
    if (fresh && change->old->count > 0) {
        health_warm(endpoint, backend_state_health(change->backend)->slow_start_ms,
                    clock_mono_ms());
    }
}

static void set_change_commit(struct set_change *change, const struct endpoint_spec *specs,
                              size_t count)
{
    struct endpoint_table *table = change->backend->table;
    for (size_t i = count; i-- > 0;) { // backwards: of duplicates the first has the last word
        struct address_key key = address_key_of(&specs[i].address);
        struct endpoint *endpoint = map_get(&change->taken, address_key_slice(&key));
        set_change_apply(change, endpoint, &specs[i]);
    }
    pthread_mutex_lock(&table->lock);
    // Release pairs with the acquire in backend_state_endpoints.
    atomic_store_explicit(&change->backend->set, change->next, memory_order_release);
    pthread_mutex_unlock(&table->lock);
    for (size_t i = 0; i < change->old->count; i++) {
        struct endpoint *endpoint = change->old->items[i];
        struct address_key key = address_key_of(&endpoint->address);
        if (map_get(&change->taken, address_key_slice(&key)) != endpoint) {
            // Release: a worker that sees the mark sees the set without it.
            atomic_store_explicit(&endpoint->removed, true, memory_order_release);
            list_push_back(&change->backend->gone, &endpoint->gone_node);
        }
    }
    epoch_retire(table->epoch, set_retired, change->old);
    atomic_fetch_add_explicit(&table->version, 1, memory_order_release);
}

int backend_state_set_endpoints(struct backend_state *backend, const struct endpoint_spec *specs,
                                size_t count)
{
    struct set_change change;
    int rc = set_change_init(&change, backend, count);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = set_change_add(&change, &specs[i]);
    }
    if (rc == 0) {
        set_change_commit(&change, specs, count);
    } else {
        set_change_undo(&change);
    }
    map_fini(&change.known);
    map_fini(&change.taken);
    return rc;
}

// ---- backends ----

void backend_state_ref(struct backend_state *backend)
{
    atomic_fetch_add_explicit(&backend->refs, 1, memory_order_relaxed);
}

void backend_state_unref(struct backend_state *backend)
{
    if (backend != NULL) {
        // Release: our last uses come before. Partner: the acquire in endpoint_table_collect.
        uint32_t before = atomic_fetch_sub_explicit(&backend->refs, 1, memory_order_release);
        BUG_ON(before < 2); // the table's own is not ours to drop
    }
}

void backend_state_watch(struct backend_state *backend)
{
    atomic_fetch_add_explicit(&backend->watchers, 1, memory_order_relaxed);
}

void backend_state_unwatch(struct backend_state *backend)
{
    // Release: our last uses come before. Partner: the acquire in collect_left.
    atomic_fetch_sub_explicit(&backend->watchers, 1, memory_order_release);
}

static void backend_times_set(struct backend_state *backend, uint32_t interval_ms,
                              uint32_t stale_after_ms)
{
    uint32_t stale = MAX_OF(stale_after_ms, 1u);
    // Two intervals are the normal age of a sample; the rest of the time is for fading.
    uint32_t fresh = interval_ms > UINT32_MAX / 2 ? UINT32_MAX : interval_ms * 2;
    fresh = MIN_OF(fresh, stale - stale / 4);
    // Relaxed: tunables, each meaningful alone; a reader guards against fresh > stale.
    atomic_store_explicit(&backend->fresh_ms, fresh, memory_order_relaxed);
    atomic_store_explicit(&backend->stale_after_ms, stale, memory_order_relaxed);
}

static struct backend_state *backend_new(struct endpoint_table *table, struct slice key)
{
    struct backend_state *backend = calloc(1, sizeof(*backend));
    struct endpoint_set *set = set_new(0);
    struct health_config *health = malloc(sizeof(*health));
    char *name = slice_dup(key);
    if (backend == NULL || set == NULL || health == NULL || name == NULL) {
        free(backend);
        free(set);
        free(health);
        free(name);
        return NULL;
    }
    list_init(&backend->node);
    list_init(&backend->gone);
    backend->key = name;
    backend->table = table;
    atomic_init(&backend->refs, 1);
    atomic_init(&backend->set, set);
    health_config_default(health);
    atomic_init(&backend->health, health);
    atomic_init(&backend->bytes_per_token_q10, DEFAULT_BYTES_PER_TOKEN_Q10);
    backend->scrape.interval_ms = DEFAULT_INTERVAL_MS;
    backend->scrape.stale_after_ms = DEFAULT_STALE_MS;
    backend_times_set(backend, DEFAULT_INTERVAL_MS, DEFAULT_STALE_MS);
    return backend;
}

static void backend_free(void *arg)
{
    struct backend_state *backend = arg;
    free(atomic_load_explicit(&backend->set, memory_order_relaxed));
    free(atomic_load_explicit(&backend->health, memory_order_relaxed));
    server_tls_unref(backend->tls);
    free(backend->key);
    free(backend);
}

struct backend_state *endpoint_table_backend(struct endpoint_table *table, struct slice key)
{
    struct backend_state *backend = map_get(&table->backends, key); // only we change the map
    if (backend == NULL) {
        backend = backend_new(table, key);
        if (backend == NULL) {
            return NULL;
        }
        pthread_mutex_lock(&table->lock);
        int rc = map_put(&table->backends, key, backend, NULL);
        if (rc == 0) {
            list_push_back(&table->backend_list, &backend->node);
        }
        pthread_mutex_unlock(&table->lock);
        if (rc != 0) {
            backend_free(backend);
            return NULL;
        }
    }
    backend_state_ref(backend);
    return backend;
}

static bool scrape_config_eq(const struct scrape_config *a, const struct scrape_config *b)
{
    return a->engine == b->engine && a->is_tls == b->is_tls && a->scheme == b->scheme &&
           a->port == b->port &&
           a->interval_ms == b->interval_ms && a->stale_after_ms == b->stale_after_ms &&
           strcmp(a->path, b->path) == 0 &&
           strcmp(a->map_waiting, b->map_waiting) == 0 &&
           strcmp(a->map_running, b->map_running) == 0 && strcmp(a->map_kv, b->map_kv) == 0;
}

void backend_state_configure(struct backend_state *backend, const struct scrape_config *config)
{
    struct endpoint_table *table = backend->table;
    struct scrape_config next = *config;
    if (next.interval_ms == 0) {
        next.interval_ms = DEFAULT_INTERVAL_MS;
    }
    if (next.stale_after_ms == 0) {
        next.stale_after_ms = DEFAULT_STALE_MS;
    }
    pthread_mutex_lock(&table->lock);
    bool changed = !scrape_config_eq(&backend->scrape, &next);
    if (changed) {
        backend->scrape = next;
    }
    pthread_mutex_unlock(&table->lock);
    if (changed) {
        backend_times_set(backend, next.interval_ms, next.stale_after_ms);
        atomic_fetch_add_explicit(&table->version, 1, memory_order_release);
    }
}

// ---- table ----

int endpoint_table_new(struct endpoint_table **ret_table, struct epoch *epoch)
{
    struct endpoint_table *table = calloc(1, sizeof(*table));
    if (table == NULL) {
        return -ENOMEM;
    }
    int rc = pthread_mutex_init(&table->lock, NULL);
    if (rc != 0) {
        free(table);
        return -rc;
    }
    table->epoch = epoch;
    list_init(&table->backend_list);
    list_init(&table->left);
    list_init(&table->gone);
    atomic_init(&table->version, 1);
    *ret_table = table;
    return 0;
}

// Out of the map: its endpoints go like those that leave a set.
static void backend_drop(struct endpoint_table *table, struct backend_state *backend)
{
    pthread_mutex_lock(&table->lock);
    map_remove(&table->backends, slice_of_str(backend->key));
    list_remove(&backend->node);
    pthread_mutex_unlock(&table->lock);
    struct endpoint_set *set = atomic_load_explicit(&backend->set, memory_order_relaxed);
    for (size_t i = 0; i < set->count; i++) {
        // Release as in set_change_commit. Nobody reads this set any more: its readers held
        // references to the backend.
        atomic_store_explicit(&set->items[i]->removed, true, memory_order_release);
        set->items[i]->in_sets--;
        list_push_back(&table->gone, &set->items[i]->gone_node);
    }
    list_for_each(&backend->gone, node) {
        list_remove(node);
        list_push_back(&table->gone, node);
    }
    list_push_back(&table->left, &backend->node);
    atomic_fetch_add_explicit(&table->version, 1, memory_order_release);
}

static void collect_left(struct endpoint_table *table)
{
    list_for_each(&table->left, node) {
        struct backend_state *backend = container_of(node, struct backend_state, node);
        if (atomic_load_explicit(&backend->watchers, memory_order_acquire) == 0) {
            list_remove(node);
            // Later: whoever dropped the last reference may be looking still, in a loop turn.
            epoch_retire(table->epoch, backend_free, backend);
        }
    }
}

static void collect_gone(struct endpoint_table *table, struct list_node *gone)
{
    list_for_each(gone, node) {
        struct endpoint *endpoint = container_of(node, struct endpoint, gone_node);
        if (endpoint->in_sets > 0) {
            continue; // a worker may find it yet
        }
        // Acquire: partners are the releases in endpoint_unref and reservation_release. In no set,
        // it cannot be found again, so both can only fall.
        if (atomic_load_explicit(&endpoint->refs, memory_order_acquire) == 1 &&
            atomic_load_explicit(&endpoint->load, memory_order_acquire) == 0) {
            endpoint_destroy(table, endpoint);
        }
    }
}

void endpoint_table_collect(struct endpoint_table *table)
{
    // References are taken by the control thread, by holders of one, and under the lock: with the
    // lock held, a backend that only the table refers to stays so.
    struct list_node dropped;
    list_init(&dropped);
    pthread_mutex_lock(&table->lock);
    list_for_each(&table->backend_list, node) {
        struct backend_state *backend = container_of(node, struct backend_state, node);
        if (atomic_load_explicit(&backend->refs, memory_order_acquire) == 1) {
            list_remove(node);
            list_push_back(&dropped, node);
        }
    }
    pthread_mutex_unlock(&table->lock);
    list_for_each(&dropped, node) {
        backend_drop(table, container_of(node, struct backend_state, node));
    }
    collect_left(table);
    epoch_collect(table->epoch);
    list_for_each(&table->backend_list, node) { // only this thread changes the list
        collect_gone(table, &container_of(node, struct backend_state, node)->gone);
    }
    collect_gone(table, &table->gone);
}

void endpoint_table_free(struct endpoint_table *table)
{
    if (table == NULL) {
        return;
    }
    list_for_each(&table->backend_list, node) {
        backend_drop(table, container_of(node, struct backend_state, node));
    }
    list_for_each(&table->left, node) {
        backend_free(container_of(node, struct backend_state, node));
    }
    epoch_fini(table->epoch); // what was retired looks at endpoints
    list_for_each(&table->gone, node) {
        endpoint_destroy(table, container_of(node, struct endpoint, gone_node));
    }
    map_fini(&table->backends);
    free(table->free_ids);
    pthread_mutex_destroy(&table->lock);
    free(table);
}
