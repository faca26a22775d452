// Sessions stay where they are, share by share, and give way when their endpoint is not well.
#include "endpoint/affinity.h"

#include <stdio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "endpoint/pick.h"

#define NOW UINT64_C(100000)

struct world {
    struct epoch *epoch;
    struct endpoint_table *table;
    struct backend_state *backend;
    struct rand_state rng;
    struct affinity affinity;
    struct pick_request request;
};

static int world_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    assert_int_equal(posix_memalign((void **)&w->epoch, CACHE_LINE, sizeof(*w->epoch)), 0);
    epoch_init(w->epoch);
    assert_int_equal(endpoint_table_new(&w->table, w->epoch), 0);
    w->backend = endpoint_table_backend(w->table, SLICE("ml/llama"));
    w->rng.state = 7;
    w->request = (struct pick_request){
        .prompt_bytes = 400, .now_ms = NOW, .rng = &w->rng, .affinity = &w->affinity};
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

// Endpoints 10.0.0.1:first … ; the one at place heavy has weight 3.
static void pods(struct world *w, uint16_t first, size_t count, size_t heavy)
{
    struct endpoint_spec specs[32] = {0};
    for (size_t i = 0; i < count; i++) {
        specs[i].weight = i == heavy ? 3 : 1;
        assert_int_equal(
            endpoint_address_parse(SLICE("10.0.0.1"), (uint16_t)(first + i), &specs[i]), 0);
    }
    assert_int_equal(backend_state_set_endpoints(w->backend, specs, count), 0);
}

static struct endpoint *at(struct world *w, size_t i)
{
    return backend_state_endpoints(w->backend)->items[i];
}

static struct reservation take(struct world *w)
{
    struct reservation r = {0};
    assert_int_equal(pick_endpoint(w->backend, &w->request, true, &r, NULL), 0);
    return r;
}

// Where a session goes while nothing else is going on.
static struct endpoint *home(struct world *w, unsigned session)
{
    char text[16];
    int n = snprintf(text, sizeof(text), "s%u", session);
    w->affinity = (struct affinity){.by_hash = true,
                                    .hash = affinity_hash(slice_of(text, (size_t)n))};
    struct reservation r = take(w);
    struct endpoint *endpoint = r.endpoint;
    reservation_release(&r);
    return endpoint;
}

static void a_session_stays_and_sessions_spread_by_weight(void **state)
{
    struct world *w = *state;
    unsigned counts[4] = {0};
    pods(w, 1, 4, 2);
    for (unsigned s = 0; s < 3000; s++) {
        struct endpoint *endpoint = home(w, s);
        assert_ptr_equal(endpoint, home(w, s));
        for (size_t i = 0; i < 4; i++) {
            counts[i] += endpoint == at(w, i);
        }
    }
    for (size_t i = 0; i < 4; i++) { // 500 each, and 1500 for the heavy one
        unsigned wanted = i == 2 ? 1500 : 500;
        assert_in_range(counts[i], wanted - 120, wanted + 120);
    }
}

static void an_endpoint_that_comes_moves_its_own_share_only(void **state)
{
    struct world *w = *state;
    struct endpoint *before[1000];
    pods(w, 1, 4, 99);
    for (unsigned s = 0; s < 1000; s++) {
        before[s] = home(w, s);
    }
    pods(w, 1, 5, 99);
    unsigned moved = 0;
    for (unsigned s = 0; s < 1000; s++) {
        struct endpoint *now = home(w, s);
        assert_true(now == before[s] || now == at(w, 4));
        moved += now != before[s];
    }
    assert_in_range(moved, 140, 260);
}

static void every_process_draws_the_same(void **state)
{
    struct world *w = *state;
    pods(w, 1, 2, 99);
    // Written down once: these numbers must not change between versions that run side by side.
    assert_true(affinity_hash(SLICE("session")) == UINT64_C(0xabc257d69e2bf895));
    assert_true(at(w, 0)->stable_id == affinity_hash(SLICE("10.0.0.1:1")));
    const struct siphash_key key = {{1, 2}};
    char tag[AFFINITY_TAG_LEN + 1] = "";
    affinity_tag(&key, at(w, 0), tag);
    assert_string_equal(tag, "707a2c14dac2dc00");
}

static void an_endpoint_that_is_not_well_is_passed_over(void **state)
{
    struct world *w = *state;
    pods(w, 1, 4, 99);
    struct endpoint *first = home(w, 1);
    endpoint_report_overloaded(first, NOW);
    struct endpoint *second = home(w, 1);
    assert_ptr_not_equal(first, second);
    assert_ptr_equal(second, home(w, 1)); // always the same next one
    endpoint_report_failure(second, NOW);
    assert_ptr_not_equal(home(w, 1), second);
    w->request.now_ms = NOW + 60000;
    assert_ptr_equal(home(w, 1), first);
}

static void a_session_that_floods_is_spread(void **state)
{
    struct world *w = *state;
    struct reservation all[200];
    pods(w, 1, 4, 99);
    struct endpoint *first = home(w, 1);
    for (size_t i = 0; i < 200; i++) {
        all[i] = take(w);
    }
    // A quarter beyond its share and a few for free, no more.
    uint32_t most = load_requests(atomic_load(&first->load));
    assert_in_range(most, 55, 72);
    for (size_t i = 0; i < 4; i++) {
        assert_in_range(load_requests(atomic_load(&at(w, i)->load)), 0, 72);
    }
    for (size_t i = 0; i < 200; i++) {
        reservation_release(&all[i]);
    }
}

static void few_requests_stay_together_whatever_the_share(void **state)
{
    struct world *w = *state;
    struct reservation all[8];
    pods(w, 1, 32, 99);
    struct endpoint *first = home(w, 1);
    for (size_t i = 0; i < 8; i++) {
        all[i] = take(w);
        assert_ptr_equal(all[i].endpoint, first);
    }
    for (size_t i = 0; i < 8; i++) {
        reservation_release(&all[i]);
    }
}

static void a_tag_leads_back_to_its_endpoint_and_no_other_text_does(void **state)
{
    struct world *w = *state;
    const struct siphash_key key = {{3, 4}}, other = {{5, 6}};
    pods(w, 1, 4, 99);
    const struct endpoint_set *set = backend_state_endpoints(w->backend);
    for (size_t i = 0; i < 4; i++) {
        char tag[AFFINITY_TAG_LEN];
        affinity_tag(&key, at(w, i), tag);
        assert_ptr_equal(affinity_find(set, &key, slice_of(tag, sizeof(tag))), at(w, i));
        assert_null(affinity_find(set, &other, slice_of(tag, sizeof(tag))));
        assert_null(affinity_find(set, &key, slice_of(tag, sizeof(tag) - 1)));
        tag[3] = tag[3] == 'a' ? 'b' : 'a';
        assert_null(affinity_find(set, &key, slice_of(tag, sizeof(tag))));
    }
    static const char *const forged[] = {"", "0", "0000000000000000", "ABCDEF0123456789",
                                         "10.0.0.1:1", "00000000000000001", "../../../../../.."};
    for (size_t i = 0; i < ARRAY_LEN(forged); i++) {
        assert_null(affinity_find(set, &key, slice_of_str(forged[i])));
    }
}

static void sessions_come_one_by_one_to_an_endpoint_that_warms_up(void **state)
{
    struct world *w = *state;
    bool there[1000] = {false};
    unsigned counts[3] = {0};
    pods(w, 1, 4, 99);
    health_warm(at(w, 0), 100000, NOW);
    for (unsigned step = 0; step < 3; step++) {
        w->request.now_ms = NOW + 20000 + step * 40000;
        for (unsigned s = 0; s < 1000; s++) {
            bool now = home(w, s) == at(w, 0);
            assert_true(now || !there[s]); // who came stays
            assert_true(now == (home(w, s) == at(w, 0)));
            there[s] = now;
            counts[step] += now;
        }
    }
    assert_true(counts[0] > 0 && counts[0] < counts[1] && counts[1] < counts[2]);
    assert_in_range(counts[2], 190, 310); // all of its share, when it is warm
}

static void the_wanted_endpoint_is_taken_while_it_is_well(void **state)
{
    struct world *w = *state;
    pods(w, 1, 4, 99);
    for (size_t i = 0; i < 4; i++) {
        w->affinity = (struct affinity){.wanted = at(w, i)};
        for (int n = 0; n < 5; n++) {
            struct reservation r = take(w);
            assert_ptr_equal(r.endpoint, at(w, i));
            reservation_release(&r);
        }
    }
    endpoint_report_failure(at(w, 3), NOW);
    struct reservation r = take(w);
    assert_ptr_not_equal(r.endpoint, at(w, 3));
    reservation_release(&r);
    w->affinity = (struct affinity){0}; // nothing is wanted: as without any
    r = take(w);
    assert_non_null(r.endpoint);
    reservation_release(&r);
}

static void explanations_say_so(void **state)
{
    struct world *w = *state;
    struct pick_trace trace;
    struct reservation r = {0};
    pods(w, 1, 4, 99);
    struct endpoint *own = home(w, 1);
    assert_int_equal(pick_endpoint(w->backend, &w->request, true, &r, &trace), 0);
    assert_true(trace.held);
    assert_int_equal(trace.candidates[0].endpoint_id, own->id);
    assert_int_equal(trace.recorded, 4);
    reservation_release(&r);
    w->request.affinity = NULL;
    assert_int_equal(pick_endpoint(w->backend, &w->request, true, &r, &trace), 0);
    assert_false(trace.held);
    reservation_release(&r);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_up, world_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_session_stays_and_sessions_spread_by_weight),
        TEST(an_endpoint_that_comes_moves_its_own_share_only),
        TEST(every_process_draws_the_same),
        TEST(an_endpoint_that_is_not_well_is_passed_over),
        TEST(a_session_that_floods_is_spread),
        TEST(few_requests_stay_together_whatever_the_share),
        TEST(a_tag_leads_back_to_its_endpoint_and_no_other_text_does),
        TEST(sessions_come_one_by_one_to_an_endpoint_that_warms_up),
        TEST(the_wanted_endpoint_is_taken_while_it_is_well),
        TEST(explanations_say_so),
    };
    return cmocka_run_group_tests_name("affinity", tests, NULL, NULL);
}
