// Work by object: each item once in the queue however often it is added, never handled twice at the
// same time, slower and slower while it fails; a bounded number at once and a bounded rate in all.
// Intrusive: items live in their owners. The loop's thread only.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/macros.h"
#include "base/rand.h"
#include "event/loop.h"

struct kube_workqueue;

// Zero-initialised is idle.
struct kube_work {
    struct list_node node;
    struct timer timer; // until it may be queued again
    struct kube_workqueue *queue;
    uint32_t failures; // in a row
    bool is_queued;
    bool is_waiting; // on the timer
    bool is_running;
    bool is_dirty;   // added while it ran
};

// Begins the work; kube_work_done ends it, from inside or later.
typedef void kube_work_fn(struct kube_work *work, void *arg);

struct kube_workqueue_options {
    uint32_t max_running;  // 0 = 8
    uint32_t rate_per_s;   // 0 = 1000
    uint32_t burst;        // 0 = 2000
    uint32_t base_ms;      // first pause of an item that failed; 0 = 50
    uint32_t cap_ms;       // last; 0 = 5 min
};

struct kube_workqueue {
    struct loop *loop;
    struct kube_workqueue_options options;
    kube_work_fn *run;
    void *arg;
    struct list_node ready;
    size_t n_ready;
    uint32_t n_running;
    bool is_paused;
    uint64_t tokens_milli; // thousandths of a token
    uint64_t filled_ms;
    struct task pump;
    struct timer rate_timer;
    struct rand_state rng;
};

void kube_workqueue_init(struct kube_workqueue *queue, struct loop *loop,
                         const struct kube_workqueue_options *options, kube_work_fn *run,
                         void *arg);
// Items must have been forgotten.
void kube_workqueue_fini(struct kube_workqueue *queue);

// While paused nothing begins; what is added waits.
void kube_workqueue_pause(struct kube_workqueue *queue, bool paused);

// Run it after a delay (0: soon), but not before a pause after a failure is over, and again if it
// runs now. An item that is queued or waits already keeps its time.
void kube_work_add_after(struct kube_workqueue *queue, struct kube_work *work, uint64_t delay_ms);

// The work ended well: it starts over with short pauses. If it was added meanwhile it runs again,
// after again_ms.
void kube_work_done(struct kube_work *work, uint64_t again_ms);

// The work failed: again after a growing pause, and not before at_least_ms.
void kube_work_failed(struct kube_work *work, uint64_t at_least_ms);

// Takes it out, wherever it is; also from inside its own run, which then must not end it.
void kube_work_forget(struct kube_work *work);
