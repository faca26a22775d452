#include "base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rand.h"

static void pieces_are_aligned_and_do_not_overlap(void **state)
{
    (void)state;
    enum { PIECES = 2000 };
    struct arena arena;
    struct rand_state rng = {.state = 3};
    unsigned char *pieces[PIECES];
    size_t sizes[PIECES];
    arena_init(&arena, 256, 0);
    for (int round = 0; round < 3; round++) {
        size_t sum = 0;
        for (size_t i = 0; i < PIECES; i++) {
            sizes[i] = 1 + (size_t)rand_below(&rng, rand_below(&rng, 20) == 0 ? 2000 : 60);
            bool text = rand_below(&rng, 2) == 0;
            pieces[i] =
                text ? (void *)arena_bytes(&arena, sizes[i]) : arena_alloc(&arena, sizes[i]);
            assert_non_null(pieces[i]);
            assert_true(text || (uintptr_t)pieces[i] % 16 == 0);
            memset(pieces[i], (int)(i & 0xff), sizes[i]);
            sum += sizes[i];
        }
        assert_int_equal(arena.used, sum);
        for (size_t i = 0; i < PIECES; i++) {
            for (size_t k = 0; k < sizes[i]; k++) {
                assert_int_equal(pieces[i][k], i & 0xff);
            }
        }
        arena_reset(&arena);
        assert_int_equal(arena.used, 0);
    }
    arena_fini(&arena);
}

static void the_limit_holds(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 128, 1000);
    assert_non_null(arena_alloc(&arena, 900));
    assert_null(arena_alloc(&arena, 101));
    assert_non_null(arena_alloc(&arena, 100));
    assert_null(arena_alloc(&arena, 1));
    assert_null(arena_alloc(&arena, SIZE_MAX));
    arena_reset(&arena);
    assert_non_null(arena_alloc(&arena, 1000));
    arena_fini(&arena);
}

static void impossible_sizes_fail(void **state)
{
    (void)state;
    struct arena arena = {0};
    assert_null(arena_alloc(&arena, SIZE_MAX));
    assert_null(arena_alloc(&arena, SIZE_MAX - 8));
    assert_null(arena_zalloc_array(&arena, SIZE_MAX / 2, 3));
    assert_null(arena_dup(&arena, slice_of("", SIZE_MAX - 1)).ptr);
    assert_int_equal(arena.used, 0);
    arena_reset(&arena);
    arena_fini(&arena);
}

static void a_zeroed_arena_works(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct slice s = arena_dup(&arena, SLICE("hello"));
    assert_string_equal(s.ptr, "hello");
    s = arena_printf(&arena, "%s-%d", "x", 42);
    assert_string_equal(s.ptr, "x-42");
    assert_int_equal(s.len, 4);
    s = arena_dup(&arena, SLICE_NULL);
    assert_string_equal(s.ptr, "");
    int *zeros = ARENA_ARRAY(&arena, int, 1000);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(zeros[i], 0);
    }
    assert_non_null(arena_alloc(&arena, 0));
    arena_fini(&arena);
    arena_fini(&arena);
}

static void a_small_chunk_size_is_no_trap(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 1, 0);
    for (int i = 0; i < 100; i++) {
        assert_non_null(arena_zalloc(&arena, 24));
    }
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_aligned_and_do_not_overlap),
        cmocka_unit_test(the_limit_holds),
        cmocka_unit_test(impossible_sizes_fail),
        cmocka_unit_test(a_zeroed_arena_works),
        cmocka_unit_test(a_small_chunk_size_is_no_trap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
