#include "event/loop.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"

static struct loop *new_loop(void)
{
    struct loop *loop = NULL;
    struct error err = ERROR_INIT;
    if (loop_new(&loop, &err) != 0) {
        fail_msg("%s", err.text);
    }
    return loop;
}

struct pipes {
    struct loop *loop;
    int fds[8][2];
    struct io ios[8];
    unsigned calls[8];
    int victim; // whom the first callback deletes; -1 = nobody
    unsigned pending; // sum of how many others were still to be called, over all calls
};

static void on_readable(struct io *io, uint32_t events, void *arg)
{
    struct pipes *p = arg;
    size_t i = (size_t)(io - p->ios);
    assert_true((events & EPOLLIN) != 0);
    p->calls[i]++;
    if (p->victim >= 0) {
        int victim = p->victim != (int)i ? p->victim : (int)(i + 1) % 8;
        p->victim = -1;
        loop_io_del(p->loop, &p->ios[victim]);
        // The owner may free it at once: make any later use visible.
        memset(&p->ios[victim], 0, sizeof p->ios[victim]);
        close(p->fds[victim][0]);
        p->fds[victim][0] = -1;
    }
    assert_int_equal(loop_io_pending(p->loop, io), 0);
    for (size_t other = 0; other < 8; other++) {
        p->pending += loop_io_pending(p->loop, &p->ios[other]) == EPOLLIN;
    }
    char byte;
    assert_int_equal(read(io->fd, &byte, 1), 1);
}

static void open_pipes(struct pipes *p)
{
    *p = (struct pipes){.loop = new_loop(), .victim = -1};
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(pipe(p->fds[i]), 0);
        assert_int_equal(loop_io_add(p->loop, &p->ios[i], p->fds[i][0], EPOLLIN, on_readable, p),
                         0);
    }
}

static void close_pipes(struct pipes *p)
{
    for (size_t i = 0; i < 8; i++) {
        loop_io_del(p->loop, &p->ios[i]);
        close(p->fds[i][1]);
        if (p->fds[i][0] >= 0) {
            close(p->fds[i][0]);
        }
    }
    loop_free(p->loop);
}

static void readable_descriptors_are_called(void **state)
{
    (void)state;
    struct pipes p;
    open_pipes(&p);
    assert_int_equal(write(p.fds[3][1], "x", 1), 1);
    loop_turn(p.loop, 1000);
    assert_int_equal(p.calls[3], 1);
    assert_int_equal(p.calls[4], 0);
    // Not subscribed: silent; subscribed again: called.
    assert_int_equal(loop_io_mod(p.loop, &p.ios[3], EPOLLOUT), 0);
    assert_int_equal(write(p.fds[3][1], "x", 1), 1);
    loop_turn(p.loop, 0);
    assert_int_equal(p.calls[3], 1);
    assert_int_equal(loop_io_mod(p.loop, &p.ios[3], EPOLLIN), 0);
    loop_turn(p.loop, 1000);
    assert_int_equal(p.calls[3], 2);
    struct io bad = {.fd = -1};
    assert_int_equal(loop_io_add(p.loop, &bad, -1, EPOLLIN, on_readable, &p), -EBADF);
    assert_int_equal(bad.events, 0);
    close_pipes(&p);
}

static void a_deleted_io_is_not_called_from_the_same_batch(void **state)
{
    (void)state;
    for (int victim = 0; victim < 8; victim++) {
        struct pipes p;
        open_pipes(&p);
        for (size_t i = 0; i < 8; i++) {
            assert_int_equal(write(p.fds[i][1], "x", 1), 1);
        }
        p.victim = victim;
        loop_turn(p.loop, 1000);
        unsigned calls = 0;
        for (size_t i = 0; i < 8; i++) {
            calls += p.calls[i];
        }
        assert_int_equal(calls, 7);
        close_pipes(&p);
    }
}

static void what_waits_in_the_batch_can_be_asked(void **state)
{
    (void)state;
    struct pipes p;
    open_pipes(&p);
    uint64_t turns = loop_turns(p.loop);
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(write(p.fds[i][1], "x", 1), 1);
        assert_int_equal(loop_io_pending(p.loop, &p.ios[i]), 0); // not reported yet
    }
    loop_turn(p.loop, 1000);
    assert_int_equal(p.pending, 7 + 6 + 5 + 4 + 3 + 2 + 1);
    assert_true(loop_turns(p.loop) == turns + 1);
    close_pipes(&p);
}

struct counter {
    struct loop *loop;
    struct task task;
    struct task other;
    struct timer timer;
    unsigned runs;
    unsigned other_runs;
    unsigned again;
};

static void run_other(struct task *task, void *arg)
{
    (void)task;
    ((struct counter *)arg)->other_runs++;
}

static void run_again(struct task *task, void *arg)
{
    struct counter *c = arg;
    c->runs++;
    assert_false(task->is_set);
    if (c->again > 0) {
        c->again--;
        loop_task_set(c->loop, task, run_again, c);
    }
}

static void a_task_that_sets_itself_runs_once_a_turn(void **state)
{
    (void)state;
    struct counter c = {.loop = new_loop(), .again = 2};
    loop_task_set(c.loop, &c.task, run_again, &c);
    loop_task_set(c.loop, &c.task, run_again, &c); // already set
    for (unsigned turn = 1; turn <= 3; turn++) {
        loop_turn(c.loop, 10000); // a set task means no sleep
        assert_int_equal(c.runs, turn);
    }
    loop_turn(c.loop, 0);
    assert_int_equal(c.runs, 3);
    loop_free(c.loop);
}

static void cancel_other(struct task *task, void *arg)
{
    (void)task;
    struct counter *c = arg;
    c->runs++;
    loop_task_cancel(c->loop, &c->other);
}

static void a_task_may_cancel_the_next(void **state)
{
    (void)state;
    struct counter c = {.loop = new_loop()};
    loop_task_set(c.loop, &c.task, cancel_other, &c);
    loop_task_set(c.loop, &c.other, run_other, &c);
    loop_turn(c.loop, 0);
    loop_turn(c.loop, 0);
    assert_int_equal(c.runs, 1);
    assert_int_equal(c.other_runs, 0);
    loop_task_cancel(c.loop, &c.other);
    loop_free(c.loop);
}

static void on_timer(struct timer *timer, void *arg)
{
    (void)timer;
    struct counter *c = arg;
    c->runs++;
    loop_task_set(c->loop, &c->other, run_other, c);
}

static void timers_follow_the_clock(void **state)
{
    (void)state;
    const uint64_t ms = 1000000;
    clock_fake_set_ns(5000 * ms);
    struct counter c = {.loop = new_loop()};
    loop_timer_set(c.loop, &c.timer, 100, on_timer, &c);
    clock_fake_set_ns(5099 * ms);
    loop_turn(c.loop, 0);
    assert_int_equal(loop_now_ms(c.loop), 5099);
    assert_int_equal(c.runs, 0);
    clock_fake_set_ns(5100 * ms);
    loop_turn(c.loop, 10000);
    assert_int_equal(c.runs, 1);
    assert_int_equal(c.other_runs, 1); // set by the timer, run in the same turn
    loop_timer_set(c.loop, &c.timer, 100, on_timer, &c);
    loop_timer_cancel(c.loop, &c.timer);
    clock_fake_set_ns(9000 * ms);
    loop_turn(c.loop, 0);
    assert_int_equal(c.runs, 1);
    clock_fake_set_ns(0);
    loop_free(c.loop);
}

static void a_sleep_ends_with_the_next_timer(void **state)
{
    (void)state;
    struct counter c = {.loop = new_loop()};
    loop_timer_set(c.loop, &c.timer, 5, on_timer, &c);
    // Would sleep for ever if the timer did not end it; a coarse slot may take two turns.
    for (int turn = 0; turn < 10 && c.runs == 0; turn++) {
        loop_turn(c.loop, -1);
    }
    assert_int_equal(c.runs, 1);
    loop_free(c.loop);
}

enum { POSTS = 1000, POSTERS = 4 };

struct inbox {
    struct loop *loop;
    unsigned next[POSTERS]; // order within each poster
    unsigned total;
};

struct message {
    struct inbox *inbox;
    unsigned poster;
    unsigned number;
};

static void receive(void *arg)
{
    struct message *m = arg;
    assert_int_equal(m->number, m->inbox->next[m->poster]);
    m->inbox->next[m->poster]++;
    if (++m->inbox->total == POSTS * POSTERS) {
        loop_stop(m->inbox->loop);
    }
}

static void *post_all(void *arg)
{
    struct message *messages = arg;
    for (unsigned i = 0; i < POSTS; i++) {
        if (loop_post(messages[i].inbox->loop, receive, &messages[i]) != 0) {
            abort();
        }
    }
    return NULL;
}

static void posts_of_many_threads_arrive_in_their_order(void **state)
{
    (void)state;
    static struct message messages[POSTERS][POSTS];
    struct inbox inbox = {.loop = new_loop()};
    pthread_t threads[POSTERS];
    for (unsigned t = 0; t < POSTERS; t++) {
        for (unsigned i = 0; i < POSTS; i++) {
            messages[t][i] = (struct message){.inbox = &inbox, .poster = t, .number = i};
        }
        assert_int_equal(pthread_create(&threads[t], NULL, post_all, messages[t]), 0);
    }
    loop_run(inbox.loop);
    assert_int_equal(inbox.total, POSTS * POSTERS);
    for (unsigned t = 0; t < POSTERS; t++) {
        pthread_join(threads[t], NULL);
    }
    // What is still queued when the loop goes is dropped, not leaked.
    struct message late = {.inbox = &inbox};
    assert_int_equal(loop_post(inbox.loop, receive, &late), 0);
    loop_free(inbox.loop);
    assert_int_equal(inbox.total, POSTS * POSTERS);
}

static void a_stop_before_the_run_counts(void **state)
{
    (void)state;
    struct loop *loop = new_loop();
    loop_stop(loop);
    loop_run(loop);
    loop_free(loop);
    loop_free(NULL);
}

static void on_sleep(void *arg, bool sleeping)
{
    unsigned *calls = arg;
    assert_int_equal(*calls % 2, sleeping ? 0 : 1);
    (*calls)++;
}

static void the_sleep_hook_frames_every_wait(void **state)
{
    (void)state;
    struct loop *loop = new_loop();
    unsigned calls = 0;
    loop_set_sleep_hook(loop, on_sleep, &calls);
    loop_turn(loop, 0);
    loop_turn(loop, 1);
    assert_int_equal(calls, 4);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readable_descriptors_are_called),
        cmocka_unit_test(a_deleted_io_is_not_called_from_the_same_batch),
        cmocka_unit_test(what_waits_in_the_batch_can_be_asked),
        cmocka_unit_test(a_task_that_sets_itself_runs_once_a_turn),
        cmocka_unit_test(a_task_may_cancel_the_next),
        cmocka_unit_test(timers_follow_the_clock),
        cmocka_unit_test(a_sleep_ends_with_the_next_timer),
        cmocka_unit_test(posts_of_many_threads_arrive_in_their_order),
        cmocka_unit_test(a_stop_before_the_run_counts),
        cmocka_unit_test(the_sleep_hook_frames_every_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
