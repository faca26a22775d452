// When new requests and connections are refused for want of memory.
#include "proxy/overload.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_levels_and_their_end(void **state)
{
    (void)state;
    struct overload overload = {.limit = 1000};
    static const struct {
        uint64_t used;
        enum overload_level level;
    } steps[] = {
        {0, OVERLOAD_NONE},           {899, OVERLOAD_NONE},     {900, OVERLOAD_REQUESTS},
        {870, OVERLOAD_REQUESTS},     {849, OVERLOAD_NONE},     {880, OVERLOAD_NONE},
        {950, OVERLOAD_CONNECTIONS},  {2000, OVERLOAD_CONNECTIONS},
        {940, OVERLOAD_REQUESTS},     {870, OVERLOAD_REQUESTS}, {800, OVERLOAD_NONE},
        {990, OVERLOAD_CONNECTIONS},  {860, OVERLOAD_REQUESTS}, {0, OVERLOAD_NONE},
    };
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        assert_int_equal(overload_update(&overload, steps[i].used), steps[i].level);
        assert_int_equal(overload_now(&overload), steps[i].level);
    }
}

static void test_without_a_limit_there_is_room(void **state)
{
    (void)state;
    struct overload overload = {0};
    assert_int_equal(overload_update(&overload, UINT64_MAX), OVERLOAD_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels_and_their_end),
        cmocka_unit_test(test_without_a_limit_there_is_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
