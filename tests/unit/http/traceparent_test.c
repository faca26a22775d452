#include "http/traceparent.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define IDS "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"

static void only_valid_parents_pass(void **state)
{
    (void)state;
    static const char *const good[] = {
        "00-" IDS "-01", "00-" IDS "-00", "00-" IDS "-03", "cc-" IDS "-01", "cc-" IDS "-01-what",
        "01-" IDS "-01-",
    };
    static const char *const bad[] = {
        "", "00", "00-" IDS "-0", "00-" IDS "-01-", "00-" IDS "-01x", "cc-" IDS "-01x",
        "ff-" IDS "-01", "0x-" IDS "-01", "00-" IDS "-0g", "00_" IDS "-01", "00-" IDS "_01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0af7651916cd43dd8448eb211c80319cb7ad6b7169203331-0101",
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        if (!traceparent_is_valid(slice_of_str(good[i]))) {
            fail_msg("%s is refused", good[i]);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (traceparent_is_valid(slice_of_str(bad[i]))) {
            fail_msg("%s is taken", bad[i]);
        }
    }
}

static struct http_header header(const char *name, const char *value)
{
    return (struct http_header){.name = slice_of_str(name),
                                .value = slice_of_str(value),
                                .token = (uint16_t)http_token_find(slice_of_str(name))};
}

static void the_state_goes_with_its_parent(void **state)
{
    (void)state;
    char longest[514];
    bool pass;
    memset(longest, 'a', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    struct http_header both[] = {header("Tracestate", "a=1,b=2"),
                                 header("TraceParent", "00-" IDS "-01"),
                                 header("tracestate", "c=3")};
    assert_true(slice_eq(traceparent_find(both, 3, &pass), SLICE("00-" IDS "-01")) && pass);
    assert_true(traceparent_find(both, 1, &pass).ptr == NULL && !pass); // no parent
    both[2].value = slice_of_str(longest);
    assert_true(traceparent_find(both, 3, &pass).ptr != NULL && !pass);
    both[2].value = SLICE(",,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,x=1");
    assert_true(traceparent_find(both, 3, &pass).ptr != NULL && pass);
    both[2].value = SLICE("a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a");
    assert_true(traceparent_find(both, 3, &pass).ptr != NULL && !pass); // 33 members
    both[2].value = SLICE("c=\xc3\xa4");
    assert_true(traceparent_find(both, 3, &pass).ptr != NULL && !pass);
    both[2] = header("traceparent", "00-" IDS "-01");
    assert_true(traceparent_find(both, 3, &pass).ptr == NULL && !pass); // two parents
}

static void new_ones_are_valid_and_differ(void **state)
{
    (void)state;
    struct rand_state rng = {.state = 1};
    char first[TRACEPARENT_LEN];
    char second[TRACEPARENT_LEN];
    traceparent_make(&rng, first);
    traceparent_make(&rng, second);
    assert_true(traceparent_is_valid(slice_of(first, sizeof(first))));
    assert_true(traceparent_is_valid(slice_of(second, sizeof(second))));
    assert_memory_not_equal(first, second, sizeof(first));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_valid_parents_pass),
        cmocka_unit_test(the_state_goes_with_its_parent),
        cmocka_unit_test(new_ones_are_valid_and_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
