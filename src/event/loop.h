// One epoll loop for a thread: file descriptors, timers, posted work.
//
// Lifetime rule: after loop_io_del no callback of that io comes any more, not even from the batch
// of events that is being handled, so its memory may be freed at once, also from inside a callback.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "base/error.h"
#include "base/list.h"
#include "base/macros.h"
#include "event/timer.h"

struct loop;
struct io;

// `events`: EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLHUP, EPOLLERR as epoll reports them.
typedef void io_cb(struct io *io, uint32_t events, void *arg);

// Embedded in its owner; zero-initialised (fd field is set by loop_io_add) is idle.
struct io {
    int fd;
    uint32_t events; // what is subscribed; 0 = not added
    io_cb *cb;
    void *arg;
};

// Work to be run once at the end of the current turn (or of the next, when set outside a turn).
struct task;
typedef void task_cb(struct task *task, void *arg);
struct task {
    struct list_node node;
    task_cb *cb;
    void *arg;
    bool is_set;
};

MUST_CHECK int loop_new(struct loop **ret_loop, struct error *err);
void loop_free(struct loop *loop);

// Runs turns until loop_stop. The thread that calls it owns the loop.
void loop_run(struct loop *loop);

// One turn: waits at most max_wait_ms (-1 = until something happens). For tests and embedding.
void loop_turn(struct loop *loop, int max_wait_ms);

// Makes loop_run return after this turn. Any thread.
void loop_stop(struct loop *loop);

// Monotonic milliseconds, read once a turn.
uint64_t loop_now_ms(const struct loop *loop);

// Subscribes. events may contain EPOLLET. 0 or -errno. The fd stays the caller's.
MUST_CHECK int loop_io_add(struct loop *loop, struct io *io, int fd, uint32_t events, io_cb *cb,
                           void *arg);
MUST_CHECK int loop_io_mod(struct loop *loop, struct io *io, uint32_t events);
// Idempotent. Call before close(fd).
void loop_io_del(struct loop *loop, struct io *io);

// What this turn's wait reported of the io and its callback has not been told yet; 0 = nothing. So
// that who handles one descriptor may know what waits on another.
uint32_t loop_io_pending(const struct loop *loop, const struct io *io);

// Counts the turns: what happened in an earlier one has been followed by a wait.
uint64_t loop_turns(const struct loop *loop);

void loop_timer_set(struct loop *loop, struct timer *timer, uint64_t delay_ms, timer_cb *cb,
                    void *arg);
void loop_timer_cancel(struct loop *loop, struct timer *timer);

void loop_task_set(struct loop *loop, struct task *task, task_cb *cb, void *arg);
void loop_task_cancel(struct loop *loop, struct task *task);

// Any thread: runs fn(arg) on the loop's thread, in order. -ENOMEM when it cannot be queued.
// What is still queued when the loop is freed is dropped.
typedef void loop_post_fn(void *arg);
MUST_CHECK int loop_post(struct loop *loop, loop_post_fn *fn, void *arg);

// Where waits are short, looks again for at most so many microseconds before it sleeps (see
// event/busy_poll.h); 0, the default: never.
void loop_set_busy_poll(struct loop *loop, uint64_t limit_us);

// Called with true right before the thread may sleep and with false right after it woke, so that a
// reader of shared state can say that it holds nothing meanwhile (see event/epoch.h).
typedef void loop_sleep_hook(void *arg, bool sleeping);
void loop_set_sleep_hook(struct loop *loop, loop_sleep_hook *hook, void *arg);
