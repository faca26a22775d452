#include "proxy/drain.h"

#include "proxy/downstream.h"
#include "proxy/worker.h"

enum { SLICE_MS = 20 };

static void advance(struct worker *worker)
{
    struct drain *drain = &worker->drain;
    drain->next = drain->next->next;
    drain->left--;
    if (drain->next == &worker->downstreams) {
        drain->next = NULL;
        drain->left = 0;
    }
}

// Each connection falls into any of the slices that are left with the same chance, so that also the
// few connections of each of many workers, or replicas, are spread. A late timer means fewer slices
// with more in each.
static size_t share_of_slice(struct worker *worker)
{
    const struct drain *drain = &worker->drain;
    uint64_t now = loop_now_ms(worker->loop);
    uint64_t slices = drain->end_ms > now ? (drain->end_ms - now) / SLICE_MS + 1 : 1;
    bool one_more = rand_below(&worker->rng, slices) < drain->left % slices;
    return (size_t)(drain->left / slices) + (one_more ? 1 : 0);
}

static void on_slice(struct timer *timer, void *arg)
{
    struct worker *worker = arg;
    struct drain *drain = &worker->drain;
    for (size_t count = share_of_slice(worker); count != 0 && drain->next != NULL; count--) {
        struct downstream *down = container_of(drain->next, struct downstream, node);
        advance(worker); // before it may be gone
        down->draining = true;
        down->protocol->drain(down);
    }
    if (drain->next != NULL) {
        loop_timer_set(worker->loop, timer, SLICE_MS, on_slice, worker);
    }
}

void drain_start(struct worker *worker)
{
    struct drain *drain = &worker->drain;
    drain->left = 0;
    list_for_each(&worker->downstreams, node) {
        drain->left++;
    }
    if (drain->left == 0) {
        return;
    }
    drain->next = worker->downstreams.next;
    drain->end_ms = loop_now_ms(worker->loop) + worker->config->drain_window_ms;
    on_slice(&drain->timer, worker);
}

void drain_skip(struct worker *worker, const struct downstream *down)
{
    if (worker->drain.next == &down->node) {
        advance(worker);
    } else if (worker->drain.next != NULL && !down->draining) {
        worker->drain.left--;
    }
}

void drain_stop(struct worker *worker)
{
    loop_timer_cancel(worker->loop, &worker->drain.timer);
    worker->drain.next = NULL;
}
