// What a mistyped name was meant to be.
#include "model/closest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_suggestions(void **state)
{
    static const char *const names[] = {"pool", "static", "engine", "balancing", "betweenTokens",
                                        NULL};
    (void)state;
    assert_string_equal(closest_name("balanceing", names), "balancing");
    assert_string_equal(closest_name("ploo", names), "pool");
    assert_string_equal(closest_name("Engine", names), "engine");
    assert_string_equal(closest_name("betweentoken", names), "betweenTokens");
    assert_null(closest_name("upstream", names));
    assert_null(closest_name("", names));
    assert_null(closest_name("a-name-that-is-longer-than-thirty-two-characters", names));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_suggestions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
