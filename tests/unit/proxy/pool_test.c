// The pool of idle connections: newest first, bounded, oldest known, whatever ids come.
#include "proxy/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proxy/upstream_h1.h"

static struct upstream_pool pool;
static struct endpoint *endpoints[3];
static struct upstream conns[4];

static int up(void **state)
{
    (void)state;
    static const uint32_t ids[] = {0, 15, 5000}; // the last makes the table grow and move
    upstream_pool_init(&pool);
    for (size_t i = 0; i < 3; i++) {
        if (posix_memalign((void **)&endpoints[i], CACHE_LINE, sizeof(*endpoints[i])) != 0) {
            return -1;
        }
        endpoints[i]->id = ids[i];
    }
    for (size_t i = 0; i < 4; i++) {
        conns[i] = (struct upstream){.endpoint = endpoints[0]};
        list_init(&conns[i].pool_node);
        list_init(&conns[i].age_node);
    }
    return 0;
}

static int down(void **state)
{
    (void)state;
    upstream_pool_fini(&pool);
    for (size_t i = 0; i < 3; i++) {
        free(endpoints[i]);
    }
    return 0;
}

static void last_in_first_out(void **state)
{
    (void)state;
    assert_null(upstream_pool_take(&pool, 0, 1));
    assert_null(upstream_pool_oldest(&pool));
    for (size_t i = 0; i < 3; i++) {
        assert_true(upstream_pool_put(&pool, &conns[i], 10));
    }
    assert_ptr_equal(upstream_pool_oldest(&pool), &conns[0]);
    assert_ptr_equal(upstream_pool_take(&pool, 0, 1), &conns[2]);
    upstream_pool_remove(&pool, &conns[0]);
    assert_ptr_equal(upstream_pool_oldest(&pool), &conns[1]);
    assert_ptr_equal(upstream_pool_take(&pool, 0, 1), &conns[1]);
    assert_null(upstream_pool_take(&pool, 0, 1));
    assert_null(upstream_pool_oldest(&pool));
}

static void each_endpoint_has_a_limit(void **state)
{
    (void)state;
    conns[3].endpoint = endpoints[1];
    assert_true(upstream_pool_put(&pool, &conns[0], 2));
    assert_true(upstream_pool_put(&pool, &conns[1], 2));
    assert_false(upstream_pool_put(&pool, &conns[2], 2));
    assert_true(upstream_pool_put(&pool, &conns[3], 2));
    assert_ptr_equal(upstream_pool_take(&pool, 0, 1), &conns[1]);
    assert_true(upstream_pool_put(&pool, &conns[2], 2)); // room again
    assert_false(upstream_pool_put(&pool, &conns[1], 0));
}

static void growing_keeps_what_is_in(void **state)
{
    (void)state;
    conns[2].endpoint = endpoints[1];
    conns[3].endpoint = endpoints[2];
    for (size_t i = 0; i < 4; i++) {
        assert_true(upstream_pool_put(&pool, &conns[i], 10));
    }
    assert_null(upstream_pool_take(&pool, 4999, 1));
    assert_null(upstream_pool_take(&pool, UINT32_MAX, 1));
    assert_ptr_equal(upstream_pool_take(&pool, 5000, 1), &conns[3]);
    assert_ptr_equal(upstream_pool_take(&pool, 15, 1), &conns[2]);
    assert_ptr_equal(upstream_pool_take(&pool, 0, 1), &conns[1]);
    assert_ptr_equal(upstream_pool_oldest(&pool), &conns[0]);
    assert_ptr_equal(upstream_pool_take(&pool, 0, 1), &conns[0]);
}

static void what_became_idle_in_an_earlier_turn_comes_first(void **state)
{
    (void)state;
    conns[2].idle_turn = 7;
    conns[3].idle_turn = 7;
    for (size_t i = 0; i < 4; i++) {
        assert_true(upstream_pool_put(&pool, &conns[i], 10));
    }
    assert_ptr_equal(upstream_pool_take(&pool, 0, 7), &conns[1]);
    assert_ptr_equal(upstream_pool_take(&pool, 0, 7), &conns[0]);
    assert_ptr_equal(upstream_pool_take(&pool, 0, 7), &conns[3]); // rather than none
    assert_ptr_equal(upstream_pool_take(&pool, 0, 8), &conns[2]);
    assert_null(upstream_pool_take(&pool, 0, 8));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(last_in_first_out, up, down),
        cmocka_unit_test_setup_teardown(each_endpoint_has_a_limit, up, down),
        cmocka_unit_test_setup_teardown(growing_keeps_what_is_in, up, down),
        cmocka_unit_test_setup_teardown(what_became_idle_in_an_earlier_turn_comes_first, up, down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
