#include "snapshot/publish.h"

#include <stdlib.h>

void publisher_init(struct publisher *publisher, struct epoch *epoch)
{
    *publisher = (struct publisher){.epoch = epoch};
}

void publisher_fini(struct publisher *publisher)
{
    snapshot_unref(atomic_exchange_explicit(&publisher->current, NULL, memory_order_acq_rel));
    publisher_collect(publisher);
}

static void retire_passed(void *arg)
{
    struct retired_snapshot *retired = arg;
    retired->epoch_passed = true;
}

void publisher_publish(struct publisher *publisher, struct snapshot *snapshot)
{
    snapshot->generation = ++publisher->generation;
    // Release pairs with the acquire in publisher_current.
    struct snapshot *old =
        atomic_exchange_explicit(&publisher->current, snapshot, memory_order_acq_rel);
    if (old != NULL) {
        struct retired_snapshot *retired = calloc(1, sizeof(*retired));
        if (retired == NULL) {
            oom_abort("retired snapshot"); // leaking routes with every change would be worse
        }
        *retired = (struct retired_snapshot){.next = publisher->retired, .snapshot = old};
        publisher->retired = retired;
        epoch_retire(publisher->epoch, retire_passed, retired);
    }
    publisher_collect(publisher);
}

bool publisher_collect(struct publisher *publisher)
{
    epoch_collect(publisher->epoch);
    struct retired_snapshot **link = &publisher->retired;
    while (*link != NULL) {
        struct retired_snapshot *retired = *link;
        // Once the epoch passed nobody new can find it; acquire pairs with the workers' release.
        bool unused = retired->epoch_passed &&
                      atomic_load_explicit(&retired->snapshot->refs, memory_order_acquire) == 1;
        if (!unused) {
            link = &retired->next;
            continue;
        }
        *link = retired->next;
        snapshot_unref(retired->snapshot);
        free(retired);
    }
    return publisher->retired == NULL;
}

// Unlinks and frees a hold that has no users.
static void holder_drop(struct snapshot_holder *holder, struct snapshot_hold *hold)
{
    struct snapshot_hold **link = &holder->holds;
    while (*link != hold) {
        link = &(*link)->next;
    }
    *link = hold->next;
    // The publisher keeps a reference until it has seen this one go, so this is never the last.
    atomic_fetch_sub_explicit(&hold->snapshot->refs, 1, memory_order_release);
    free(hold);
}

struct snapshot_hold *snapshot_holder_acquire(struct snapshot_holder *holder)
{
    struct snapshot *current = publisher_current(holder->publisher);
    struct snapshot_hold *hold = holder->holds;
    if (current == NULL) {
        return NULL;
    }
    if (hold == NULL || hold->snapshot != current) {
        struct snapshot_hold *fresh = calloc(1, sizeof(*fresh));
        if (fresh == NULL) {
            return NULL;
        }
        snapshot_ref(current);
        *fresh = (struct snapshot_hold){.next = hold, .snapshot = current};
        holder->holds = fresh;
        if (hold != NULL && hold->users == 0) {
            holder_drop(holder, hold);
        }
        hold = fresh;
    }
    hold->users++;
    return hold;
}

void snapshot_holder_release(struct snapshot_holder *holder, struct snapshot_hold *hold)
{
    BUG_ON(hold->users == 0);
    hold->users--;
    if (hold->users == 0 && hold != holder->holds) {
        holder_drop(holder, hold);
    }
}

void snapshot_holder_refresh(struct snapshot_holder *holder)
{
    struct snapshot_hold *hold = holder->holds;
    if (hold != NULL && hold->users == 0 &&
        hold->snapshot != publisher_current(holder->publisher)) {
        holder_drop(holder, hold);
    }
}

void snapshot_holder_fini(struct snapshot_holder *holder)
{
    while (holder->holds != NULL) {
        holder_drop(holder, holder->holds);
    }
}
