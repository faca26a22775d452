#include "kube/workqueue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"

struct fixture {
    struct loop *loop;
    struct kube_workqueue queue;
    struct kube_work work[64];
    uint64_t now_ms;
    int runs;
    bool end_at_once;
};

static void run(struct kube_work *work, void *arg)
{
    struct fixture *f = arg;
    f->runs++;
    if (f->end_at_once) {
        kube_work_done(work, 0);
    }
}

static void advance(struct fixture *f, uint64_t ms)
{
    f->now_ms += ms;
    clock_fake_set_ns(f->now_ms * 1000000);
    for (int i = 0; i < 4; i++) {
        loop_turn(f->loop, 0);
    }
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->now_ms = 1000;
    clock_fake_set_ns(f->now_ms * 1000000);
    assert_int_equal(loop_new(&f->loop, NULL), 0);
    struct kube_workqueue_options options = {.max_running = 2, .rate_per_s = 10, .burst = 5,
                                             .base_ms = 100, .cap_ms = 1000};
    kube_workqueue_init(&f->queue, f->loop, &options, run, f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(f->work); i++) {
        kube_work_forget(&f->work[i]);
    }
    kube_workqueue_fini(&f->queue);
    loop_free(f->loop);
    clock_fake_set_ns(0);
    free(f);
    return 0;
}

static void an_item_is_queued_once_and_never_runs_twice_at_a_time(void **state)
{
    struct fixture *f = *state;
    kube_work_add_after(&f->queue, &f->work[0], 0);
    kube_work_add_after(&f->queue, &f->work[0], 0);
    advance(f, 1);
    assert_int_equal(f->runs, 1);
    kube_work_add_after(&f->queue, &f->work[0], 0); // while it runs
    kube_work_add_after(&f->queue, &f->work[0], 0);
    advance(f, 1);
    assert_int_equal(f->runs, 1);
    kube_work_done(&f->work[0], 50);
    advance(f, 40);
    assert_int_equal(f->runs, 1);
    advance(f, 20);
    assert_int_equal(f->runs, 2);
    kube_work_done(&f->work[0], 0);
    advance(f, 1000);
    assert_int_equal(f->runs, 2);
}

static void no_more_than_the_maximum_run(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 4; i++) {
        kube_work_add_after(&f->queue, &f->work[i], 0);
    }
    advance(f, 1);
    assert_int_equal(f->runs, 2);
    kube_work_done(&f->work[0], 0);
    advance(f, 1);
    assert_int_equal(f->runs, 3);
    kube_work_forget(&f->work[1]); // from the middle of its run
    advance(f, 1);
    assert_int_equal(f->runs, 4);
}

static void the_rate_holds_after_the_burst(void **state)
{
    struct fixture *f = *state;
    f->end_at_once = true;
    for (size_t i = 0; i < 30; i++) {
        kube_work_add_after(&f->queue, &f->work[i], 0);
    }
    advance(f, 1);
    assert_int_equal(f->runs, 5);
    for (int i = 0; i < 10; i++) {
        advance(f, 100);
    }
    assert_in_range(f->runs, 14, 16);
}

static void failures_wait_up_to_the_cap_and_success_forgets_them(void **state)
{
    struct fixture *f = *state;
    kube_work_add_after(&f->queue, &f->work[0], 0);
    advance(f, 1);
    static const uint64_t least[] = {100, 200, 400, 800, 1000, 1000};
    for (size_t i = 0; i < ARRAY_LEN(least); i++) {
        int before = f->runs;
        uint64_t from = f->now_ms;
        kube_work_failed(&f->work[0], 0);
        while (f->runs == before) {
            advance(f, 5);
        }
        assert_in_range(f->now_ms - from, least[i], least[i] + least[i] / 4 + 10);
    }
    kube_work_failed(&f->work[0], 5000);
    advance(f, 4900);
    int before = f->runs;
    advance(f, 200);
    assert_int_equal(f->runs, before + 1);
    kube_work_done(&f->work[0], 0);
    assert_int_equal(f->work[0].failures, 0);
}

static void nothing_begins_while_paused(void **state)
{
    struct fixture *f = *state;
    kube_workqueue_pause(&f->queue, true);
    kube_work_add_after(&f->queue, &f->work[0], 0);
    kube_work_add_after(&f->queue, &f->work[1], 0);
    advance(f, 1000);
    assert_int_equal(f->runs, 0);
    kube_work_forget(&f->work[1]);
    kube_workqueue_pause(&f->queue, false);
    advance(f, 1);
    assert_int_equal(f->runs, 1);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(an_item_is_queued_once_and_never_runs_twice_at_a_time),
        CASE(no_more_than_the_maximum_run),
        CASE(the_rate_holds_after_the_burst),
        CASE(failures_wait_up_to_the_cap_and_success_forgets_them),
        CASE(nothing_begins_while_paused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
