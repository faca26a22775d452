#include "event/epoch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct epoch_garbage {
    struct epoch_garbage *next;
    uint64_t retired_at;
    epoch_free_fn *fn;
    void *arg;
};

void epoch_init(struct epoch *epoch)
{
    memset(epoch, 0, sizeof(*epoch));
    atomic_store_explicit(&epoch->now, 1, memory_order_relaxed);
}

int epoch_add_reader(struct epoch *epoch, struct epoch_reader **ret_reader)
{
    unsigned count = atomic_load_explicit(&epoch->reader_count, memory_order_relaxed);
    if (count == EPOCH_MAX_READERS) {
        return -ENOSPC;
    }
    // Release pairs with the acquire load in epoch_oldest.
    atomic_store_explicit(&epoch->reader_count, count + 1, memory_order_release);
    *ret_reader = &epoch->readers[count];
    return 0;
}

static uint64_t epoch_oldest(struct epoch *epoch)
{
    uint64_t oldest = UINT64_MAX;
    unsigned count = atomic_load_explicit(&epoch->reader_count, memory_order_acquire);
    for (unsigned i = 0; i < count; i++) {
        uint64_t seen = atomic_load_explicit(&epoch->readers[i].seen, memory_order_acquire);
        if (seen != 0 && seen < oldest) {
            oldest = seen;
        }
    }
    return oldest;
}

void epoch_retire(struct epoch *epoch, epoch_free_fn *fn, void *arg)
{
    struct epoch_garbage *item = malloc(sizeof(*item));
    if (item == NULL) {
        oom_abort("deferred free"); // a leak here would be silent and a free now unsafe
    }
    // Readers that enter after this increment cannot have found the object.
    uint64_t at = atomic_fetch_add_explicit(&epoch->now, 1, memory_order_seq_cst);
    *item = (struct epoch_garbage){
        .next = epoch->garbage, .retired_at = at, .fn = fn, .arg = arg};
    epoch->garbage = item;
    epoch_collect(epoch);
}

bool epoch_collect(struct epoch *epoch)
{
    if (epoch->garbage == NULL) {
        return true;
    }
    atomic_thread_fence(memory_order_seq_cst); // partner: epoch_enter
    uint64_t oldest = epoch_oldest(epoch);
    struct epoch_garbage **link = &epoch->garbage;
    while (*link != NULL && (*link)->retired_at >= oldest) {
        link = &(*link)->next;
    }
    struct epoch_garbage *due = *link; // from here on everything is older still
    *link = NULL;
    while (due != NULL) {
        struct epoch_garbage *next = due->next;
        due->fn(due->arg);
        free(due);
        due = next;
    }
    return epoch->garbage == NULL;
}

void epoch_fini(struct epoch *epoch)
{
    while (epoch->garbage != NULL) {
        struct epoch_garbage *item = epoch->garbage;
        epoch->garbage = item->next;
        item->fn(item->arg);
        free(item);
    }
}
