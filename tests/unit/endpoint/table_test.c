#include "endpoint/endpoint.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "endpoint/pick.h"

struct world {
    struct epoch *epoch;
    struct epoch_reader *reader;
    struct endpoint_table *table;
    struct backend_state *backend;
    struct rand_state rng;
};

static int world_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    assert_int_equal(posix_memalign((void **)&w->epoch, CACHE_LINE, sizeof(*w->epoch)), 0);
    epoch_init(w->epoch);
    assert_int_equal(epoch_add_reader(w->epoch, &w->reader), 0);
    assert_int_equal(endpoint_table_new(&w->table, w->epoch), 0);
    w->backend = endpoint_table_backend(w->table, SLICE("ml/llama"));
    assert_non_null(w->backend);
    w->rng.state = 1;
    *state = w;
    return 0;
}

static int world_down(void **state)
{
    struct world *w = *state;
    endpoint_table_free(w->table);
    epoch_fini(w->epoch);
    free(w->epoch);
    free(w);
    return 0;
}

static struct endpoint_spec spec(const char *ip, uint16_t port, const char *pod)
{
    struct endpoint_spec s = {.pod = slice_of_str(pod), .weight = 1};
    assert_int_equal(endpoint_address_parse(slice_of_str(ip), port, &s), 0);
    return s;
}

static void set_endpoints(struct world *w, const struct endpoint_spec *specs, size_t count)
{
    assert_int_equal(backend_state_set_endpoints(w->backend, specs, count), 0);
}

static struct endpoint *at(struct world *w, size_t i)
{
    return backend_state_endpoints(w->backend)->items[i];
}

static uint32_t alive(struct world *w)
{
    return atomic_load(&w->table->endpoint_count);
}

static struct reservation pick(struct world *w)
{
    struct reservation r = {0};
    struct pick_request request = {.prompt_bytes = 400, .now_ms = 1000, .rng = &w->rng};
    assert_int_equal(pick_endpoint(w->backend, &request, false, &r, NULL), 0);
    return r;
}

static void addresses_are_parsed_and_shown(void **state)
{
    (void)state;
    struct world *w = *state;
    struct endpoint_spec specs[] = {spec("10.0.0.1", 8000, "a"), spec("fd00::1", 80, "b")};
    set_endpoints(w, specs, 2);
    assert_string_equal(at(w, 0)->text, "10.0.0.1:8000");
    assert_string_equal(at(w, 1)->text, "[fd00::1]:80");
    assert_string_equal(at(w, 1)->pod, "b");

    static const char *const bad[] = {"", "localhost", "10.0.0", "10.0.0.1 ", "fd00::1%eth0", "1:2",
                                      "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct endpoint_spec s = {.weight = 7};
        assert_int_equal(endpoint_address_parse(slice_of_str(bad[i]), 80, &s), -EINVAL);
        assert_int_equal(s.address_len, 0);
    }
    struct endpoint_spec s = {.weight = 7};
    assert_int_equal(endpoint_address_parse(SLICE("10.0.0.1"), 0, &s), -EINVAL);
    assert_int_equal(endpoint_address_parse(SLICE("10.0.0.1\0x"), 1, &s), -EINVAL);
}

static void an_endpoint_that_stays_keeps_its_state(void **state)
{
    struct world *w = *state;
    struct endpoint_spec specs[] = {spec("10.0.0.1", 1, "a"), spec("10.0.0.2", 1, "b"),
                                    spec("10.0.0.1", 1, "twice")};
    set_endpoints(w, specs, 3);
    assert_int_equal(backend_state_endpoints(w->backend)->count, 2);
    struct endpoint *a = at(w, 0);
    uint64_t version = atomic_load(&w->table->version);

    specs[1] = spec("10.0.0.3", 1, "c");
    specs[0].weight = 5;
    set_endpoints(w, specs, 2);
    assert_ptr_equal(at(w, 0), a);
    assert_int_equal(atomic_load(&a->weight), 5);
    assert_false(atomic_load(&a->removed));
    assert_true(atomic_load(&w->table->version) > version);
    endpoint_table_collect(w->table);
    assert_int_equal(alive(w), 2);
}

static void another_pod_at_the_same_address_is_another_endpoint(void **state)
{
    struct world *w = *state;
    struct endpoint_spec s = spec("10.0.0.1", 1, "old");
    set_endpoints(w, &s, 1);
    struct endpoint *old = at(w, 0);
    s = spec("10.0.0.1", 1, "new");
    set_endpoints(w, &s, 1);
    assert_ptr_not_equal(at(w, 0), old);
    assert_true(atomic_load(&old->removed));
    assert_int_not_equal(old->id, at(w, 0)->id);
}

static void what_is_held_lives_on_and_what_is_not_goes(void **state)
{
    struct world *w = *state;
    struct endpoint_spec s = spec("10.0.0.1", 1, "a");
    set_endpoints(w, &s, 1);
    struct endpoint *a = at(w, 0);
    struct reservation r = pick(w);
    endpoint_ref(a);
    set_endpoints(w, NULL, 0);
    assert_true(atomic_load(&a->removed));

    endpoint_table_collect(w->table);
    assert_int_equal(alive(w), 1);
    reservation_release(&r);
    endpoint_table_collect(w->table);
    assert_int_equal(alive(w), 1); // the reference
    endpoint_unref(w->table, a);
    endpoint_table_collect(w->table);
    assert_int_equal(alive(w), 0);
}

static void a_worker_in_its_turn_keeps_the_old_set(void **state)
{
    struct world *w = *state;
    struct endpoint_spec s = spec("10.0.0.1", 1, "a");
    set_endpoints(w, &s, 1);
    epoch_enter(w->epoch, w->reader);
    struct endpoint_set *seen = backend_state_endpoints(w->backend);
    set_endpoints(w, NULL, 0);
    endpoint_table_collect(w->table);
    assert_int_equal(alive(w), 1);
    assert_string_equal(seen->items[0]->text, "10.0.0.1:1");
    epoch_leave(w->reader);
    endpoint_table_collect(w->table);
    assert_int_equal(alive(w), 0);
}

static void an_endpoint_that_returns_in_time_has_its_books(void **state)
{
    struct world *w = *state;
    struct endpoint_spec s = spec("10.0.0.1", 1, "a");
    set_endpoints(w, &s, 1);
    struct endpoint *a = at(w, 0);
    struct reservation r = pick(w);
    epoch_enter(w->epoch, w->reader);
    endpoint_report_failure(a, 1000);
    for (int i = 0; i < 3; i++) {
        set_endpoints(w, NULL, 0);
        endpoint_table_collect(w->table);
        set_endpoints(w, &s, 1);
        assert_ptr_equal(at(w, 0), a);
        assert_false(atomic_load(&a->removed));
    }
    assert_int_equal(load_requests(atomic_load(&a->load)), 1);
    assert_int_equal(atomic_load(&a->failures_in_row), 0);
    epoch_leave(w->reader);
    reservation_release(&r);
    endpoint_table_collect(w->table);
    assert_int_equal(alive(w), 1);
    set_endpoints(w, NULL, 0);
    endpoint_table_collect(w->table);
    assert_int_equal(alive(w), 0);
}

static void ids_are_reused_only_after_the_end(void **state)
{
    struct world *w = *state;
    struct endpoint_spec s = spec("10.0.0.1", 1, "a");
    set_endpoints(w, &s, 1);
    struct endpoint *a = at(w, 0);
    uint32_t id = a->id;
    endpoint_ref(a);
    s = spec("10.0.0.2", 1, "b");
    set_endpoints(w, &s, 1);
    endpoint_table_collect(w->table);
    assert_int_not_equal(at(w, 0)->id, id);
    endpoint_unref(w->table, a);
    endpoint_table_collect(w->table);
    struct endpoint_spec both[] = {s, spec("10.0.0.3", 1, "c")};
    set_endpoints(w, both, 2);
    assert_int_equal(at(w, 1)->id, id);
    // Many: every id is unique among the living.
    struct endpoint_spec many[300];
    for (uint16_t i = 0; i < ARRAY_LEN(many); i++) {
        many[i] = spec("10.1.0.1", (uint16_t)(i + 1), "m");
    }
    set_endpoints(w, many, ARRAY_LEN(many));
    bool seen[400] = {false};
    for (size_t i = 0; i < ARRAY_LEN(many); i++) {
        assert_true(at(w, i)->id < 400);
        assert_false(seen[at(w, i)->id]);
        seen[at(w, i)->id] = true;
    }
}

static void a_backend_goes_with_its_last_reference(void **state)
{
    struct world *w = *state;
    struct endpoint_spec s = spec("10.0.0.1", 1, "a");
    set_endpoints(w, &s, 1);
    struct endpoint *a = at(w, 0);
    endpoint_ref(a);
    assert_ptr_equal(endpoint_table_backend(w->table, SLICE("ml/llama")), w->backend);
    backend_state_unref(w->backend);
    endpoint_table_collect(w->table);
    assert_int_equal(w->table->backends.len, 1);
    backend_state_unref(w->backend);
    endpoint_table_collect(w->table);
    assert_int_equal(w->table->backends.len, 0);
    assert_true(atomic_load(&a->removed));
    assert_int_equal(alive(w), 1);
    endpoint_unref(w->table, a);
    endpoint_table_collect(w->table);
    assert_int_equal(alive(w), 0);
    w->backend = endpoint_table_backend(w->table, SLICE("ml/llama"));
    assert_int_equal(backend_state_endpoints(w->backend)->count, 0);
}

static void a_configuration_counts_as_a_change_only_when_it_is_one(void **state)
{
    struct world *w = *state;
    struct scrape_config config = {.interval_ms = 100, .stale_after_ms = 1000};
    backend_state_configure(w->backend, &config);
    uint64_t version = atomic_load(&w->table->version);
    backend_state_configure(w->backend, &config);
    assert_int_equal(atomic_load(&w->table->version), version);
    config.engine = ENGINE_SGLANG;
    backend_state_configure(w->backend, &config);
    assert_int_not_equal(atomic_load(&w->table->version), version);
}

static void others_load_is_what_the_engine_has_beyond_ours(void **state)
{
    struct world *w = *state;
    struct endpoint_spec s = spec("10.0.0.1", 1, "a");
    set_endpoints(w, &s, 1);
    struct endpoint_sample sample;
    endpoint_sample_read(at(w, 0), &sample);
    assert_int_equal(sample.taken_ms, 0);

    endpoint_sample_write(at(w, 0), 6, 4, 0.5, 1000, 5, 77, 1234);
    endpoint_sample_read(at(w, 0), &sample);
    assert_float_equal(sample.others_requests, 5, 1e-9);
    assert_float_equal(sample.others_waiting, 3, 1e-9); // in proportion
    assert_int_equal(sample.tokens_reserved, 77);
    assert_int_equal(sample.taken_ms, 1234);

    // Fewer than ours (the engine counts late): nobody else, not a negative load.
    endpoint_sample_write(at(w, 0), 1, 1, NAN, NAN, 5, 78, 1240);
    endpoint_sample_read(at(w, 0), &sample);
    assert_float_equal(sample.others_requests, 0, 1e-9);
    assert_float_equal(sample.kv_utilisation, 0.5, 1e-9);
    assert_float_equal(sample.kv_capacity_tokens, 1000, 1e-9);

    // Without the running ones (a response header): the queue beyond ours is of others.
    endpoint_sample_write(at(w, 0), 12, NAN, 0.5, NAN, 5, 78, 1245);
    endpoint_sample_read(at(w, 0), &sample);
    assert_float_equal(sample.others_waiting, 7, 1e-9);
    endpoint_sample_write(at(w, 0), 1, 1, 0.5, NAN, 5, 78, 1246);

    // Absurd sums stay numbers that can be compared.
    endpoint_sample_write(at(w, 0), 1e308, 1e308, 0.5, 1e308, 5, 78, 1247);
    endpoint_sample_read(at(w, 0), &sample);
    assert_true(isfinite(sample.others_requests) && sample.others_requests > 1e6);
    assert_true(isfinite(sample.others_waiting) && sample.others_waiting > 1e6);
    assert_true(isfinite(sample.digest.load_prompts) && isfinite(sample.digest.kv_free_tokens));
    endpoint_sample_write(at(w, 0), 1, 1, 0.5, 1000, 5, 78, 1248);

    // Nonsense is not believed.
    endpoint_sample_write(at(w, 0), -3, INFINITY, -1, -5, 0, 79, 1250);
    endpoint_sample_read(at(w, 0), &sample);
    assert_float_equal(sample.waiting, 1, 1e-9);
    assert_float_equal(sample.running, 1, 1e-9);
    assert_float_equal(sample.kv_utilisation, -1, 1e-9);
}

static void samples_fade_with_age(void **state)
{
    struct world *w = *state;
    struct scrape_config config = {.interval_ms = 200, .stale_after_ms = 2000};
    backend_state_configure(w->backend, &config);
    assert_float_equal(backend_state_sample_share(w->backend, 0, 5000), 0, 1e-9);
    assert_float_equal(backend_state_sample_share(w->backend, 5000, 5000), 1, 1e-9);
    assert_float_equal(backend_state_sample_share(w->backend, 5000, 4990), 1, 1e-9);
    assert_float_equal(backend_state_sample_share(w->backend, 5000, 5400), 1, 1e-9);
    assert_float_equal(backend_state_sample_share(w->backend, 5000, 6200), 0.5, 1e-9);
    assert_float_equal(backend_state_sample_share(w->backend, 5000, 7000), 0, 1e-9);
    // An interval beyond the staleness leaves room to fade all the same.
    config.interval_ms = 60000;
    backend_state_configure(w->backend, &config);
    assert_float_equal(backend_state_sample_share(w->backend, 5000, 6500), 1, 1e-9);
    assert_float_equal(backend_state_sample_share(w->backend, 5000, 6750), 0.5, 1e-9);
}

static void the_token_ratio_is_learnt_and_absurd_values_are_not(void **state)
{
    struct world *w = *state;
    assert_int_equal(backend_state_estimate_tokens(w->backend, 4000), 1000);
    for (int i = 0; i < 200; i++) {
        backend_state_learn_tokens(w->backend, 3000, 1000);
    }
    assert_in_range(backend_state_estimate_tokens(w->backend, 3000), 985, 1000);
    uint64_t before = backend_state_estimate_tokens(w->backend, 3000);
    backend_state_learn_tokens(w->backend, 3000, 0);
    backend_state_learn_tokens(w->backend, 0, 1000);
    backend_state_learn_tokens(w->backend, UINT64_MAX, 1000);
    backend_state_learn_tokens(w->backend, 3000, UINT64_MAX);
    backend_state_learn_tokens(w->backend, 9, 3); // the template, not the text
    assert_int_equal(backend_state_estimate_tokens(w->backend, 3000), before);
    assert_int_equal(backend_state_estimate_tokens(w->backend, 0), 1);
    assert_int_equal(backend_state_estimate_tokens(w->backend, UINT64_MAX), ENDPOINT_TOKENS_MAX);
}

static void failures_are_avoided_longer_each_time_and_a_burst_counts_once(void **state)
{
    struct world *w = *state;
    struct endpoint_spec s = spec("10.0.0.1", 1, "a");
    set_endpoints(w, &s, 1);
    struct endpoint *a = at(w, 0);
    for (int i = 0; i < 20; i++) {
        endpoint_report_failure(a, 10000);
    }
    assert_int_equal(atomic_load(&a->failures), 20);
    assert_int_equal(atomic_load(&a->avoid_until_ms), 11000);
    uint64_t now = 11000, waits[8];
    for (size_t i = 0; i < ARRAY_LEN(waits); i++) {
        endpoint_report_failure(a, now);
        waits[i] = atomic_load(&a->avoid_until_ms) - now;
        now += waits[i];
    }
    assert_int_equal(waits[0], 2000);
    assert_int_equal(waits[1], 4000);
    assert_int_equal(waits[7], 30000);
    endpoint_report_success(a);
    assert_int_equal(atomic_load(&a->avoid_until_ms), 0);
    endpoint_report_failure(a, now);
    assert_int_equal(atomic_load(&a->avoid_until_ms), now + 1000);

    endpoint_report_overloaded(a, 5000);
    endpoint_report_overloaded(a, 5001);
    assert_int_equal(atomic_load(&a->overloaded_until_ms), 5250);
    endpoint_report_overloaded(a, 5300);
    assert_int_equal(atomic_load(&a->overloaded_until_ms), 5800);
}

struct churn {
    struct world *w;
    struct epoch_reader *reader;
    uint64_t seed;
    _Atomic bool *stop;
    _Atomic uint64_t *picked;
};

// A worker: picks, holds some for a while, and some by a reference beyond the reservation.
static void *churn_run(void *arg)
{
    struct churn *churn = arg;
    struct world *w = churn->w;
    struct rand_state rng = {.state = churn->seed};
    struct reservation held[16] = {0};
    struct endpoint *kept = NULL;
    while (!atomic_load(churn->stop)) {
        size_t slot = rand_below(&rng, ARRAY_LEN(held));
        if (rand_below(&rng, 2) == 0) {
            reservation_first_token(&held[slot]);
        }
        reservation_release(&held[slot]);
        epoch_enter(w->epoch, churn->reader);
        struct pick_request request = {
            .policy = (enum pick_policy)rand_below(&rng, 4),
            .prompt_bytes = 4000,
            .now_ms = 1000,
            .rng = &rng,
        };
        if (pick_endpoint(w->backend, &request, true, &held[slot], NULL) == 0) {
            atomic_fetch_add(churn->picked, held[slot].endpoint->text[0] == '1');
            if (rand_below(&rng, 8) == 0) {
                endpoint_unref(w->table, kept);
                kept = held[slot].endpoint;
                endpoint_ref(kept);
            }
        }
        epoch_leave(churn->reader);
        if (kept != NULL && rand_below(&rng, 4) == 0) {
            endpoint_report_failure(kept, 1000);
            endpoint_report_success(kept);
            endpoint_sample_write(kept, 1, 2, 0.5, 1000, 1, 0, 1000);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(held); i++) {
        reservation_release(&held[i]);
    }
    endpoint_unref(w->table, kept);
    return NULL;
}

static void sets_change_under_workers(void **state)
{
    enum { WORKERS = 3, ROUNDS = 3000, ADDRESSES = 6 };
    struct world *w = *state;
    struct rand_state rng = {.state = 9};
    _Atomic bool stop = false;
    _Atomic uint64_t picked = 0;
    pthread_t threads[WORKERS];
    struct churn churns[WORKERS];
    for (size_t i = 0; i < WORKERS; i++) {
        churns[i] = (struct churn){.w = w, .seed = i, .stop = &stop, .picked = &picked};
        assert_int_equal(epoch_add_reader(w->epoch, &churns[i].reader), 0);
        assert_int_equal(pthread_create(&threads[i], NULL, churn_run, &churns[i]), 0);
    }
    static const char *const pods[] = {"a", "b", ""};
    for (int round = 0; round < ROUNDS || atomic_load(&picked) < 10000; round++) {
        struct endpoint_spec specs[ADDRESSES];
        size_t count = rand_below(&rng, ADDRESSES + 1);
        for (size_t i = 0; i < count; i++) {
            specs[i] = spec("10.0.0.1", (uint16_t)(1 + rand_below(&rng, ADDRESSES)),
                            pods[rand_below(&rng, ARRAY_LEN(pods))]);
        }
        set_endpoints(w, specs, count);
        if (rand_below(&rng, 3) == 0) {
            endpoint_table_collect(w->table);
        }
    }
    atomic_store(&stop, true);
    for (size_t i = 0; i < WORKERS; i++) {
        pthread_join(threads[i], NULL);
    }
    endpoint_table_collect(w->table);
    const struct endpoint_set *set = backend_state_endpoints(w->backend);
    assert_int_equal(alive(w), set->count);
    for (size_t i = 0; i < set->count; i++) {
        assert_int_equal(atomic_load(&set->items[i]->load), 0);
    }
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, world_up, world_down)
    const struct CMUnitTest tests[] = {
        CASE(addresses_are_parsed_and_shown),
        CASE(an_endpoint_that_stays_keeps_its_state),
        CASE(another_pod_at_the_same_address_is_another_endpoint),
        CASE(what_is_held_lives_on_and_what_is_not_goes),
        CASE(a_worker_in_its_turn_keeps_the_old_set),
        CASE(an_endpoint_that_returns_in_time_has_its_books),
        CASE(ids_are_reused_only_after_the_end),
        CASE(a_backend_goes_with_its_last_reference),
        CASE(a_configuration_counts_as_a_change_only_when_it_is_one),
        CASE(others_load_is_what_the_engine_has_beyond_ours),
        CASE(samples_fade_with_age),
        CASE(the_token_ratio_is_learnt_and_absurd_values_are_not),
        CASE(sets_change_under_workers),
        CASE(failures_are_avoided_longer_each_time_and_a_burst_counts_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
