// The wheel against a model that just remembers deadlines.
#include "event/timer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "base/rand.h"

enum { TIMERS = 64 };

struct model {
    struct timer_wheel wheel;
    struct rand_state rng;
    struct timer timers[TIMERS];
    uint64_t deadline[TIMERS]; // 0 = not set
    uint64_t now;
    uint64_t fired;
    bool chaos; // callbacks set and cancel other timers
};

static void model_cb(struct timer *timer, void *arg);

static uint64_t random_delay(struct rand_state *rng)
{
    // Every level, the borders between levels, and beyond the span of the wheel.
    static const unsigned bits[] = {0, 1, 6, 7, 12, 13, 18, 19, 24, 25, 30, 31, 33};
    uint64_t span = UINT64_C(1) << bits[rand_below(rng, ARRAY_LEN(bits))];
    return rand_below(rng, 3) == 0 ? span - rand_below(rng, 2) : rand_below(rng, span + 1);
}

static void model_set(struct model *m, size_t i, uint64_t deadline)
{
    m->deadline[i] = deadline > m->now ? deadline : m->now + 1;
    timer_wheel_set(&m->wheel, &m->timers[i], deadline, model_cb, m);
}

static void model_cancel(struct model *m, size_t i)
{
    m->deadline[i] = 0;
    timer_wheel_cancel(&m->wheel, &m->timers[i]);
}

static void model_cb(struct timer *timer, void *arg)
{
    struct model *m = arg;
    size_t i = (size_t)(timer - m->timers);
    m->now = m->wheel.now_ms;
    if (m->deadline[i] != m->wheel.now_ms) {
        fail_msg("timer %zu is due at %ju but fired at %ju", i, (uintmax_t)m->deadline[i],
                 (uintmax_t)m->wheel.now_ms);
    }
    assert_false(timer_is_set(timer));
    m->deadline[i] = 0;
    m->fired++;
    if (!m->chaos) {
        return;
    }
    size_t other = (size_t)rand_below(&m->rng, TIMERS);
    switch (rand_below(&m->rng, 4)) {
    case 0:
        model_set(m, other, m->now + random_delay(&m->rng));
        break;
    case 1:
        model_cancel(m, other);
        break;
    case 2:
        model_set(m, i, m->now + random_delay(&m->rng));
        break;
    default:
        break;
    }
}

static void check(struct model *m)
{
    uint64_t count = 0;
    uint64_t next = UINT64_MAX;
    for (size_t i = 0; i < TIMERS; i++) {
        if (m->deadline[i] != 0) {
            count++;
            next = m->deadline[i] < next ? m->deadline[i] : next;
            if (m->deadline[i] <= m->now) {
                fail_msg("timer %zu, due at %ju, has not fired at %ju", i,
                         (uintmax_t)m->deadline[i], (uintmax_t)m->now);
            }
        }
        assert_int_equal(timer_is_set(&m->timers[i]), m->deadline[i] != 0);
    }
    assert_int_equal(m->wheel.count, count);
    int64_t wait = timer_wheel_next_ms(&m->wheel);
    if (count == 0) {
        assert_int_equal(wait, -1);
    } else {
        assert_true(wait > 0);
        assert_true((uint64_t)wait <= next - m->now);
    }
}

static void run_random(uint64_t seed, bool chaos)
{
    struct model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    m->rng.state = seed;
    m->chaos = chaos;
    m->now = 1 + rand_below(&m->rng, UINT64_C(1) << 40);
    timer_wheel_init(&m->wheel, m->now);
    for (int step = 0; step < 4000; step++) {
        size_t i = (size_t)rand_below(&m->rng, TIMERS);
        switch (rand_below(&m->rng, 4)) {
        case 0:
            model_cancel(m, i);
            break;
        case 1: {
            // Just as far as the wheel asks for, or anywhere.
            int64_t next = timer_wheel_next_ms(&m->wheel);
            bool exact = next > 0 && rand_below(&m->rng, 2) == 0;
            uint64_t to = m->now + (exact ? (uint64_t)next : random_delay(&m->rng));
            timer_wheel_advance(&m->wheel, to);
            m->now = to;
            break;
        }
        default:
            model_set(m, i, m->now + random_delay(&m->rng));
            break;
        }
        check(m);
    }
    assert_true(m->fired > 100);
    free(m);
}

static void fires_exactly_when_due(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        run_random(seed, false);
    }
}

static void callbacks_may_set_and_cancel_any_timer(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        run_random(seed, true);
    }
}

static void count_cb(struct timer *timer, void *arg)
{
    (void)timer;
    (*(unsigned *)arg)++;
}

// Every distance at every phase of the first two levels, stepping by one.
static void every_distance_at_every_phase(void **state)
{
    (void)state;
    for (uint64_t phase = 0; phase < 64; phase += 7) {
        for (uint64_t distance = 1; distance < 4300; distance += distance < 200 ? 1 : 61) {
            struct timer_wheel wheel;
            struct timer timer = {.is_set = false};
            unsigned fired = 0;
            timer_wheel_init(&wheel, 4096 + phase);
            timer_wheel_set(&wheel, &timer, 4096 + phase + distance, count_cb, &fired);
            timer_wheel_advance(&wheel, 4096 + phase + distance - 1);
            assert_int_equal(fired, 0);
            timer_wheel_advance(&wheel, 4096 + phase + distance);
            if (fired != 1) {
                fail_msg("phase %ju, distance %ju", (uintmax_t)phase, (uintmax_t)distance);
            }
        }
    }
}

static void a_deadline_in_the_past_fires_at_the_next_advance(void **state)
{
    (void)state;
    struct timer_wheel wheel;
    struct timer timer = {.is_set = false};
    unsigned fired = 0;
    timer_wheel_init(&wheel, 1000);
    timer_wheel_set(&wheel, &timer, 5, count_cb, &fired);
    assert_int_equal(timer_wheel_next_ms(&wheel), 1);
    timer_wheel_advance(&wheel, 1000);
    assert_int_equal(fired, 0);
    timer_wheel_advance(&wheel, 1001);
    assert_int_equal(fired, 1);
    timer_wheel_cancel(&wheel, &timer);
    assert_int_equal(timer_wheel_next_ms(&wheel), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_distance_at_every_phase),
        cmocka_unit_test(fires_exactly_when_due),
        cmocka_unit_test(callbacks_may_set_and_cancel_any_timer),
        cmocka_unit_test(a_deadline_in_the_past_fires_at_the_next_advance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
