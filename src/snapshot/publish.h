// The one pointer. The control thread stores, workers load inside an epoch section; a worker that
// keeps requests on a snapshot holds one reference for all of them (struct snapshot_hold).
#pragma once

#include "event/epoch.h"
#include "snapshot/snapshot.h"

struct publisher {
    CACHE_ALIGNED _Atomic(struct snapshot *) current; // NULL until the first
    struct epoch *epoch;
    uint64_t generation;
};

void publisher_init(struct publisher *publisher, struct epoch *epoch);
void publisher_fini(struct publisher *publisher);

// Takes over the caller's reference, numbers it, swaps it in, lets the old one go when no worker can
// hold it. Control thread.
void publisher_publish(struct publisher *publisher, struct snapshot *snapshot);

static inline struct snapshot *publisher_current(struct publisher *publisher)
{
    // Acquire pairs with the release in publisher_publish: the contents are seen whole.
    return atomic_load_explicit(&publisher->current, memory_order_acquire);
}

// A worker's share in one snapshot: local count, one atomic reference.
struct snapshot_hold {
    struct snapshot_hold *next;
    struct snapshot *snapshot;
    uint32_t users;
};

// Per worker. Zero-initialised with `publisher` set.
struct snapshot_holder {
    struct publisher *publisher;
    struct snapshot_hold *holds; // newest first; the current one and those with users
};

// The current snapshot for one more request; NULL when none was published or out of memory. Inside
// an epoch section. Release with snapshot_holder_release.
struct snapshot_hold *snapshot_holder_acquire(struct snapshot_holder *holder);
void snapshot_holder_release(struct snapshot_holder *holder, struct snapshot_hold *hold);
void snapshot_holder_fini(struct snapshot_holder *holder);
