// Quiescent-state reclamation: the writer replaces a shared pointer, and frees the old object only
// after every reader thread has passed a point where it holds nothing. Readers pay two stores a
// loop turn and nothing per read.
//
// Reader: epoch_enter after waking, epoch_leave before sleeping (hook them with
// loop_set_sleep_hook); a pointer loaded between the two stays valid until epoch_leave.
// What must live longer needs a reference of its own.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"

enum { EPOCH_MAX_READERS = 256 };

struct epoch_reader {
    CACHE_ALIGNED _Atomic uint64_t seen; // 0 = holds nothing; else the epoch at epoch_enter
};

struct epoch_garbage;

// One per process; zero-initialised is not valid.
struct epoch {
    CACHE_ALIGNED _Atomic uint64_t now; // starts at 1
    _Atomic unsigned reader_count;
    struct epoch_reader readers[EPOCH_MAX_READERS];
    struct epoch_garbage *garbage; // newest first; the writer's
};

void epoch_init(struct epoch *epoch);

// Before the reader thread starts; -ENOSPC when there are too many. Readers are never removed: a
// thread that ends must leave for good.
MUST_CHECK int epoch_add_reader(struct epoch *epoch, struct epoch_reader **ret_reader);

static inline void epoch_enter(struct epoch *epoch, struct epoch_reader *reader)
{
    uint64_t now = atomic_load_explicit(&epoch->now, memory_order_relaxed);
    // seq_cst: the store must be visible before any shared pointer is loaded. Partner:
    // the fence in epoch_collect.
    atomic_store_explicit(&reader->seen, now, memory_order_seq_cst);
    atomic_thread_fence(memory_order_seq_cst);
}

static inline void epoch_leave(struct epoch_reader *reader)
{
    // Release: reads of shared objects are done before. Partner: the acquire in epoch_collect.
    atomic_store_explicit(&reader->seen, 0, memory_order_release);
}

// Writer (one thread at a time): after the object was unlinked, have fn(arg) called once no reader
// can hold it. It is called by a later epoch_retire or epoch_collect, in the writer's thread.
typedef void epoch_free_fn(void *arg);
void epoch_retire(struct epoch *epoch, epoch_free_fn *fn, void *arg);

// Calls what is due. True when nothing is left waiting.
bool epoch_collect(struct epoch *epoch);

// At the end, when no reader runs any more: calls everything.
void epoch_fini(struct epoch *epoch);
