#include "model/duration.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_parse(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {
        {"200ms", 200}, {"2s", 2000},        {"10m", 600000},       {"24h", 86400000},
        {"0s", 0},      {"1m30s", 90000},    {"1h1m1s1ms", 3661001}, {"99999h", 359996400000},
        {"1s1s", 2000}, {"00100ms", 100},
    };
    static const char *const bad[] = {
        "", "2", "s", "2 s", "-2s", "1.5s", "2S", "100000s", "1h1m1s1ms1ms", "2sx", "ms", "1e3s",
        "99999999999999999999h",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        int64_t ms = -1;
        assert_int_equal(duration_parse(slice_of_str(good[i].text), &ms), 0);
        assert_int_equal(ms, good[i].ms);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        int64_t ms = -1;
        assert_int_equal(duration_parse(slice_of_str(bad[i]), &ms), -EINVAL);
        assert_int_equal(ms, -1);
    }
}

static void test_format(void **state)
{
    static const struct {
        int64_t ms;
        const char *text;
    } cases[] = {
        {0, "0s"}, {1, "1ms"}, {1500, "1s500ms"}, {90000, "1m30s"}, {86400000, "24h"}};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[32];
        int64_t back;
        duration_format(cases[i].ms, text, sizeof(text));
        assert_string_equal(text, cases[i].text);
        assert_int_equal(duration_parse(slice_of_str(text), &back), 0);
        assert_int_equal(back, cases[i].ms);
    }
    char small[4];
    duration_format(3661001, small, sizeof(small));
    assert_string_equal(small, "1h1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_format),
    };
    return cmocka_run_group_tests_name("duration", tests, NULL, NULL);
}
