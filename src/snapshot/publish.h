// The one pointer. The control thread stores, workers load inside an epoch section; a worker that
// keeps requests on a snapshot holds one reference for all of them (struct snapshot_hold).
#pragma once

#include "event/epoch.h"
#include "snapshot/snapshot.h"

// A snapshot that was replaced, until no worker uses it.
struct retired_snapshot {
    struct retired_snapshot *next;
    struct snapshot *snapshot;
    bool epoch_passed;
};

struct publisher {
    CACHE_ALIGNED _Atomic(struct snapshot *) current; // NULL until the first
    struct epoch *epoch;
    uint64_t generation;
    struct retired_snapshot *retired;
};

void publisher_init(struct publisher *publisher, struct epoch *epoch);
// No worker runs any more.
void publisher_fini(struct publisher *publisher);

// Frees replaced snapshots that no worker uses any more; about once a second. True when none is
// left. Control thread.
bool publisher_collect(struct publisher *publisher);

// Takes over the caller's reference, numbers it, swaps it in, lets the old one go when no worker
// can hold it. Control thread.
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
// One more request on the snapshot of another that has it.
static inline struct snapshot_hold *snapshot_hold_again(struct snapshot_hold *hold)
{
    hold->users++;
    return hold;
}
void snapshot_holder_release(struct snapshot_holder *holder, struct snapshot_hold *hold);

// Lets go of a hold that no request uses when a newer snapshot is out; call it now and then, so
// that an idle worker does not keep an old one alive.
void snapshot_holder_refresh(struct snapshot_holder *holder);

void snapshot_holder_fini(struct snapshot_holder *holder);
