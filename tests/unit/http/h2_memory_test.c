// What a session may hold is bounded, and what it gives back is counted.
#include "http/h2_memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MAX = 10000 };

static void test_beyond_the_limit_there_is_none(void **state)
{
    (void)state;
    struct h2_memory memory = {.max = MAX};
    nghttp2_mem mem = h2_memory(&memory);
    assert_null(mem.malloc(MAX + 1, &memory));
    assert_null(mem.calloc(2, MAX / 2 + 1, &memory));
    assert_null(mem.calloc(SIZE_MAX / 2, 3, &memory));
    assert_null(mem.realloc(NULL, MAX + 1, &memory));
    assert_int_equal(memory.used, 0);
    void *half = mem.malloc(MAX / 2, &memory);
    assert_non_null(half);
    assert_true(memory.used >= MAX / 2);
    assert_null(mem.calloc(1, MAX / 2 + 1, &memory));
    assert_null(mem.realloc(half, MAX + 1, &memory)); // and stays as it is
    assert_true(memory.used >= MAX / 2);
    void *more = mem.calloc(10, 100, &memory);
    assert_non_null(more);
    mem.free(half, &memory);
    mem.free(more, &memory);
    assert_int_equal(memory.used, 0);
}

static void test_what_grows_and_shrinks_is_counted(void **state)
{
    (void)state;
    struct h2_memory memory = {.max = MAX};
    nghttp2_mem mem = h2_memory(&memory);
    char *ptr = mem.realloc(NULL, 100, &memory);
    ptr = mem.realloc(ptr, MAX - 100, &memory);
    assert_non_null(ptr);
    assert_true(memory.used >= MAX - 100);
    ptr = mem.realloc(ptr, 100, &memory);
    assert_non_null(ptr);
    assert_true(memory.used >= 100 && memory.used < MAX / 2);
    mem.free(ptr, &memory);
    mem.free(NULL, &memory);
    assert_int_equal(memory.used, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_beyond_the_limit_there_is_none),
        cmocka_unit_test(test_what_grows_and_shrinks_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
