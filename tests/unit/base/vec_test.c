#include "base/vec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void pushes_keep_order(void **state)
{
    (void)state;
    VEC(int) ints = {0};
    for (int i = 0; i < 10000; i++) {
        assert_true(VEC_PUSH(&ints, i));
    }
    assert_int_equal(ints.len, 10000);
    for (int i = 0; i < 10000; i++) {
        assert_int_equal(ints.items[i], i);
    }
    VEC_FINI(&ints);
    assert_null(ints.items);
    assert_true(VEC_PUSH(&ints, 7));
    VEC_FINI(&ints);
}

static void growth_that_overflows_fails(void **state)
{
    (void)state;
    void *items = NULL;
    size_t cap = SIZE_MAX / 2 + 1;
    assert_false(vec_grow(&items, &cap, cap, 8));
    assert_int_equal(cap, SIZE_MAX / 2 + 1);
    cap = SIZE_MAX / 4;
    assert_false(vec_grow(&items, &cap, cap, 8));
    assert_null(items);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pushes_keep_order),
        cmocka_unit_test(growth_that_overflows_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
