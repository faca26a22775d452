// A snapshot lives exactly as long as somebody uses it: while it is current, while a worker is
// inside an epoch section that may have found it, while a request holds it.
#include "snapshot/publish.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "endpoint/endpoint.h"

struct world {
    struct epoch *epoch;
    struct epoch_reader *reader;
    struct publisher publisher;
};

static int world_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w) + CACHE_LINE);
    if (w == NULL || posix_memalign((void **)&w->epoch, CACHE_LINE, sizeof(*w->epoch)) != 0) {
        return -1;
    }
    epoch_init(w->epoch);
    if (epoch_add_reader(w->epoch, &w->reader) != 0) {
        return -1;
    }
    publisher_init(&w->publisher, w->epoch);
    *state = w;
    return 0;
}

static int world_down(void **state)
{
    struct world *w = *state;
    publisher_fini(&w->publisher);
    epoch_fini(w->epoch);
    free(w->epoch);
    free(w);
    return 0;
}

static struct snapshot *publish(struct world *w)
{
    struct snapshot *snapshot = snapshot_new();
    assert_non_null(snapshot);
    assert_int_equal(snapshot_finish(snapshot), 0);
    publisher_publish(&w->publisher, snapshot);
    return snapshot;
}

static void nothing_is_there_before_the_first(void **state)
{
    struct world *w = *state;
    struct snapshot_holder holder = {.publisher = &w->publisher};
    assert_null(snapshot_holder_acquire(&holder));
    snapshot_holder_refresh(&holder);
    snapshot_holder_fini(&holder);
    assert_true(publisher_collect(&w->publisher));
}

static void publications_are_numbered(void **state)
{
    struct world *w = *state;
    assert_int_equal(publish(w)->generation, 1);
    assert_int_equal(publish(w)->generation, 2);
    assert_true(publisher_collect(&w->publisher)); // nobody held the first
}

static void requests_keep_the_snapshot_they_began_with(void **state)
{
    struct world *w = *state;
    struct snapshot_holder holder = {.publisher = &w->publisher};
    publish(w);
    epoch_enter(w->epoch, w->reader);
    struct snapshot_hold *first = snapshot_holder_acquire(&holder);
    assert_ptr_equal(snapshot_holder_acquire(&holder), first); // one hold for all
    epoch_leave(w->reader);
    assert_int_equal(first->users, 2);

    publish(w);
    publish(w);
    assert_false(publisher_collect(&w->publisher)); // the first is held, the second is gone
    epoch_enter(w->epoch, w->reader);
    struct snapshot_hold *third = snapshot_holder_acquire(&holder);
    epoch_leave(w->reader);
    assert_int_equal(first->snapshot->generation, 1);
    assert_int_equal(third->snapshot->generation, 3);

    snapshot_holder_release(&holder, first);
    assert_false(publisher_collect(&w->publisher));
    snapshot_holder_release(&holder, first);
    assert_true(publisher_collect(&w->publisher));
    snapshot_holder_release(&holder, third); // stays as the current one
    assert_ptr_equal(holder.holds, third);
    snapshot_holder_fini(&holder);
}

static void an_idle_worker_lets_go_at_its_next_look(void **state)
{
    struct world *w = *state;
    struct snapshot_holder holder = {.publisher = &w->publisher};
    publish(w);
    epoch_enter(w->epoch, w->reader);
    snapshot_holder_release(&holder, snapshot_holder_acquire(&holder));
    snapshot_holder_refresh(&holder); // current: kept
    assert_non_null(holder.holds);
    epoch_leave(w->reader);
    publish(w);
    assert_false(publisher_collect(&w->publisher));
    snapshot_holder_refresh(&holder);
    assert_null(holder.holds);
    assert_true(publisher_collect(&w->publisher));
}

static void a_worker_inside_its_turn_holds_back_what_it_may_have_found(void **state)
{
    struct world *w = *state;
    struct snapshot_holder holder = {.publisher = &w->publisher};
    publish(w);
    epoch_enter(w->epoch, w->reader);
    struct snapshot *found = publisher_current(&w->publisher);
    publish(w);
    assert_false(publisher_collect(&w->publisher));
    assert_int_equal(found->generation, 1); // still there: ASan would tell
    epoch_leave(w->reader);
    assert_true(publisher_collect(&w->publisher));
    snapshot_holder_fini(&holder);
}

// A worker takes and drops holds while the control thread publishes: for the sanitizers.
struct racer {
    struct world *w;
    _Atomic int stop;
    _Atomic int rounds;
};

static void *race(void *arg)
{
    struct racer *racer = arg;
    struct world *w = racer->w;
    struct snapshot_holder holder = {.publisher = &w->publisher};
    struct snapshot_hold *long_one = NULL;
    uint64_t last = 0;
    for (unsigned i = 0; !racer->stop; i++) {
        epoch_enter(w->epoch, w->reader);
        struct snapshot_hold *hold = snapshot_holder_acquire(&holder);
        if (hold->snapshot->generation < last) {
            abort();
        }
        last = hold->snapshot->generation;
        if (i % 7 == 0) {
            if (long_one != NULL) {
                snapshot_holder_release(&holder, long_one);
            }
            long_one = hold;
        } else {
            snapshot_holder_release(&holder, hold);
        }
        if (i % 5 == 0) {
            snapshot_holder_refresh(&holder);
        }
        epoch_leave(w->reader);
        racer->rounds = racer->rounds + 1;
    }
    if (long_one != NULL) {
        snapshot_holder_release(&holder, long_one);
    }
    snapshot_holder_fini(&holder);
    return NULL;
}

static void publishing_and_holding_race_cleanly(void **state)
{
    struct world *w = *state;
    struct racer racer = {.w = w};
    publish(w);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, race, &racer), 0);
    for (int i = 0; i < 300 || racer.rounds < 300; i++) {
        publish(w);
        sched_yield();
    }
    racer.stop = 1;
    pthread_join(thread, NULL);
    assert_true(publisher_collect(&w->publisher));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_is_there_before_the_first, world_up, world_down),
        cmocka_unit_test_setup_teardown(publications_are_numbered, world_up, world_down),
        cmocka_unit_test_setup_teardown(requests_keep_the_snapshot_they_began_with, world_up,
                                        world_down),
        cmocka_unit_test_setup_teardown(an_idle_worker_lets_go_at_its_next_look, world_up,
                                        world_down),
        cmocka_unit_test_setup_teardown(a_worker_inside_its_turn_holds_back_what_it_may_have_found,
                                        world_up, world_down),
        cmocka_unit_test_setup_teardown(publishing_and_holding_race_cleanly, world_up, world_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
