#include "endpoint/pick.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NOW UINT64_C(100000)

struct world {
    struct epoch *epoch;
    struct endpoint_table *table;
    struct backend_state *backend;
    struct rand_state rng;
    struct pick_request request;
};

static int world_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    assert_int_equal(posix_memalign((void **)&w->epoch, CACHE_LINE, sizeof(*w->epoch)), 0);
    epoch_init(w->epoch);
    assert_int_equal(endpoint_table_new(&w->table, w->epoch), 0);
    w->backend = endpoint_table_backend(w->table, SLICE("ml/llama"));
    assert_non_null(w->backend);
    struct scrape_config config = {.interval_ms = 200, .stale_after_ms = 2000};
    backend_state_configure(w->backend, &config);
    w->rng.state = 42;
    w->request = (struct pick_request){.prompt_bytes = 4000, .now_ms = NOW, .rng = &w->rng};
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

static void pods_weighted(struct world *w, size_t count, const uint32_t *weights)
{
    struct endpoint_spec specs[128] = {0};
    for (size_t i = 0; i < count; i++) {
        specs[i].weight = weights != NULL ? weights[i] : 1;
        assert_int_equal(endpoint_address_parse(SLICE("10.0.0.1"), (uint16_t)(i + 1), &specs[i]),
                         0);
    }
    assert_int_equal(backend_state_set_endpoints(w->backend, specs, count), 0);
}

static void pods(struct world *w, size_t count)
{
    pods_weighted(w, count, NULL);
}

static struct endpoint *at(struct world *w, size_t i)
{
    return backend_state_endpoints(w->backend)->items[i];
}

static uint32_t requests_at(struct world *w, size_t i)
{
    return load_requests(atomic_load(&at(w, i)->load));
}

static struct reservation pick(struct world *w)
{
    struct reservation r = {0};
    assert_int_equal(pick_endpoint(w->backend, &w->request, true, &r, NULL), 0);
    return r;
}

// How many of n picks (each kept) go to each endpoint; counts[i] for endpoint i.
static void pick_many(struct world *w, size_t n, uint32_t *counts, size_t count)
{
    struct reservation *all = calloc(n, sizeof(*all));
    for (size_t i = 0; i < n; i++) {
        all[i] = pick(w);
    }
    for (size_t i = 0; i < count; i++) {
        counts[i] = requests_at(w, i);
    }
    for (size_t i = 0; i < n; i++) {
        reservation_release(&all[i]);
    }
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(atomic_load(&at(w, i)->load), 0);
    }
    free(all);
}

// What the scrape says about everybody's load on endpoint i, just now.
static void sample(struct world *w, size_t i, double waiting, double running, double kv,
                   double capacity)
{
    struct endpoint *e = at(w, i);
    endpoint_sample_write(e, waiting, running, kv, capacity,
                          load_requests(atomic_load(&e->load)), atomic_load(&e->tokens_reserved),
                          NOW);
}

static void no_endpoint_is_an_error(void **state)
{
    struct world *w = *state;
    struct reservation r = {0};
    assert_int_equal(pick_endpoint(w->backend, &w->request, true, &r, NULL), -ENOENT);
    assert_null(r.endpoint);
    reservation_first_token(&r);
    reservation_release(&r);
}

static void the_books_are_exact_and_return_to_zero(void **state)
{
    struct world *w = *state;
    pods(w, 1);
    struct reservation a = pick(w), b = pick(w);
    uint64_t load = atomic_load(&at(w, 0)->load);
    assert_int_equal(load_requests(load), 2);
    assert_int_equal(load_tokens(load), 2000);
    reservation_first_token(&a);
    reservation_first_token(&a);
    load = atomic_load(&at(w, 0)->load);
    assert_int_equal(load_requests(load), 2);
    assert_int_equal(load_tokens(load), 1000);
    reservation_release(&b); // aborted before its first token
    reservation_release(&b);
    reservation_release(&a);
    reservation_first_token(&a);
    assert_int_equal(atomic_load(&at(w, 0)->load), 0);
    assert_int_equal(atomic_load(&at(w, 0)->picks), 2);
}

static void a_burst_spreads_evenly(void **state)
{
    struct world *w = *state;
    uint32_t counts[8];
    pods(w, 4);
    for (int round = 0; round < 50; round++) {
        pick_many(w, 28, counts, 4);
        for (size_t i = 0; i < 4; i++) {
            assert_int_equal(counts[i], 7);
        }
    }
    pods(w, 8);
    uint32_t extra[8] = {0};
    for (int round = 0; round < 50; round++) {
        pick_many(w, 28, counts, 8);
        for (size_t i = 0; i < 8; i++) {
            assert_in_range(counts[i], 3, 4);
            extra[i] += counts[i] - 3;
        }
    }
    for (size_t i = 0; i < 8; i++) {
        assert_in_range(extra[i], 10, 40); // who gets one more is left to chance
    }
}

// Another worker's pick, in the middle of ours: between our look at the endpoints and our entry in
// the books.
struct intrusion {
    struct world *w;
    struct reservation taken;
};

static uint64_t intrude(const struct endpoint *endpoint, void *arg)
{
    struct intrusion *intrusion = arg;
    struct world *w = intrusion->w;
    if (endpoint == at(w, 1) && intrusion->taken.endpoint == NULL) {
        struct pick_request request = w->request;
        request.cached_tokens = NULL;
        assert_int_equal(
            pick_endpoint(w->backend, &request, true, &intrusion->taken, NULL), 0);
    }
    return 0;
}

static void who_looks_at_old_books_looks_again(void **state)
{
    struct world *w = *state;
    pods(w, 2);
    w->request.policy = PICK_LEAST_REQUEST;
    for (int round = 0; round < 20; round++) {
        struct intrusion intrusion = {.w = w};
        w->request.cached_tokens = NULL;
        struct reservation first = pick(w); // one of two has a request: the other one is next
        w->request.cached_tokens = intrude;
        w->request.cached_arg = &intrusion;
        struct reservation ours = pick(w);
        assert_ptr_not_equal(intrusion.taken.endpoint, first.endpoint);
        struct reservation last = pick(w); // one on each now, and one more on either
        assert_int_equal(requests_at(w, 0), 2);
        assert_int_equal(requests_at(w, 1), 2);
        reservation_release(&first);
        reservation_release(&ours);
        reservation_release(&last);
        reservation_release(&intrusion.taken);
    }
    // When both have the same, the intruder's choice is not ours.
    unsigned same = 0;
    for (int round = 0; round < 200; round++) {
        struct intrusion intrusion = {.w = w};
        w->request.cached_arg = &intrusion;
        struct reservation ours = pick(w);
        same += ours.endpoint == intrusion.taken.endpoint;
        reservation_release(&ours);
        reservation_release(&intrusion.taken);
    }
    assert_int_equal(same, 0);
}

enum { THREADS = 4, ROUNDS = 100, BURST = 280, SHARE = BURST / 4 }; // pods and threads: four each

struct burst {
    struct world *w;
    pthread_barrier_t *barrier;
    uint64_t seed;
    bool even;
};

static void *burst_run(void *arg)
{
    struct burst *burst = arg;
    struct world *w = burst->w;
    struct rand_state rng = {.state = burst->seed};
    struct pick_request request = {.prompt_bytes = 4000, .now_ms = NOW, .rng = &rng};
    struct reservation mine[BURST / THREADS];
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(burst->barrier);
        for (size_t i = 0; i < ARRAY_LEN(mine); i++) {
            if (pick_endpoint(w->backend, &request, false, &mine[i], NULL) != 0) {
                burst->even = false;
            }
        }
        pthread_barrier_wait(burst->barrier);
        for (size_t i = 0; i < 4; i++) {
            burst->even = burst->even && requests_at(w, i) == SHARE;
        }
        pthread_barrier_wait(burst->barrier);
        for (size_t i = 0; i < ARRAY_LEN(mine); i++) {
            reservation_release(&mine[i]);
        }
    }
    return NULL;
}

static void a_burst_from_four_threads_spreads_evenly(void **state)
{
    struct world *w = *state;
    pods(w, 4);
    pthread_t threads[THREADS];
    struct burst bursts[THREADS];
    pthread_barrier_t barrier;
    assert_int_equal(pthread_barrier_init(&barrier, NULL, THREADS), 0);
    for (size_t i = 0; i < THREADS; i++) {
        bursts[i] = (struct burst){.w = w, .barrier = &barrier, .seed = i, .even = true};
        assert_int_equal(pthread_create(&threads[i], NULL, burst_run, &bursts[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_true(bursts[i].even);
    }
    pthread_barrier_destroy(&barrier);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(atomic_load(&at(w, i)->load), 0);
        assert_int_equal(atomic_load(&at(w, i)->picks), ROUNDS * SHARE);
        assert_int_equal(atomic_load(&at(w, i)->tokens_reserved), ROUNDS * SHARE * 1000);
    }
}

static void pending_prompt_tokens_decide(void **state)
{
    struct world *w = *state;
    pods(w, 2);
    w->request.prompt_bytes = 40000;
    struct reservation big = pick(w);
    w->request.prompt_bytes = 400;
    // Many small ones fit beside one big one.
    for (int i = 0; i < 20; i++) {
        struct reservation r = pick(w);
        assert_ptr_not_equal(r.endpoint, big.endpoint);
    }
    reservation_first_token(&big); // prefilled: now it is the lighter one
    struct reservation r = pick(w);
    assert_ptr_equal(r.endpoint, big.endpoint);
}

static void requests_that_decode_are_spread_too(void **state)
{
    struct world *w = *state;
    pods(w, 4);
    for (int i = 0; i < 40; i++) {
        struct reservation r = pick(w);
        reservation_first_token(&r);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(requests_at(w, i), 10);
    }
}

static uint64_t cached_on(const struct endpoint *endpoint, void *arg)
{
    return endpoint == arg ? 900 : 0;
}

static void cached_tokens_count_through_the_seam(void **state)
{
    struct world *w = *state;
    pods(w, 4);
    w->request.cached_tokens = cached_on;
    w->request.cached_arg = at(w, 2);
    struct reservation r = pick(w);
    assert_ptr_equal(r.endpoint, at(w, 2));
    assert_int_equal(r.tokens, 100);
    // The cached prefix is worth a wait, but not any wait.
    uint32_t there = 1;
    for (int i = 0; i < 100; i++) {
        there += pick(w).endpoint == at(w, 2);
    }
    assert_in_range(there, 30, 90);
}

static void load_of_others_is_seen_by_scraping_and_fades(void **state)
{
    struct world *w = *state;
    uint32_t counts[4];
    pods(w, 4);
    for (size_t i = 0; i < 4; i++) {
        sample(w, i, i == 1 ? 50 : 0, i == 1 ? 30 : 0, 0.5, 1e6);
    }
    pick_many(w, 60, counts, 4);
    assert_int_equal(counts[1], 0);
    w->request.now_ms = NOW + 1900; // nearly stale
    pick_many(w, 60, counts, 4);
    assert_in_range(counts[1], 1, 14);
    w->request.now_ms = NOW + 2000; // stale: our own books only
    pick_many(w, 60, counts, 4);
    assert_int_equal(counts[1], 15);
}

static void our_own_load_is_not_counted_twice(void **state)
{
    struct world *w = *state;
    pods(w, 2);
    struct reservation mine[40];
    for (size_t i = 0; i < ARRAY_LEN(mine); i++) {
        mine[i] = pick(w);
    }
    sample(w, 0, 10, 10, 0.1, 1e6); // 20 there, all ours
    uint32_t more[2] = {0};
    for (int i = 0; i < 20; i++) {
        more[pick(w).endpoint == at(w, 1)]++;
    }
    assert_int_equal(more[0], 10);
    assert_int_equal(more[1], 10);
}

static void a_full_kv_cache_is_avoided(void **state)
{
    struct world *w = *state;
    uint32_t counts[4];
    pods(w, 4);
    // 1,000 tokens a prompt; 100,000 tokens capacity: 2,500 are free at .975
    sample(w, 0, 0, 0, 0.975, 100000);
    sample(w, 1, 0, 0, 0.2, 100000);
    sample(w, 2, 0, 0, 0.97, 0); // capacity unknown
    sample(w, 3, 0, 0, -1, 0);   // an engine that says nothing
    pick_many(w, 100, counts, 4);
    assert_int_equal(counts[2], 0);
    assert_in_range(counts[0], 0, 2);
    assert_in_range(counts[1], 49, 51);

    w->request.prompt_bytes = 12000; // 3,000 tokens do not fit there at all
    pick_many(w, 100, counts, 4);
    assert_int_equal(counts[0], 0);

    w->request.now_ms = NOW + 1990; // no news for long: not believed any more
    pick_many(w, 100, counts, 4);
    assert_in_range(counts[0], 20, 30);

    // Full everywhere: the request is served all the same, and spread.
    w->request.now_ms = NOW;
    for (size_t i = 0; i < 4; i++) {
        sample(w, i, 0, 0, 0.99, 100000);
    }
    pick_many(w, 100, counts, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(counts[i], 25);
    }
}

static void what_was_sent_since_the_sample_fills_the_cache_too(void **state)
{
    struct world *w = *state;
    pods(w, 2);
    sample(w, 0, 0, 0, 0.5, 20000); // 10,000 free: ten prompts
    sample(w, 1, 0, 0, 0.5, 20000000);
    uint32_t first = 0;
    for (int i = 0; i < 100; i++) {
        struct reservation r = pick(w);
        first += r.endpoint == at(w, 0);
        reservation_first_token(&r);
    }
    assert_int_equal(first, 10);
}

static void failing_endpoints_are_the_last_resort_and_probed_by_one(void **state)
{
    struct world *w = *state;
    uint32_t counts[2];
    pods(w, 2);
    endpoint_report_failure(at(w, 0), NOW);
    pick_many(w, 20, counts, 2);
    assert_int_equal(counts[0], 0);

    w->request.now_ms = NOW + 1500;
    struct reservation busy[3];
    for (size_t i = 0; i < 3; i++) {
        busy[i] = pick(w);
    }
    // The wait is over, yet just one request goes there until it is known to be well.
    assert_int_equal(requests_at(w, 0), 1);
    assert_int_equal(requests_at(w, 1), 2);
    endpoint_report_success(at(w, 0));
    struct reservation next = pick(w);
    assert_ptr_equal(next.endpoint, at(w, 0));
    for (size_t i = 0; i < 3; i++) {
        reservation_release(&busy[i]);
    }
    reservation_release(&next);

    // All fail: both are used.
    endpoint_report_failure(at(w, 0), NOW + 1500);
    endpoint_report_failure(at(w, 1), NOW + 1500);
    pick_many(w, 20, counts, 2);
    assert_int_equal(counts[0], 10);
}

static void an_overloaded_endpoint_rests_shortly(void **state)
{
    struct world *w = *state;
    uint32_t counts[2];
    pods(w, 2);
    endpoint_report_overloaded(at(w, 1), NOW);
    pick_many(w, 20, counts, 2);
    assert_int_equal(counts[1], 0);
    w->request.now_ms = NOW + 300;
    pick_many(w, 20, counts, 2);
    assert_int_equal(counts[1], 10);
    // Better one that refuses than one that fails.
    endpoint_report_overloaded(at(w, 1), NOW + 300);
    endpoint_report_failure(at(w, 0), NOW + 300);
    pick_many(w, 20, counts, 2);
    assert_int_equal(counts[1], 20);
}

static void tried_endpoints_come_last(void **state)
{
    struct world *w = *state;
    pods(w, 3);
    uint32_t tried[3] = {at(w, 0)->id, at(w, 1)->id, at(w, 2)->id};
    w->request.tried = tried;
    w->request.tried_count = 2;
    for (int i = 0; i < 10; i++) {
        assert_ptr_equal(pick(w).endpoint, at(w, 2));
    }
    w->request.tried_count = 3;
    struct reservation r = {0};
    for (unsigned policy = 0; policy <= PICK_RANDOM; policy++) {
        w->request.policy = policy;
        assert_int_equal(pick_endpoint(w->backend, &w->request, false, &r, NULL), -EBUSY);
        assert_null(r.endpoint);
    }
    pick(w);
}

static void weights_share_the_load(void **state)
{
    struct world *w = *state;
    uint32_t counts[3];
    pods_weighted(w, 3, (uint32_t[]){1, 2, 5});
    static const unsigned tolerance[] = {
        [PICK_INFERENCE_AWARE] = 20, [PICK_LEAST_REQUEST] = 8, [PICK_ROUND_ROBIN] = 8,
        [PICK_RANDOM] = 80};
    for (unsigned policy = 0; policy <= PICK_RANDOM; policy++) {
        w->request.policy = policy;
        pick_many(w, 1600, counts, 3);
        assert_in_range(counts[0], 200 - tolerance[policy], 200 + tolerance[policy]);
        assert_in_range(counts[1], 400 - tolerance[policy], 400 + tolerance[policy]);
        assert_in_range(counts[2], 1000 - tolerance[policy], 1000 + tolerance[policy]);
    }
}

static void round_robin_goes_round_and_skips_the_failing(void **state)
{
    struct world *w = *state;
    pods(w, 3);
    w->request.policy = PICK_ROUND_ROBIN;
    struct endpoint *seen[6];
    for (size_t i = 0; i < 6; i++) {
        seen[i] = pick(w).endpoint;
    }
    for (size_t i = 0; i < 3; i++) {
        assert_ptr_equal(seen[i], seen[i + 3]);
        assert_ptr_not_equal(seen[i], seen[(i + 1) % 3]);
    }
    endpoint_report_failure(at(w, 1), NOW);
    for (size_t i = 0; i < 6; i++) {
        seen[i] = pick(w).endpoint;
        assert_ptr_not_equal(seen[i], at(w, 1));
        assert_true(i == 0 || seen[i] != seen[i - 1]);
    }
}

static void least_request_counts_requests_not_tokens(void **state)
{
    struct world *w = *state;
    uint32_t counts[4];
    pods(w, 4);
    w->request.policy = PICK_LEAST_REQUEST;
    w->request.prompt_bytes = 4000000;
    struct reservation big = pick(w);
    w->request.prompt_bytes = 4;
    struct reservation r[7];
    for (size_t i = 0; i < 7; i++) {
        r[i] = pick(w);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(requests_at(w, i), 2);
    }
    for (size_t i = 0; i < 7; i++) {
        reservation_release(&r[i]);
    }
    reservation_release(&big);
    sample(w, 0, 16, 8, -1, 0);
    pick_many(w, 30, counts, 4);
    assert_int_equal(counts[0], 0);
}

static void every_choice_can_explain_itself(void **state)
{
    struct world *w = *state;
    pods(w, 20);
    for (size_t i = 0; i < 20; i++) {
        sample(w, i, (double)i, 0, 0.01 * (double)i, 1e6);
    }
    w->request.now_ms = NOW + 100;
    endpoint_report_failure(at(w, 0), NOW + 100);
    struct reservation r = {0};
    struct pick_trace trace;
    assert_int_equal(pick_endpoint(w->backend, &w->request, false, &r, &trace), 0);
    assert_int_equal(trace.policy, PICK_INFERENCE_AWARE);
    assert_int_equal(trace.candidate_count, 20);
    assert_int_equal(trace.recorded, PICK_TRACE_MAX);
    for (size_t i = 0; i < PICK_TRACE_MAX; i++) {
        const struct pick_candidate *c = &trace.candidates[i];
        assert_int_equal(c->endpoint_id, at(w, i + 1)->id);
        assert_string_equal(c->text, at(w, i + 1)->text);
        float queue = (float)(i + 1); // a part of it, and all when it is long
        assert_float_equal(c->others_tokens, 1000 * queue * (0.25f + 0.75f * queue / 8), 1);
        assert_float_equal(c->own_tokens, 2000, 1e-3);
        assert_float_equal(c->kv_utilisation, 0.01f * (float)(i + 1), 1e-6f);
        assert_float_equal(c->cost, c->ours_tokens + c->others_tokens + c->own_tokens + c->running,
                           1);
        assert_int_equal(c->age_ms, 100);
        assert_int_equal(c->ours_requests, 0); // as it was when the choice was made
        assert_false(c->avoided);
    }
    pods(w, 2);
    endpoint_report_failure(at(w, 0), NOW + 100);
    assert_int_equal(pick_endpoint(w->backend, &w->request, false, &r, &trace), 0);
    assert_int_equal(trace.recorded, 2);
    assert_true(trace.candidates[1].avoided);
}

static void the_terms_of_a_cost_add_up(void **state)
{
    struct world *w = *state;
    pods_weighted(w, 3, (const uint32_t[]){1, 1, 4});
    sample(w, 0, 3, 20, 0.9, 1e6);
    sample(w, 1, 0, 2, 0.2, 1e6);
    sample(w, 2, 12, 40, 0.85, 1e6);
    uint32_t counts[3];
    pick_many(w, 40, counts, 3);
    w->request.now_ms = NOW + 700; // partly faded
    struct reservation r = {0};
    struct pick_trace trace;
    assert_int_equal(pick_endpoint(w->backend, &w->request, false, &r, &trace), 0);
    assert_int_equal(trace.recorded, 3);
    for (size_t i = 0; i < trace.recorded; i++) {
        const struct pick_candidate *c = &trace.candidates[i];
        float sum = c->ours_tokens + c->others_tokens + c->own_tokens + c->running + c->kv_pressure;
        assert_float_equal(c->cost, sum / (float)c->weight, 0.01 * c->cost);
        assert_int_equal(c->weight, c->endpoint_id == at(w, 2)->id ? 4 : 1);
        assert_true((c->kv_pressure > 0) == (c->endpoint_id != at(w, 1)->id));
    }
}

// For work that need not be done: rather nobody than one of whom anything speaks.
static void only_those_that_are_well(void **state)
{
    struct world *w = *state;
    struct reservation r = {0};
    pods(w, 3);
    w->request.only_well = true;
    for (int policy = 0; policy <= PICK_RANDOM; policy++) {
        w->request.policy = (enum pick_policy)policy;
        w->request.tried = &at(w, 0)->id;
        w->request.tried_count = 1;
        atomic_store(&at(w, 1)->failures_in_row, 1); // although it may be tried again
        for (int i = 0; i < 20; i++) {
            assert_int_equal(pick_endpoint(w->backend, &w->request, false, &r, NULL), 0);
            assert_ptr_equal(r.endpoint, at(w, 2));
            reservation_release(&r);
        }
        atomic_store(&at(w, 2)->overloaded_until_ms, NOW + 1);
        assert_int_equal(pick_endpoint(w->backend, &w->request, false, &r, NULL), -EBUSY);
        assert_null(r.endpoint);
        atomic_store(&at(w, 2)->overloaded_until_ms, 0);
        // Nor where so many are ill that others have to take what there is.
        atomic_store(&w->backend->panic, true);
        atomic_store(&at(w, 2)->health_flags, HEALTH_UNHEALTHY);
        assert_int_equal(pick_endpoint(w->backend, &w->request, false, &r, NULL), -EBUSY);
        w->request.only_well = false;
        assert_int_equal(pick_endpoint(w->backend, &w->request, false, &r, NULL), 0);
        reservation_release(&r);
        w->request.only_well = true;
        atomic_store(&w->backend->panic, false);
        atomic_store(&at(w, 2)->health_flags, 0);
        atomic_store(&at(w, 1)->failures_in_row, 0);
    }
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, world_up, world_down)
    const struct CMUnitTest tests[] = {
        CASE(no_endpoint_is_an_error),
        CASE(the_books_are_exact_and_return_to_zero),
        CASE(a_burst_spreads_evenly),
        CASE(who_looks_at_old_books_looks_again),
        CASE(a_burst_from_four_threads_spreads_evenly),
        CASE(pending_prompt_tokens_decide),
        CASE(requests_that_decode_are_spread_too),
        CASE(cached_tokens_count_through_the_seam),
        CASE(load_of_others_is_seen_by_scraping_and_fades),
        CASE(our_own_load_is_not_counted_twice),
        CASE(a_full_kv_cache_is_avoided),
        CASE(what_was_sent_since_the_sample_fills_the_cache_too),
        CASE(failing_endpoints_are_the_last_resort_and_probed_by_one),
        CASE(an_overloaded_endpoint_rests_shortly),
        CASE(tried_endpoints_come_last),
        CASE(weights_share_the_load),
        CASE(round_robin_goes_round_and_skips_the_failing),
        CASE(least_request_counts_requests_not_tokens),
        CASE(every_choice_can_explain_itself),
        CASE(the_terms_of_a_cost_add_up),
        CASE(only_those_that_are_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
