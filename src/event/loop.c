#include "event/loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "event/busy_poll.h"

enum { LOOP_BATCH = 256 };

struct posted {
    struct posted *next;
    loop_post_fn *fn;
    void *arg;
};

struct loop {
    int epoll_fd;
    uint64_t now_ms;
    uint64_t turns;
    struct timer_wheel wheel;
    struct list_node tasks;
    struct list_node tasks_end; // of this turn, while tasks run
    struct epoll_event batch[LOOP_BATCH];
    int batch_at;
    int batch_len;
    struct io wake_io;
    atomic_bool stopping;
    loop_sleep_hook *sleep_hook;
    void *sleep_arg;
    struct busy_poll busy_poll;
    // Posted work. Rare (control messages), so a mutex is fine; workers take it only when woken.
    pthread_mutex_t post_lock;
    struct posted *post_head;
    struct posted **post_tail;
};

static void loop_on_wake(struct io *io, uint32_t events, void *arg)
{
    (void)events;
    struct loop *loop = arg;
    uint64_t count;
    ssize_t n = read(io->fd, &count, sizeof(count));
    (void)n; // EAGAIN: somebody else's wake-up was merged into an earlier read
    pthread_mutex_lock(&loop->post_lock);
    struct posted *work = loop->post_head;
    loop->post_head = NULL;
    loop->post_tail = &loop->post_head;
    pthread_mutex_unlock(&loop->post_lock);
    while (work != NULL) {
        struct posted *next = work->next;
        work->fn(work->arg);
        free(work);
        work = next;
    }
}

static void loop_wake(struct loop *loop)
{
    uint64_t one = 1;
    ssize_t n = write(loop->wake_io.fd, &one, sizeof(one));
    (void)n; // EAGAIN means that the counter is full, so a wake-up is pending anyway
}

int loop_new(struct loop **ret_loop, struct error *err)
{
    struct loop *loop = calloc(1, sizeof(*loop));
    if (loop == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    loop->now_ms = clock_mono_ms();
    timer_wheel_init(&loop->wheel, loop->now_ms);
    list_init(&loop->tasks);
    pthread_mutex_init(&loop->post_lock, NULL);
    loop->post_tail = &loop->post_head;
    loop->wake_io.fd = -1;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int rc = loop->epoll_fd < 0 || wake_fd < 0 ? -errno : 0;
    if (rc == 0) {
        rc = loop_io_add(loop, &loop->wake_io, wake_fd, EPOLLIN, loop_on_wake, loop);
    }
    if (rc != 0) {
        if (wake_fd >= 0) {
            loop->wake_io.fd = wake_fd;
        }
        loop_free(loop);
        return error_set(err, rc, "cannot create the event loop: %s", strerror(-rc));
    }
    *ret_loop = loop;
    return 0;
}

void loop_free(struct loop *loop)
{
    if (loop == NULL) {
        return;
    }
    if (loop->wake_io.fd >= 0) {
        close(loop->wake_io.fd);
    }
    if (loop->epoll_fd >= 0) {
        close(loop->epoll_fd);
    }
    while (loop->post_head != NULL) {
        struct posted *next = loop->post_head->next;
        free(loop->post_head);
        loop->post_head = next;
    }
    pthread_mutex_destroy(&loop->post_lock);
    free(loop);
}

uint64_t loop_now_ms(const struct loop *loop)
{
    return loop->now_ms;
}

int loop_io_add(struct loop *loop, struct io *io, int fd, uint32_t events, io_cb *cb, void *arg)
{
    struct epoll_event event = {.events = events, .data.ptr = io};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        return -errno;
    }
    *io = (struct io){.fd = fd, .events = events, .cb = cb, .arg = arg};
    return 0;
}

int loop_io_mod(struct loop *loop, struct io *io, uint32_t events)
{
    if (io->events == events) {
        return 0;
    }
    struct epoll_event event = {.events = events, .data.ptr = io};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, io->fd, &event) != 0) {
        return -errno;
    }
    io->events = events;
    return 0;
}

void loop_io_del(struct loop *loop, struct io *io)
{
    if (io->events == 0) {
        return;
    }
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, io->fd, NULL);
    io->events = 0;
    for (int i = loop->batch_at; i < loop->batch_len; i++) {
        if (loop->batch[i].data.ptr == io) {
            loop->batch[i].data.ptr = NULL;
        }
    }
}

uint32_t loop_io_pending(const struct loop *loop, const struct io *io)
{
    for (int i = loop->batch_at; i < loop->batch_len; i++) {
        if (loop->batch[i].data.ptr == io) {
            return loop->batch[i].events;
        }
    }
    return 0;
}

uint64_t loop_turns(const struct loop *loop)
{
    return loop->turns;
}

void loop_timer_set(struct loop *loop, struct timer *timer, uint64_t delay_ms, timer_cb *cb,
                    void *arg)
{
    timer_wheel_set(&loop->wheel, timer, loop->now_ms + delay_ms, cb, arg);
}

void loop_timer_cancel(struct loop *loop, struct timer *timer)
{
    timer_wheel_cancel(&loop->wheel, timer);
}

void loop_task_set(struct loop *loop, struct task *task, task_cb *cb, void *arg)
{
    task->cb = cb;
    task->arg = arg;
    if (!task->is_set) {
        task->is_set = true;
        list_push_back(&loop->tasks, &task->node);
    }
}

void loop_task_cancel(struct loop *loop, struct task *task)
{
    (void)loop;
    if (task->is_set) {
        task->is_set = false;
        list_remove(&task->node);
    }
}

static void loop_run_tasks(struct loop *loop)
{
    // A task that sets itself again runs in the next turn: stop at what was last when we began.
    if (list_empty(&loop->tasks)) {
        return;
    }
    list_push_back(&loop->tasks, &loop->tasks_end);
    while (loop->tasks.next != &loop->tasks_end) {
        struct task *task = list_first(&loop->tasks, struct task, node);
        list_remove(&task->node);
        task->is_set = false;
        task->cb(task, task->arg);
    }
    list_remove(&loop->tasks_end);
}

static int loop_wait_ms(const struct loop *loop, int max_wait_ms)
{
    if (!list_empty(&loop->tasks)) {
        return 0;
    }
    int64_t next = timer_wheel_next_ms(&loop->wheel);
    if (next < 0) {
        return max_wait_ms;
    }
    // The wheel's clock is that of the last turn; what has passed since shortens the sleep.
    int64_t passed = (int64_t)(clock_mono_ms() - loop->wheel.now_ms);
    next = next > passed ? next - passed : 0;
    if (max_wait_ms >= 0 && next > max_wait_ms) {
        return max_wait_ms;
    }
    return next > 60000 ? 60000 : (int)next;
}

static int wait_for_events(struct loop *loop, int wait_ms)
{
    if (loop->busy_poll.limit_ns == 0 || wait_ms == 0) {
        return epoll_wait(loop->epoll_fd, loop->batch, LOOP_BATCH, wait_ms);
    }
    uint64_t began = clock_mono_ns();
    uint64_t waited = 0;
    int n = 0;
    while (n == 0 && waited < loop->busy_poll.limit_ns && busy_poll_pays(&loop->busy_poll)) {
        n = epoll_wait(loop->epoll_fd, loop->batch, LOOP_BATCH, 0);
        waited = clock_mono_ns() - began;
    }
    if (n == 0) {
        n = epoll_wait(loop->epoll_fd, loop->batch, LOOP_BATCH, wait_ms);
        waited = clock_mono_ns() - began;
    }
    busy_poll_note(&loop->busy_poll, waited);
    return n;
}

void loop_turn(struct loop *loop, int max_wait_ms)
{
    int wait = loop_wait_ms(loop, max_wait_ms);
    // The hook costs two ordered stores; a turn that does not sleep needs it as much as one that
    // does, since it is also what tells others that this thread has let go of old state.
    if (loop->sleep_hook != NULL) {
        loop->sleep_hook(loop->sleep_arg, true);
    }
    int n = wait_for_events(loop, wait);
    if (loop->sleep_hook != NULL) {
        loop->sleep_hook(loop->sleep_arg, false);
    }
    loop->now_ms = clock_mono_ms();
    loop->turns++;
    loop->batch_len = n > 0 ? n : 0; // EINTR counts as an empty batch
    for (loop->batch_at = 0; loop->batch_at < loop->batch_len;) {
        struct epoll_event *event = &loop->batch[loop->batch_at++];
        struct io *io = event->data.ptr;
        if (io != NULL) {
            io->cb(io, event->events, io->arg);
        }
    }
    loop->batch_len = 0;
    timer_wheel_advance(&loop->wheel, loop->now_ms);
    loop_run_tasks(loop);
}

void loop_run(struct loop *loop)
{
    while (!atomic_load_explicit(&loop->stopping, memory_order_acquire)) {
        loop_turn(loop, -1);
    }
    atomic_store_explicit(&loop->stopping, false, memory_order_relaxed);
}

void loop_stop(struct loop *loop)
{
    // Release pairs with the acquire in loop_run: what was written before the stop is seen after
    // it.
    atomic_store_explicit(&loop->stopping, true, memory_order_release);
    loop_wake(loop);
}

int loop_post(struct loop *loop, loop_post_fn *fn, void *arg)
{
    struct posted *work = malloc(sizeof(*work));
    if (work == NULL) {
        return -ENOMEM;
    }
    *work = (struct posted){.fn = fn, .arg = arg};
    pthread_mutex_lock(&loop->post_lock);
    *loop->post_tail = work;
    loop->post_tail = &work->next;
    pthread_mutex_unlock(&loop->post_lock);
    loop_wake(loop);
    return 0;
}

void loop_set_busy_poll(struct loop *loop, uint64_t limit_us)
{
    loop->busy_poll.limit_ns = limit_us * 1000;
}

void loop_set_sleep_hook(struct loop *loop, loop_sleep_hook *hook, void *arg)
{
    loop->sleep_hook = hook;
    loop->sleep_arg = arg;
}
