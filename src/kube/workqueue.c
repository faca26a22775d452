#include "kube/workqueue.h"

static void pump_later(struct kube_workqueue *q);

void kube_workqueue_init(struct kube_workqueue *q, struct loop *loop,
                         const struct kube_workqueue_options *options, kube_work_fn *run, void *arg)
{
    struct kube_workqueue_options o = {0};
    if (options != NULL) {
        o = *options;
    }
    o.max_running = o.max_running > 0 ? o.max_running : 8;
    o.rate_per_s = o.rate_per_s > 0 ? o.rate_per_s : 1000;
    o.burst = o.burst > 0 ? o.burst : 2000;
    o.base_ms = o.base_ms > 0 ? o.base_ms : 50;
    o.cap_ms = o.cap_ms > 0 ? o.cap_ms : 5 * 60 * 1000;
    *q = (struct kube_workqueue){.loop = loop, .options = o, .run = run, .arg = arg,
                                 .tokens_milli = (uint64_t)o.burst * 1000,
                                 .filled_ms = loop_now_ms(loop)};
    list_init(&q->ready);
    rand_seed_random(&q->rng);
}

void kube_workqueue_fini(struct kube_workqueue *q)
{
    BUG_ON(q->n_ready != 0 || q->n_running != 0);
    loop_task_cancel(q->loop, &q->pump);
    loop_timer_cancel(q->loop, &q->rate_timer);
}

static void on_rate_timer(struct timer *timer, void *arg)
{
    (void)timer;
    pump_later(arg);
}

// True when one more may begin now; else a timer is set for when it may.
static bool take_token(struct kube_workqueue *q)
{
    uint64_t now = loop_now_ms(q->loop);
    uint64_t full = (uint64_t)q->options.burst * 1000;
    q->tokens_milli = MIN_OF(full, q->tokens_milli + (now - q->filled_ms) * q->options.rate_per_s);
    q->filled_ms = now;
    if (q->tokens_milli >= 1000) {
        q->tokens_milli -= 1000;
        return true;
    }
    uint64_t wait = (1000 - q->tokens_milli) / q->options.rate_per_s + 1;
    loop_timer_set(q->loop, &q->rate_timer, wait, on_rate_timer, q);
    return false;
}

static void on_pump(struct task *task, void *arg)
{
    (void)task;
    struct kube_workqueue *q = arg;
    // Bounded by what is ready now: an item that ends and is added again inside run comes next
    // turn.
    for (size_t n = q->n_ready; n > 0 && q->n_ready > 0; n--) {
        if (q->is_paused || q->n_running >= q->options.max_running || !take_token(q)) {
            return;
        }
        struct kube_work *work = list_first(&q->ready, struct kube_work, node);
        list_remove(&work->node);
        work->is_queued = false;
        work->is_running = true;
        work->is_dirty = false;
        q->n_ready--;
        q->n_running++;
        q->run(work, q->arg);
    }
    if (q->n_ready > 0) {
        pump_later(q);
    }
}

static void pump_later(struct kube_workqueue *q)
{
    loop_task_set(q->loop, &q->pump, on_pump, q);
}

void kube_workqueue_pause(struct kube_workqueue *q, bool paused)
{
    q->is_paused = paused;
    if (!paused && q->n_ready > 0) {
        pump_later(q);
    }
}

static void enqueue(struct kube_work *work)
{
    struct kube_workqueue *q = work->queue;
    work->is_queued = true;
    list_push_back(&q->ready, &work->node);
    q->n_ready++;
    pump_later(q);
}

static void on_wait_over(struct timer *timer, void *arg)
{
    (void)timer;
    struct kube_work *work = arg;
    work->is_waiting = false;
    enqueue(work);
}

void kube_work_add_after(struct kube_workqueue *q, struct kube_work *work, uint64_t delay_ms)
{
    work->queue = q;
    if (work->is_running) {
        work->is_dirty = true;
    } else if (!work->is_queued && !work->is_waiting) {
        if (delay_ms == 0) {
            enqueue(work);
            return;
        }
        work->is_waiting = true;
        loop_timer_set(q->loop, &work->timer, delay_ms, on_wait_over, work);
    }
}

static void stop_running(struct kube_work *work)
{
    BUG_ON(!work->is_running);
    work->is_running = false;
    work->queue->n_running--;
    if (work->queue->n_ready > 0) {
        pump_later(work->queue);
    }
}

void kube_work_done(struct kube_work *work, uint64_t again_ms)
{
    stop_running(work);
    work->failures = 0;
    if (work->is_dirty) {
        work->is_dirty = false;
        kube_work_add_after(work->queue, work, again_ms);
    }
}

void kube_work_failed(struct kube_work *work, uint64_t at_least_ms)
{
    struct kube_workqueue *q = work->queue;
    stop_running(work);
    uint64_t pause = q->options.base_ms;
    for (uint32_t i = 0; i < work->failures && pause < q->options.cap_ms; i++) {
        pause *= 2;
    }
    pause = MIN_OF(pause, (uint64_t)q->options.cap_ms);
    pause += rand_below(&q->rng, pause / 4 + 1);
    work->failures++;
    work->is_dirty = false;
    kube_work_add_after(q, work, MAX_OF(pause, at_least_ms));
}

void kube_work_forget(struct kube_work *work)
{
    struct kube_workqueue *q = work->queue;
    if (q == NULL) {
        return;
    }
    if (work->is_queued) {
        list_remove(&work->node);
        q->n_ready--;
    }
    if (work->is_waiting) {
        loop_timer_cancel(q->loop, &work->timer);
    }
    if (work->is_running) {
        stop_running(work);
    }
    *work = (struct kube_work){.queue = NULL};
}
