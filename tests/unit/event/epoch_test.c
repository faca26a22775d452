// Readers never see an object that was freed, and everything is freed in the end.
#include "event/epoch.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void count_free(void *arg)
{
    (*(unsigned *)arg)++;
}

static void a_reader_inside_holds_back_what_it_may_see(void **state)
{
    (void)state;
    struct epoch epoch;
    struct epoch_reader *a;
    struct epoch_reader *b;
    unsigned freed = 0;
    epoch_init(&epoch);
    assert_true(epoch_collect(&epoch));
    assert_int_equal(epoch_add_reader(&epoch, &a), 0);
    assert_int_equal(epoch_add_reader(&epoch, &b), 0);

    epoch_retire(&epoch, count_free, &freed); // nobody is inside
    assert_int_equal(freed, 1);

    epoch_enter(&epoch, a);
    epoch_retire(&epoch, count_free, &freed);
    epoch_enter(&epoch, b); // too late to have found the object
    epoch_retire(&epoch, count_free, &freed);
    assert_int_equal(freed, 1);
    assert_false(epoch_collect(&epoch));
    epoch_leave(a);
    assert_false(epoch_collect(&epoch));
    assert_int_equal(freed, 2);
    epoch_leave(b);
    assert_true(epoch_collect(&epoch));
    assert_int_equal(freed, 3);

    epoch_enter(&epoch, a);
    epoch_retire(&epoch, count_free, &freed);
    assert_int_equal(freed, 3);
    epoch_leave(a);
    epoch_fini(&epoch);
    assert_int_equal(freed, 4);
}

static void readers_are_bounded(void **state)
{
    (void)state;
    struct epoch epoch;
    struct epoch_reader *reader;
    epoch_init(&epoch);
    for (int i = 0; i < EPOCH_MAX_READERS; i++) {
        assert_int_equal(epoch_add_reader(&epoch, &reader), 0);
    }
    assert_int_equal(epoch_add_reader(&epoch, &reader), -ENOSPC);
}

enum { READERS = 3, SWAPS = 5000, ALIVE = 0x600d, DEAD = 0xdead };

struct object {
    unsigned magic;
    unsigned number;
};

static struct epoch shared_epoch;
static _Atomic(struct object *) current;
static atomic_bool finished;
static unsigned freed_objects;

static void free_object(void *arg)
{
    struct object *object = arg;
    object->magic = DEAD;
    free(object);
    freed_objects++;
}

static void *read_all(void *arg)
{
    struct epoch_reader *reader = arg;
    unsigned last = 0;
    while (!atomic_load_explicit(&finished, memory_order_relaxed)) {
        epoch_enter(&shared_epoch, reader);
        struct object *object = atomic_load_explicit(&current, memory_order_acquire);
        for (int i = 0; i < 20; i++) {
            if (object->magic != ALIVE || object->number < last) {
                abort();
            }
        }
        last = object->number;
        epoch_leave(reader);
    }
    return NULL;
}

static struct object *new_object(unsigned number)
{
    struct object *object = malloc(sizeof *object);
    assert_non_null(object);
    *object = (struct object){.magic = ALIVE, .number = number};
    return object;
}

static void swaps_under_readers_are_safe(void **state)
{
    (void)state;
    pthread_t threads[READERS];
    epoch_init(&shared_epoch);
    atomic_store(&current, new_object(0));
    for (int i = 0; i < READERS; i++) {
        struct epoch_reader *reader;
        assert_int_equal(epoch_add_reader(&shared_epoch, &reader), 0);
        assert_int_equal(pthread_create(&threads[i], NULL, read_all, reader), 0);
    }
    for (unsigned n = 1; n <= SWAPS; n++) {
        struct object *old =
            atomic_exchange_explicit(&current, new_object(n), memory_order_acq_rel);
        epoch_retire(&shared_epoch, free_object, old);
    }
    atomic_store(&finished, true);
    for (int i = 0; i < READERS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_true(epoch_collect(&shared_epoch));
    assert_int_equal(freed_objects, SWAPS);
    free_object(atomic_load(&current));
    epoch_fini(&shared_epoch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reader_inside_holds_back_what_it_may_see),
        cmocka_unit_test(readers_are_bounded),
        cmocka_unit_test(swaps_under_readers_are_safe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
