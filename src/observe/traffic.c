#include "observe/traffic.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

#define MS UINT64_C(1000000)
// Inter-token times live between 2 ms and 1 s, first tokens between 10 ms and a minute, whole
// answers up to many minutes: one series of bounds serves all three.
const uint64_t metric_latency_bounds[METRIC_LATENCY_BUCKETS] = {
    1 * MS,   2 * MS,    5 * MS,    10 * MS,   20 * MS,    30 * MS,    50 * MS,
    75 * MS,  100 * MS,  200 * MS,  350 * MS,  500 * MS,   1000 * MS,  2000 * MS,
    5000 * MS, 10000 * MS, 30000 * MS, 60000 * MS, 120000 * MS, 300000 * MS,
};

void traffic_worker_fini(struct traffic_worker *worker)
{
    struct traffic *traffic = atomic_load_explicit(&worker->pairs, memory_order_relaxed);
    while (traffic != NULL) {
        struct traffic *next = traffic->next;
        free(traffic->key);
        free(traffic);
        traffic = next;
    }
}

void traffic_record(struct traffic *traffic, enum traffic_latency latency, uint64_t ns)
{
    struct metrics_latency *cells = &traffic->latencies[latency];
    unsigned i = 0;
    while (i < METRIC_LATENCY_BUCKETS && ns > metric_latency_bounds[i]) {
        i++;
    }
    metrics_cell_add(&cells->buckets[i], 1);
    metrics_cell_add(&cells->sum_ns, ns);
}

static bool is_pair(const struct traffic *traffic, struct slice route, struct slice backend)
{
    return slice_eq(traffic->backend, backend) && slice_eq(traffic->route, route);
}

// The slot of the pair, or the empty one where it belongs. There always is an empty one.
static struct traffic **find_slot(struct traffic_worker *worker, struct slice route,
                                  struct slice backend)
{
    uint64_t at = hash_bytes(route) * 31 + hash_bytes(backend);
    for (;; at++) {
        struct traffic **slot = &worker->index[at % TRAFFIC_SLOTS];
        if (*slot == NULL || is_pair(*slot, route, backend)) {
            return slot;
        }
    }
}

static struct traffic *make(struct slice route, struct slice backend)
{
    struct traffic *made = calloc(1, sizeof(*made));
    char *key = malloc(route.len + backend.len + 1);
    if (made == NULL || key == NULL) {
        free(made);
        free(key);
        return NULL;
    }
    memcpy(key, route.ptr != NULL ? route.ptr : "", route.len);
    memcpy(key + route.len, backend.ptr != NULL ? backend.ptr : "", backend.len);
    made->key = key;
    made->route = slice_of(key, route.len);
    made->backend = slice_of(key + route.len, backend.len);
    return made;
}

struct traffic *traffic_of(struct traffic_worker *worker, struct slice route, struct slice backend)
{
    if (LIKELY(worker->recent != NULL && is_pair(worker->recent, route, backend))) {
        return worker->recent;
    }
    struct traffic **slot = find_slot(worker, route, backend);
    if (*slot == NULL && worker->count >= TRAFFIC_PAIRS_MAX) {
        route = SLICE("other");
        backend = SLICE("other");
        slot = find_slot(worker, route, backend);
    }
    if (*slot == NULL) {
        struct traffic *made = make(route, backend);
        if (made == NULL) {
            return NULL;
        }
        made->next = atomic_load_explicit(&worker->pairs, memory_order_relaxed);
        worker->count++;
        *slot = made;
        // Release pairs with the acquire of the exposition: readers see it whole.
        atomic_store_explicit(&worker->pairs, made, memory_order_release);
    }
    worker->recent = *slot;
    return *slot;
}
