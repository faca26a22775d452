#include "event/busy_poll.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "event/loop.h"

enum { LIMIT_NS = 50000, SHORT_NS = 20000, LONG_NS = 1000000 };

static void note_many(struct busy_poll *poll, unsigned count, uint64_t waited_ns)
{
    for (unsigned i = 0; i < count; i++) {
        busy_poll_note(poll, waited_ns);
    }
}

static void test_an_idle_thread_never_looks(void **state)
{
    (void)state;
    struct busy_poll poll = {.limit_ns = LIMIT_NS};
    assert_false(busy_poll_pays(&poll));
    note_many(&poll, 100, LONG_NS);
    assert_false(busy_poll_pays(&poll));
}

static void test_a_few_short_waits_begin_it_and_a_few_long_ones_end_it(void **state)
{
    (void)state;
    struct busy_poll poll = {.limit_ns = LIMIT_NS};
    note_many(&poll, BUSY_POLL_TRUST_NEEDED - 1, SHORT_NS);
    assert_false(busy_poll_pays(&poll));
    busy_poll_note(&poll, SHORT_NS);
    assert_true(busy_poll_pays(&poll));
    note_many(&poll, 1000, SHORT_NS);
    // However long it went well, this many looks are in vain before it sleeps again.
    note_many(&poll, BUSY_POLL_TRUST_MAX / BUSY_POLL_TRUST_LOST, LONG_NS);
    assert_false(busy_poll_pays(&poll));
}

static void test_requests_that_come_far_apart_do_not_begin_it(void **state)
{
    (void)state;
    // Each request has one short wait, for its server, and one long, for the next request.
    struct busy_poll poll = {.limit_ns = LIMIT_NS};
    for (int i = 0; i < 100; i++) {
        busy_poll_note(&poll, SHORT_NS);
        busy_poll_note(&poll, LONG_NS);
        assert_false(busy_poll_pays(&poll));
    }
}

static void test_the_limit_itself_is_long(void **state)
{
    (void)state;
    struct busy_poll poll = {.limit_ns = LIMIT_NS, .trust = BUSY_POLL_TRUST_NEEDED};
    busy_poll_note(&poll, LIMIT_NS);
    assert_false(busy_poll_pays(&poll));
}

struct ticks {
    struct loop *loop;
    struct timer timer;
    unsigned left;
};

static void on_tick(struct timer *timer, void *arg)
{
    struct ticks *ticks = arg;
    if (--ticks->left > 0) {
        loop_timer_set(ticks->loop, timer, 1, on_tick, ticks);
    }
}

static void test_timers_run_while_the_loop_looks(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct ticks ticks = {.left = 20};
    assert_int_equal(loop_new(&ticks.loop, &err), 0);
    loop_set_busy_poll(ticks.loop, 5000); // longer than the time to the next timer
    loop_timer_set(ticks.loop, &ticks.timer, 1, on_tick, &ticks);
    uint64_t give_up = clock_mono_ms() + 10000;
    while (ticks.left > 0 && clock_mono_ms() < give_up) {
        loop_turn(ticks.loop, -1);
    }
    assert_int_equal(ticks.left, 0);
    loop_timer_cancel(ticks.loop, &ticks.timer);
    loop_free(ticks.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_idle_thread_never_looks),
        cmocka_unit_test(test_a_few_short_waits_begin_it_and_a_few_long_ones_end_it),
        cmocka_unit_test(test_requests_that_come_far_apart_do_not_begin_it),
        cmocka_unit_test(test_the_limit_itself_is_long),
        cmocka_unit_test(test_timers_run_while_the_loop_looks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
