// Health with a clock of our own: reports come in, time goes on, and who gets requests is looked at
// by picking.
#include "endpoint/health.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "endpoint/pick.h"

enum { PODS_MAX = 16, EVENTS_MAX = 64, START_MS = 1000000 };

struct world {
    struct epoch *epoch;
    struct endpoint_table *table;
    struct backend_state *backend;
    struct rand_state rng;
    struct health_config config;
    uint64_t now_ms;
    struct health_event events[EVENTS_MAX];
    size_t event_count;
};

static int world_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    assert_int_equal(posix_memalign((void **)&w->epoch, CACHE_LINE, sizeof(*w->epoch)), 0);
    epoch_init(w->epoch);
    assert_int_equal(endpoint_table_new(&w->table, w->epoch), 0);
    w->backend = endpoint_table_backend(w->table, SLICE("ml/llama"));
    assert_non_null(w->backend);
    w->rng.state = 42;
    w->now_ms = START_MS;
    health_config_default(&w->config);
    *state = w;
    return 0;
}

static int world_down(void **state)
{
    struct world *w = *state;
    endpoint_table_free(w->table);
    free(w->epoch);
    free(w);
    return 0;
}

static void pods(struct world *w, size_t count)
{
    struct endpoint_spec specs[PODS_MAX] = {0};
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(endpoint_address_parse(SLICE("10.0.0.1"), (uint16_t)(i + 1), &specs[i]),
                         0);
    }
    assert_int_equal(backend_state_set_endpoints(w->backend, specs, count), 0);
}

static void judge_by(struct world *w)
{
    assert_int_equal(backend_state_judge_by(w->backend, &w->config), 0);
}

static struct endpoint *at(struct world *w, size_t i)
{
    return backend_state_endpoints(w->backend)->items[i];
}

static void report(struct world *w, size_t i, enum health_report what, unsigned times)
{
    for (unsigned n = 0; n < times; n++) {
        health_report(w->backend, at(w, i), what, w->now_ms);
    }
}

static void note_event(void *arg, const struct health_event *event)
{
    struct world *w = arg;
    assert_in_range(w->event_count, 0, EVENTS_MAX - 1);
    w->events[w->event_count++] = *event;
}

static void watch(struct world *w)
{
    w->event_count = 0;
    health_watch(w->table, w->now_ms, note_event, w);
}

static void pass_ms(struct world *w, uint64_t ms)
{
    w->now_ms += ms;
    watch(w);
}

static const char *state_name(struct world *w, size_t i)
{
    return health_state_name(at(w, i), w->now_ms);
}

// A share of many picks, each released at once; counts[i] for endpoint i.
static void pick_many(struct world *w, enum pick_policy policy, unsigned n, unsigned *counts)
{
    struct pick_request request = {
        .policy = policy, .prompt_bytes = 4000, .now_ms = w->now_ms, .rng = &w->rng};
    memset(counts, 0, PODS_MAX * sizeof(*counts));
    for (unsigned k = 0; k < n; k++) {
        struct reservation r = {0};
        assert_int_equal(pick_endpoint(w->backend, &request, true, &r, NULL), 0);
        for (size_t i = 0; i < backend_state_endpoints(w->backend)->count; i++) {
            counts[i] += at(w, i) == r.endpoint;
        }
        reservation_release(&r);
    }
}

static unsigned picks_of(struct world *w, size_t i)
{
    unsigned counts[PODS_MAX];
    pick_many(w, PICK_ROUND_ROBIN, 60, counts);
    return counts[i];
}

// ---- consecutive errors ----

static void errors_in_a_row_eject(void **state)
{
    // What ejects after how many, with the default limit of five.
    static const struct {
        enum health_report report;
        bool counts;
    } rows[] = {
        {HEALTH_REPORT_ERROR, true},      {HEALTH_REPORT_RESET, true},
        {HEALTH_REPORT_TIMEOUT, true},    {HEALTH_REPORT_UNREACHED, true},
        {HEALTH_REPORT_REFUSED, true},    {HEALTH_REPORT_OK, false},
        {HEALTH_REPORT_OVERLOADED, false},
    };
    struct world *w = *state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        pods(w, 0);
        pods(w, 3); // new ones, or forgotten
        report(w, 0, rows[i].report, 4);
        assert_string_not_equal(state_name(w, 0), "ejected");
        report(w, 0, rows[i].report, 1);
        if (rows[i].counts != (strcmp(state_name(w, 0), "ejected") == 0)) {
            fail_msg("report %d", (int)rows[i].report);
        }
        report(w, 0, rows[i].report, 20);
    }
}

static void a_success_in_between_starts_the_count_anew(void **state)
{
    struct world *w = *state;
    pods(w, 3);
    for (int i = 0; i < 10; i++) {
        report(w, 0, HEALTH_REPORT_ERROR, 4);
        report(w, 0, HEALTH_REPORT_OK, 1);
    }
    assert_string_equal(state_name(w, 0), "ok");
    report(w, 0, HEALTH_REPORT_ERROR, 2);
    report(w, 0, HEALTH_REPORT_OVERLOADED, 1); // neither good nor bad
    report(w, 0, HEALTH_REPORT_ERROR, 3);
    assert_string_equal(state_name(w, 0), "ejected");
}

static void an_ejected_endpoint_gets_nothing_and_returns(void **state)
{
    struct world *w = *state;
    pods(w, 3);
    report(w, 1, HEALTH_REPORT_ERROR, 5);
    assert_int_equal(picks_of(w, 1), 0);
    watch(w);
    assert_int_equal(w->event_count, 1);
    assert_int_equal(w->events[0].change, HEALTH_CHANGE_EJECTED);
    assert_int_equal(w->events[0].reason, HEALTH_REASON_ERRORS);
    assert_int_equal(w->events[0].for_ms, 30000);
    assert_ptr_equal(w->events[0].endpoint, at(w, 1));
    pass_ms(w, 29999);
    assert_int_equal(w->event_count, 0); // told once
    assert_int_equal(picks_of(w, 1), 0);
    w->now_ms += 1; // even before somebody looks
    assert_int_equal(picks_of(w, 1), 20);
    watch(w);
    assert_int_equal(w->event_count, 1);
    assert_int_equal(w->events[0].change, HEALTH_CHANGE_RETURNED);
    assert_int_equal(picks_of(w, 1), 20);
}

static uint64_t ejected_for(struct world *w, size_t i)
{
    report(w, i, HEALTH_REPORT_ERROR, 5);
    uint64_t length = atomic_load(&at(w, i)->health.ejected_until_ms) - w->now_ms;
    return strcmp(state_name(w, i), "ejected") == 0 ? length : 0;
}

static void ejections_grow_are_capped_and_are_forgotten(void **state)
{
    struct world *w = *state;
    w->config.eject_for_ms = 10000;
    w->config.max_eject_for_ms = 35000;
    judge_by(w);
    pods(w, 3);
    static const uint64_t lengths[] = {10000, 20000, 30000, 35000, 35000};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        assert_int_equal(ejected_for(w, 0), lengths[i]);
        pass_ms(w, lengths[i]);
    }
    assert_int_equal(atomic_load(&at(w, 0)->health.times), 5);
    for (int i = 0; i < 3; i++) { // every ten good seconds one is forgotten
        pass_ms(w, 9999);
        pass_ms(w, 1);
    }
    assert_int_equal(atomic_load(&at(w, 0)->health.times), 2);
    assert_int_equal(ejected_for(w, 0), 30000);
    assert_int_equal(atomic_load(&at(w, 0)->health.ejections[HEALTH_REASON_ERRORS]), 6);
}

static void an_ejection_right_after_another_is_told_too(void **state)
{
    struct world *w = *state;
    pods(w, 3);
    report(w, 1, HEALTH_REPORT_ERROR, 5);
    watch(w);
    w->now_ms += 30000; // over, and nobody looked
    report(w, 1, HEALTH_REPORT_ERROR, 5);
    watch(w);
    assert_int_equal(w->event_count, 1);
    assert_int_equal(w->events[0].change, HEALTH_CHANGE_EJECTED);
    assert_int_equal(w->events[0].for_ms, 60000);
}

// ---- how many at once ----

static void never_more_than_a_share_is_ejected(void **state)
{
    static const struct {
        size_t pods;
        uint32_t percent;
        size_t out;
    } rows[] = {
        {1, 50, 0}, {1, 100, 0}, // the only one stays
        {2, 50, 1}, {2, 10, 1},  // at least one, where there are several
        {3, 50, 1}, {3, 67, 2},  {3, 100, 2},
        {10, 30, 3}, {10, 100, 9}, {10, 0, 0},
    };
    struct world *w = *state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        w->config.max_ejected_percent = rows[i].percent;
        judge_by(w);
        pods(w, 0);
        pods(w, rows[i].pods);
        size_t out = 0;
        for (size_t k = 0; k < rows[i].pods; k++) {
            report(w, k, HEALTH_REPORT_ERROR, 10);
        }
        for (size_t k = 0; k < rows[i].pods; k++) {
            out += strcmp(state_name(w, k), "ejected") == 0;
        }
        if (out != rows[i].out) {
            fail_msg("%zu of %zu at %u %%", out, rows[i].pods, rows[i].percent);
        }
        w->now_ms += 1000000;
        watch(w);
    }
}

struct reporter {
    struct world *w;
    size_t first;
};

static void *report_errors(void *arg)
{
    struct reporter *reporter = arg;
    for (unsigned n = 0; n < 20000; n++) {
        struct world *w = reporter->w;
        health_report(w->backend, at(w, (reporter->first + n) % 8), HEALTH_REPORT_ERROR,
                      w->now_ms);
    }
    return NULL;
}

static void many_reporters_keep_to_the_share(void **state)
{
    struct world *w = *state;
    pods(w, 8);
    pthread_t threads[4];
    struct reporter reporters[4];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        reporters[i] = (struct reporter){w, i * 2};
        assert_int_equal(pthread_create(&threads[i], NULL, report_errors, &reporters[i]), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        pthread_join(threads[i], NULL);
    }
    unsigned out = 0;
    for (size_t i = 0; i < 8; i++) {
        out += strcmp(state_name(w, i), "ejected") == 0;
        assert_int_equal(atomic_load(&at(w, i)->health.answers), 10000);
        assert_int_equal(atomic_load(&at(w, i)->health.errors), 10000);
    }
    assert_int_equal(out, 4);
}

static void too_few_left_and_all_are_used(void **state)
{
    struct world *w = *state;
    w->config.max_ejected_percent = 100;
    judge_by(w);
    pods(w, 4);
    report(w, 0, HEALTH_REPORT_ERROR, 5);
    report(w, 1, HEALTH_REPORT_ERROR, 5);
    assert_int_equal(picks_of(w, 0), 0); // half is enough
    report(w, 2, HEALTH_REPORT_ERROR, 5);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(picks_of(w, i), 15);
    }
    watch(w);
    assert_int_equal(w->event_count, 4); // three ejections, and the backend
    assert_int_equal(w->events[3].change, HEALTH_CHANGE_PANIC);
    assert_null(w->events[3].endpoint);
    w->config.panic_percent = 25;
    judge_by(w);
    watch(w);
    assert_int_equal(w->event_count, 1);
    assert_int_equal(w->events[0].change, HEALTH_CHANGE_CALM);
    assert_int_equal(picks_of(w, 3), 60);
}

// ---- siblings ----

struct window_row {
    unsigned ok;
    unsigned errors;
    uint64_t ttft_ms; // of each good one
    bool out;
};

// A window of each endpoint, errors spread so that they are never many in a row.
static void run_window(struct world *w, const struct window_row *rows, size_t count,
                       enum health_reason reason)
{
    watch(w); // whatever interval was going on ends
    pass_ms(w, w->config.interval_ms);
    for (size_t i = 0; i < count; i++) {
        for (unsigned n = 0, bad = 0; n < rows[i].ok + rows[i].errors; n++) {
            bool error = bad < rows[i].errors && bad <= n * rows[i].errors /
                                                           (rows[i].ok + rows[i].errors);
            bad += error;
            report(w, i, error ? HEALTH_REPORT_ERROR : HEALTH_REPORT_OK, 1);
            if (!error) {
                health_report_ttft(at(w, i), rows[i].ttft_ms);
            }
        }
    }
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(state_name(w, i), "ok");
    }
    pass_ms(w, w->config.interval_ms);
    for (size_t i = 0; i < count; i++) {
        bool out = strcmp(state_name(w, i), "ejected") == 0;
        if (out != rows[i].out) {
            fail_msg("endpoint %zu is %s", i, state_name(w, i));
        }
        if (out) {
            assert_int_equal(atomic_load(&at(w, i)->health.reason), reason);
        }
    }
}

static void who_errs_more_than_its_siblings_is_ejected(void **state)
{
    static const struct window_row windows[][4] = {
        {{70, 30, 1, true}, {100, 0, 1, false}, {100, 0, 1, false}, {99, 1, 1, false}},
        {{72, 28, 1, false}, {100, 0, 1, false}, {100, 0, 1, false}, {99, 1, 1, false}},
        // When all err, nobody is worse.
        {{60, 40, 1, false}, {60, 40, 1, false}, {60, 40, 1, false}, {62, 38, 1, false}},
        // Too few requests to say.
        {{10, 9, 1, false}, {100, 0, 1, false}, {100, 0, 1, false}, {100, 0, 1, false}},
    };
    struct world *w = *state;
    for (size_t i = 0; i < ARRAY_LEN(windows); i++) {
        pods(w, 0);
        pods(w, 4);
        run_window(w, windows[i], 4, HEALTH_REASON_ERROR_SHARE);
    }
}

static void of_two_the_erring_one_is_ejected(void **state)
{
    static const struct window_row window[] = {{50, 50, 1, true}, {100, 0, 1, false}};
    struct world *w = *state;
    pods(w, 2);
    run_window(w, window, 2, HEALTH_REASON_ERROR_SHARE);
}

static void who_is_much_slower_than_its_siblings_is_ejected(void **state)
{
    static const struct window_row windows[][4] = {
        {{30, 0, 5000, true}, {30, 0, 900, false}, {30, 0, 1000, false}, {30, 0, 1100, false}},
        {{30, 0, 4000, false}, {30, 0, 900, false}, {30, 0, 1000, false}, {30, 0, 1100, false}},
        // Many times nothing is little.
        {{30, 0, 900, false}, {30, 0, 10, false}, {30, 0, 10, false}, {30, 0, 10, false}},
        // One of two that count: who is slow, and who is lucky?
        {{30, 0, 9000, false}, {30, 0, 900, false}, {3, 0, 900, false}, {3, 0, 900, false}},
    };
    struct world *w = *state;
    for (size_t i = 0; i < ARRAY_LEN(windows); i++) {
        pods(w, 0);
        pods(w, 4);
        run_window(w, windows[i], 4, HEALTH_REASON_SLOW);
    }
}

static void few_requests_add_up_over_windows(void **state)
{
    struct world *w = *state;
    pods(w, 3);
    pass_ms(w, w->config.interval_ms);
    for (int window = 0; window < 4; window++) {
        assert_string_equal(state_name(w, 0), "ok");
        for (int n = 0; n < 5; n++) {
            report(w, 0, n % 2 == 0 ? HEALTH_REPORT_ERROR : HEALTH_REPORT_OK, 1);
            report(w, 1, HEALTH_REPORT_OK, 1);
            report(w, 2, HEALTH_REPORT_OK, 1);
        }
        pass_ms(w, w->config.interval_ms);
    }
    assert_string_equal(state_name(w, 0), "ejected");
}

// ---- leaving ----

static void a_server_that_says_that_it_goes_gets_nothing_more(void **state)
{
    struct world *w = *state;
    pods(w, 2);
    assert_false(health_is_leaving(at(w, 0), w->now_ms));
    report(w, 0, HEALTH_REPORT_LEAVING, 1);
    assert_int_equal(picks_of(w, 0), 0);
    assert_true(health_is_leaving(at(w, 0), w->now_ms));
    assert_string_equal(state_name(w, 0), "leaving");
    watch(w);
    assert_int_equal(w->event_count, 1);
    assert_int_equal(w->events[0].change, HEALTH_CHANGE_LEAVING);
    report(w, 1, HEALTH_REPORT_LEAVING, 1); // all go: no panic makes that better or worse
    assert_int_equal(picks_of(w, 0), 30);
    pass_ms(w, 30000); // it is still there: another one on the same address?
    assert_false(health_is_leaving(at(w, 0), w->now_ms));
    assert_string_equal(state_name(w, 0), "ok");
}

static void refused_connections_shorten_what_is_waited_for(void **state)
{
    struct world *w = *state;
    pods(w, 3);
    report(w, 0, HEALTH_REPORT_UNREACHED, 1);
    assert_false(health_is_leaving(at(w, 0), w->now_ms));
    report(w, 0, HEALTH_REPORT_REFUSED, 1);
    assert_true(health_is_leaving(at(w, 0), w->now_ms));
    assert_string_equal(state_name(w, 0), "refusing");
    pass_ms(w, 2000);
    assert_int_equal(picks_of(w, 0) > 0, 1); // it is avoided for a while, no longer
    assert_true(health_is_leaving(at(w, 0), w->now_ms));
}

static void a_terminating_endpoint_is_one_for_good(void **state)
{
    struct world *w = *state;
    struct endpoint_spec specs[2] = {{.weight = 1}, {.weight = 1}};
    assert_int_equal(endpoint_address_parse(SLICE("10.0.0.1"), 1, &specs[0]), 0);
    assert_int_equal(endpoint_address_parse(SLICE("10.0.0.2"), 1, &specs[1]), 0);
    assert_int_equal(backend_state_set_endpoints(w->backend, specs, 2), 0);
    struct endpoint *gone = at(w, 0);
    endpoint_ref(gone);
    assert_int_equal(backend_state_set_endpoints(w->backend, specs + 1, 1), 0);
    assert_false(health_is_leaving(gone, w->now_ms)); // perhaps only not ready
    backend_state_mark_terminating(w->backend, specs, 1);
    pass_ms(w, 1000000);
    assert_true(health_is_leaving(gone, w->now_ms));
    specs[1].terminating = true; // the last one goes too, and serves meanwhile
    assert_int_equal(backend_state_set_endpoints(w->backend, specs + 1, 1), 0);
    assert_true(health_is_leaving(at(w, 0), w->now_ms));
    watch(w);
    assert_int_equal(w->event_count, 0); // the control plane's news, not ours
    specs[1].terminating = false;
    assert_int_equal(backend_state_set_endpoints(w->backend, specs, 2), 0); // and back
    assert_false(health_is_leaving(at(w, 0), w->now_ms));
    assert_false(health_is_leaving(at(w, 1), w->now_ms));
    endpoint_unref(w->table, gone);
}

// ---- checks, slow start ----

static void failed_checks_keep_requests_away(void **state)
{
    struct world *w = *state;
    pods(w, 3);
    health_set_checked(at(w, 2), false, 0, w->now_ms);
    assert_int_equal(picks_of(w, 2), 0);
    watch(w);
    assert_int_equal(w->events[0].change, HEALTH_CHANGE_UNHEALTHY);
    health_set_checked(at(w, 1), false, 0, w->now_ms);
    watch(w);
    assert_int_equal(picks_of(w, 2), 20); // one of three is too few
    health_set_checked(at(w, 1), true, 0, w->now_ms);
    health_set_checked(at(w, 2), true, 0, w->now_ms);
    watch(w);
    assert_int_equal(picks_of(w, 2), 20);
}

static void a_warming_endpoint_gets_a_share_that_grows(void **state)
{
    static const enum pick_policy policies[] = {PICK_INFERENCE_AWARE, PICK_LEAST_REQUEST,
                                                PICK_ROUND_ROBIN, PICK_RANDOM};
    struct world *w = *state;
    pods(w, 4);
    for (size_t p = 0; p < ARRAY_LEN(policies); p++) {
        uint64_t began = w->now_ms;
        health_warm(at(w, 0), 100000, began);
        for (unsigned percent = 0; percent <= 100; percent += 25) {
            unsigned counts[PODS_MAX];
            w->now_ms = began + percent * 1000;
            pick_many(w, policies[p], 40000, counts);
            unsigned fair = 10000 * MAX_OF(percent, 10u) / 100;
            if (counts[0] < fair * 9 / 10 || counts[0] > fair * 11 / 10) {
                fail_msg("%s at %u %%: %u of 40000", pick_policy_name(policies[p]), percent,
                         counts[0]);
            }
        }
    }
}

// Requests stay here: what is there holds a warming endpoint back as well.
static void under_load_a_warming_endpoint_holds_its_share(void **state)
{
    static const enum pick_policy policies[] = {PICK_INFERENCE_AWARE, PICK_LEAST_REQUEST};
    struct world *w = *state;
    pods(w, 4);
    for (size_t p = 0; p < ARRAY_LEN(policies); p++) {
        struct reservation held[700] = {0};
        struct pick_request request = {.policy = policies[p], .prompt_bytes = 4000,
                                       .now_ms = w->now_ms, .rng = &w->rng};
        health_warm(at(w, 0), 100000, w->now_ms - 50000);
        for (size_t i = 0; i < ARRAY_LEN(held); i++) {
            assert_int_equal(pick_endpoint(w->backend, &request, true, &held[i], NULL), 0);
        }
        uint32_t there = load_requests(atomic_load(&at(w, 0)->load));
        for (size_t i = 0; i < ARRAY_LEN(held); i++) {
            reservation_release(&held[i]);
        }
        assert_in_range(there, 90, 110); // half of what the three others have
    }
}

static void fresh_beside_others_warms_up(void **state)
{
    struct world *w = *state;
    w->config.slow_start_ms = 60000;
    judge_by(w);
    pods(w, 2);
    uint64_t real = at(w, 0)->added_ms; // sets are changed at the real time
    assert_string_equal(health_state_name(at(w, 0), real), "ok"); // all are: a start, no joining
    pods(w, 3);
    assert_string_equal(health_state_name(at(w, 0), real), "ok");
    assert_string_equal(health_state_name(at(w, 2), real), "warming");
    // So does one that returns from an ejection.
    report(w, 0, HEALTH_REPORT_ERROR, 5);
    pass_ms(w, 30000);
    assert_string_equal(state_name(w, 0), "warming");
    pass_ms(w, 60000);
    assert_string_equal(state_name(w, 0), "ok");
    assert_int_equal(atomic_load(&at(w, 0)->health_flags), 0);
}

static void who_comes_back_starts_with_a_clean_slate(void **state)
{
    struct world *w = *state;
    pods(w, 3);
    struct endpoint *last = at(w, 2);
    endpoint_ref(last);
    report(w, 2, HEALTH_REPORT_ERROR, 5);
    health_set_checked(last, false, 0, w->now_ms);
    pods(w, 2);
    pods(w, 3);
    assert_ptr_equal(at(w, 2), last);
    assert_string_equal(state_name(w, 2), "ok");
    endpoint_unref(w->table, last);
}

static void picks_say_why_an_endpoint_is_left_out(void **state)
{
    struct world *w = *state;
    w->config.max_ejected_percent = 100;
    w->config.panic_percent = 0;
    judge_by(w);
    pods(w, 5);
    report(w, 1, HEALTH_REPORT_ERROR, 5);
    health_set_checked(at(w, 2), false, 0, w->now_ms);
    report(w, 3, HEALTH_REPORT_LEAVING, 1);
    report(w, 4, HEALTH_REPORT_OVERLOADED, 1);
    struct pick_request request = {.prompt_bytes = 4000, .now_ms = w->now_ms, .rng = &w->rng};
    struct pick_trace trace;
    assert_int_equal(pick_preview(w->backend, &request, &trace), 0);
    static const enum pick_skip expected[] = {PICK_SKIP_NONE, PICK_SKIP_OVERLOADED,
                                              PICK_SKIP_EJECTED, PICK_SKIP_UNHEALTHY,
                                              PICK_SKIP_LEAVING};
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        assert_int_equal(trace.candidates[i].skip, expected[i]);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, world_up, world_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(errors_in_a_row_eject),
        CASE(a_success_in_between_starts_the_count_anew),
        CASE(an_ejected_endpoint_gets_nothing_and_returns),
        CASE(ejections_grow_are_capped_and_are_forgotten),
        CASE(an_ejection_right_after_another_is_told_too),
        CASE(never_more_than_a_share_is_ejected),
        CASE(many_reporters_keep_to_the_share),
        CASE(too_few_left_and_all_are_used),
        CASE(who_errs_more_than_its_siblings_is_ejected),
        CASE(of_two_the_erring_one_is_ejected),
        CASE(who_is_much_slower_than_its_siblings_is_ejected),
        CASE(few_requests_add_up_over_windows),
        CASE(a_server_that_says_that_it_goes_gets_nothing_more),
        CASE(refused_connections_shorten_what_is_waited_for),
        CASE(a_terminating_endpoint_is_one_for_good),
        CASE(failed_checks_keep_requests_away),
        CASE(a_warming_endpoint_gets_a_share_that_grows),
        CASE(under_load_a_warming_endpoint_holds_its_share),
        CASE(fresh_beside_others_warms_up),
        CASE(who_comes_back_starts_with_a_clean_slate),
        CASE(picks_say_why_an_endpoint_is_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
