#include "endpoint/retry_budget.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "endpoint/pick.h"

struct world {
    struct epoch *epoch;
    struct endpoint_table *table;
    struct backend_state *backend;
    struct rand_state rng;
};

static int world_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct endpoint_spec specs[2] = {0};
    assert_int_equal(posix_memalign((void **)&w->epoch, CACHE_LINE, sizeof(*w->epoch)), 0);
    epoch_init(w->epoch);
    assert_int_equal(endpoint_table_new(&w->table, w->epoch), 0);
    w->backend = endpoint_table_backend(w->table, SLICE("ml/llama"));
    for (uint16_t i = 0; i < 2; i++) {
        assert_int_equal(
            endpoint_address_parse(SLICE("10.0.0.1"), (uint16_t)(i + 1), &specs[i]), 0);
    }
    assert_int_equal(backend_state_set_endpoints(w->backend, specs, 2), 0);
    w->rng.state = 1;
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

static struct reservation take(struct world *w)
{
    const struct pick_request request = {.prompt_bytes = 4, .now_ms = 1, .rng = &w->rng};
    struct reservation r = {0};
    assert_int_equal(pick_endpoint(w->backend, &request, true, &r, NULL), 0);
    return r;
}

static void a_few_are_always_fine(void **state)
{
    struct world *w = *state;
    const struct retry_budget budget = {.percent = 20, .min_concurrency = 3};
    for (int i = 0; i < 3; i++) {
        assert_true(retry_budget_take(w->backend, &budget));
    }
    assert_false(retry_budget_take(w->backend, &budget));
    retry_budget_give(w->backend);
    assert_true(retry_budget_take(w->backend, &budget));
    assert_false(retry_budget_take(w->backend, &budget));
    assert_int_equal(atomic_load(&w->backend->retries), 3);
}

static void beyond_them_a_share_of_what_is_under_way(void **state)
{
    struct world *w = *state;
    const struct retry_budget budget = {.percent = 20, .min_concurrency = 3};
    struct reservation all[50];
    for (int i = 0; i < 50; i++) {
        all[i] = take(w);
    }
    int taken = 0;
    while (retry_budget_take(w->backend, &budget)) {
        taken++;
    }
    assert_int_equal(taken, 10);
    for (int i = 0; i < 50; i++) {
        reservation_release(&all[i]);
    }
}

static void none_is_none(void **state)
{
    struct world *w = *state;
    const struct retry_budget budget = {0};
    assert_false(retry_budget_take(w->backend, &budget));
    assert_int_equal(atomic_load(&w->backend->retries), 0);
}

static void a_reservation_gives_its_place_back_once(void **state)
{
    struct world *w = *state;
    const struct retry_budget budget = {.percent = 0, .min_concurrency = 2};
    struct reservation first = take(w), second = take(w);
    assert_true(retry_budget_take(w->backend, &budget));
    assert_true(retry_budget_take(w->backend, &budget));
    first.retry_of = second.retry_of = w->backend;
    reservation_first_token(&first); // a token came: what follows is no second try any more
    assert_int_equal(atomic_load(&w->backend->retries), 1);
    reservation_release(&first);
    assert_int_equal(atomic_load(&w->backend->retries), 1);
    reservation_release(&second);
    reservation_release(&second);
    assert_int_equal(atomic_load(&w->backend->retries), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_up, world_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_few_are_always_fine),
        TEST(beyond_them_a_share_of_what_is_under_way),
        TEST(none_is_none),
        TEST(a_reservation_gives_its_place_back_once),
    };
    return cmocka_run_group_tests_name("retry_budget", tests, NULL, NULL);
}
