#include "base/map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rand.h"

enum { KEYS = 300 };

static struct slice key_of(size_t i, char buf[16])
{
    int len = snprintf(buf, 16, "key-%zu", i);
    return slice_of(buf, (size_t)len);
}

// Random puts and removes against a plain array.
static void behaves_like_an_array_of_all_keys(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct map map = {0};
        struct rand_state rng = {.state = seed};
        void *model[KEYS] = {NULL};
        int values[KEYS];
        size_t count = 0;
        char buf[16];
        for (int step = 0; step < 5000; step++) {
            size_t i = (size_t)rand_below(&rng, KEYS);
            struct slice key = key_of(i, buf);
            if (rand_below(&rng, 5) < 3) {
                void *value = &values[rand_below(&rng, KEYS)];
                void *old = &map;
                assert_int_equal(map_put(&map, key, value, &old), 0);
                assert_ptr_equal(old, model[i]);
                count += model[i] == NULL;
                model[i] = value;
            } else {
                assert_ptr_equal(map_remove(&map, key), model[i]);
                count -= model[i] != NULL;
                model[i] = NULL;
            }
            assert_int_equal(map.len, count);
            i = (size_t)rand_below(&rng, KEYS);
            assert_ptr_equal(map_get(&map, key_of(i, buf)), model[i]);
        }
        size_t seen = 0;
        for (struct map_entry *e = NULL; (e = map_next(&map, e)) != NULL;) {
            size_t i = (size_t)atoi(e->key.ptr + 4);
            assert_ptr_equal(e->value, model[i]);
            assert_int_equal(strlen(e->key.ptr), e->key.len);
            seen++;
        }
        assert_int_equal(seen, count);
        map_fini(&map);
    }
}

static void an_empty_map_answers(void **state)
{
    (void)state;
    struct map map = {0};
    assert_null(map_get(&map, SLICE("a")));
    assert_null(map_remove(&map, SLICE("a")));
    assert_null(map_next(&map, NULL));
    int value = 1;
    assert_int_equal(map_put(&map, SLICE(""), &value, NULL), 0);
    assert_ptr_equal(map_get(&map, SLICE_NULL), &value);
    map_fini(&map);
    map_fini(&map);
}

static void keys_may_hold_any_bytes(void **state)
{
    (void)state;
    struct map map = {0};
    int values[2];
    assert_int_equal(map_put(&map, SLICE("a\0b"), &values[0], NULL), 0);
    assert_int_equal(map_put(&map, SLICE("a\0c"), &values[1], NULL), 0);
    assert_ptr_equal(map_get(&map, SLICE("a\0b")), &values[0]);
    assert_ptr_equal(map_get(&map, SLICE("a\0c")), &values[1]);
    assert_null(map_get(&map, SLICE("a")));
    map_fini(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(behaves_like_an_array_of_all_keys),
        cmocka_unit_test(an_empty_map_answers),
        cmocka_unit_test(keys_may_hold_any_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
