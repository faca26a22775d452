#include "load/run.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "load/call.h"

// A closed loop does not hammer a server that refuses: after a failure it waits this long.
enum { CLOSED_LOOP_PAUSE_MS = 20, BODY_MAX = 64 << 20, WAITING_MAX = 8 << 20 };

struct load_run {
    struct load_env env; // first: call.c hands it back
    struct load_plan plan;
    struct load_pool pools[LOAD_TARGETS_MAX];
    const struct load_config *config;
    load_run_done_cb *done;
    void *arg;
    uint64_t start_ns;
    // Open loop: the next arrival, on a timer with nanoseconds (the wheel has milliseconds).
    int timer_fd;
    struct io timer_io;
    struct load_spec next;
    bool has_next;
    VEC(struct load_spec) waiting; // from waiting_at on
    size_t waiting_at;
    bool closed_loop;
    bool sending;
    bool over;
    struct task pump;
    struct timer pause;
    struct timer limit; // of sending in a closed loop, then of draining
    struct load_progress progress;
};

static void run_pump(struct task *task, void *arg);

static uint64_t run_due_ns(const struct load_run *run, const struct load_spec *spec)
{
    return run->start_ns + spec->at_ns;
}

static void run_drain_over(UNUSED struct timer *timer, void *arg)
{
    load_run_abort(arg);
}

// No arrival comes any more; what waits is still sent.
static void run_end_sending(struct load_run *run)
{
    if (!run->sending) {
        return;
    }
    run->sending = false;
    run->has_next = false;
    loop_io_del(run->env.loop, &run->timer_io);
    loop_timer_set(run->env.loop, &run->limit, run->config->drain_ns / 1000000u, run_drain_over,
                   run);
    loop_task_set(run->env.loop, &run->pump, run_pump, run);
}

static void run_closed_over(UNUSED struct timer *timer, void *arg)
{
    run_end_sending(arg);
}

static void run_start_call(struct load_run *run, const struct load_spec *spec, uint64_t due_ns)
{
    run->progress.sent++;
    run->progress.in_flight++;
    load_call_start(&run->env, spec, due_ns,
                    due_ns - run->start_ns >= run->config->warmup_ns);
}

static bool run_is_full(const struct load_run *run)
{
    return run->config->concurrency > 0 && run->progress.in_flight >= run->config->concurrency;
}

static void run_arm_timer(struct load_run *run)
{
    uint64_t at = run_due_ns(run, &run->next);
    struct itimerspec when = {.it_value = {.tv_sec = (time_t)(at / 1000000000u),
                                           .tv_nsec = (long)(at % 1000000000u)}};
    if (timerfd_settime(run->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) != 0) {
        bug_abort(__FILE__, __LINE__, "timerfd_settime");
    }
}

// Everything that is due by now.
static void run_arrivals(struct load_run *run)
{
    uint64_t now = clock_mono_ns();
    while (run->has_next && run_due_ns(run, &run->next) <= now) {
        struct load_spec spec = run->next;
        run->has_next = load_plan_next(&run->plan, &run->next);
        if (!run_is_full(run) && run->waiting_at == run->waiting.len) {
            run_start_call(run, &spec, run_due_ns(run, &spec));
        } else if (run->waiting.len - run->waiting_at >= WAITING_MAX ||
                   !VEC_PUSH(&run->waiting, spec)) {
            oom_abort("requests that wait for the concurrency cap");
        }
    }
    if (run->has_next) {
        run_arm_timer(run);
    } else {
        run_end_sending(run);
    }
}

static void run_timer_ready(struct io *io, UNUSED uint32_t events, void *arg)
{
    uint64_t expired;
    if (read(io->fd, &expired, sizeof(expired)) > 0) {
        run_arrivals(arg);
    }
}

static void run_send_waiting(struct load_run *run)
{
    while (run->waiting_at < run->waiting.len && !run_is_full(run)) {
        struct load_spec spec = run->waiting.items[run->waiting_at++];
        run_start_call(run, &spec, run_due_ns(run, &spec));
    }
    if (run->waiting_at == run->waiting.len) {
        run->waiting.len = run->waiting_at = 0;
    }
}

static void run_fill_closed(struct load_run *run)
{
    struct load_spec spec;
    while (run->sending && !run_is_full(run) && !timer_is_set(&run->pause)) {
        if (!load_plan_next(&run->plan, &spec)) {
            run_end_sending(run);
            return;
        }
        run_start_call(run, &spec, clock_mono_ns());
    }
}

static void run_pause_over(UNUSED struct timer *timer, void *arg)
{
    run_fill_closed(arg);
}

// At the end of each turn in which a call ended.
static void run_pump(UNUSED struct task *task, void *arg)
{
    struct load_run *run = arg;
    if (run->over) {
        return;
    }
    if (run->closed_loop) {
        run_fill_closed(run);
    } else {
        run_send_waiting(run);
    }
    if (!run->sending && run->progress.in_flight == 0 && run->waiting.len == 0) {
        run->over = true;
        uint64_t now = clock_mono_ns(), from = run->start_ns + run->config->warmup_ns;
        run->env.tally->measured_ns = now > from ? now - from : 0;
        loop_timer_cancel(run->env.loop, &run->limit);
        run->done(run->arg);
    }
}

static void run_call_ended(struct load_env *env, enum load_failure failure)
{
    struct load_run *run = container_of(env, struct load_run, env);
    run->progress.in_flight--;
    run->progress.over++;
    if (failure != LOAD_FAILURE_NONE) {
        run->progress.failed++;
        if (run->closed_loop && !timer_is_set(&run->pause)) {
            loop_timer_set(env->loop, &run->pause, CLOSED_LOOP_PAUSE_MS, run_pause_over, run);
        }
    }
    loop_task_set(env->loop, &run->pump, run_pump, run);
}

static int run_start(struct load_run *run, struct error *err)
{
    struct loop *loop = run->env.loop;
    run->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (run->timer_fd < 0) {
        return error_set(err, -errno, "timerfd: %s", strerror(errno));
    }
    int rc = loop_io_add(loop, &run->timer_io, run->timer_fd, EPOLLIN, run_timer_ready, run);
    if (rc != 0) {
        return error_set(err, rc, "epoll: %s", strerror(-rc));
    }
    run->start_ns = clock_mono_ns() + 1000000u;
    run->sending = true;
    if (run->closed_loop) {
        if (run->config->duration_ns > 0) {
            loop_timer_set(loop, &run->limit, run->config->duration_ns / 1000000u,
                           run_closed_over, run);
        }
        run->start_ns = clock_mono_ns();
        loop_task_set(loop, &run->pump, run_pump, run);
        return 0;
    }
    run->has_next = load_plan_next(&run->plan, &run->next);
    if (!run->has_next) {
        return error_set(err, -EINVAL, "the trace, the number of requests and the duration leave "
                                       "nothing to send");
    }
    run_arm_timer(run);
    return 0;
}

int load_run_new(struct loop *loop, const struct load_config *config, struct load_tally *tally,
                 load_run_done_cb *done, void *arg, struct load_run **ret_run, struct error *err)
{
    BUG_ON(config->target_count == 0 || config->target_count > LOAD_TARGETS_MAX);
    struct load_run *run = calloc(1, sizeof(*run));
    if (run == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    run->config = config;
    run->done = done;
    run->arg = arg;
    run->timer_fd = -1;
    run->closed_loop = config->trace == NULL && config->rate <= 0;
    run->env = (struct load_env){.loop = loop,
                                 .config = config,
                                 .plan = &run->plan,
                                 .pools = run->pools,
                                 .tally = tally,
                                 .on_end = run_call_ended};
    list_init(&run->env.calls);
    strbuf_init(&run->env.body, BODY_MAX);
    for (size_t i = 0; i < config->target_count; i++) {
        load_pool_init(&run->pools[i], loop, &config->targets[i]);
    }
    int rc = load_plan_init(&run->plan, config);
    if (rc != 0) {
        error_set(err, rc, "out of memory");
    } else {
        rc = run_start(run, err);
    }
    if (rc != 0) {
        load_run_free(run);
        return rc;
    }
    *ret_run = run;
    return 0;
}

void load_run_free(struct load_run *run)
{
    if (run == NULL) {
        return;
    }
    struct loop *loop = run->env.loop;
    run->over = true;
    load_call_abort_all(&run->env);
    loop_task_cancel(loop, &run->pump);
    loop_timer_cancel(loop, &run->pause);
    loop_timer_cancel(loop, &run->limit);
    loop_io_del(loop, &run->timer_io);
    if (run->timer_fd >= 0) {
        close(run->timer_fd);
    }
    for (size_t i = 0; i < run->config->target_count; i++) {
        load_pool_fini(&run->pools[i]);
    }
    load_plan_fini(&run->plan);
    strbuf_fini(&run->env.body);
    VEC_FINI(&run->waiting);
    free(run);
}

void load_run_stop(struct load_run *run)
{
    run->waiting.len = run->waiting_at = 0;
    run_end_sending(run);
}

void load_run_abort(struct load_run *run)
{
    load_run_stop(run);
    load_call_abort_all(&run->env);
    loop_task_set(run->env.loop, &run->pump, run_pump, run);
}

struct load_progress load_run_progress(const struct load_run *run)
{
    struct load_progress progress = run->progress;
    uint64_t now = clock_mono_ns();
    progress.elapsed_ns = now > run->start_ns ? now - run->start_ns : 0;
    progress.waiting = run->waiting.len - run->waiting_at;
    return progress;
}
