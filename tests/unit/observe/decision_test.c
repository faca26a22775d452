// The ring of decisions: what was written is what is read, also while it is being written.
#include "observe/decision.h"

#include <json-c/json.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void write_one(struct decision_ring *ring, uint64_t time, uint32_t attempt, const char *id)
{
    struct decision *decision = decision_begin(ring);
    decision->wall_ns = time;
    decision->attempt = attempt;
    decision->prompt_tokens = time;
    decision_set(decision, DECISION_REQUEST_ID, slice_of_str(id));
    decision_set(decision, DECISION_BACKEND, SLICE("ml/llama"));
    decision->trace = (struct pick_trace){.policy = PICK_LEAST_REQUEST, .candidate_count = 2,
                                          .recorded = 2};
    for (int i = 0; i < 2; i++) {
        decision->trace.candidates[i] =
            (struct pick_candidate){.text = "10.0.0.1:8000", .cost = (float)attempt,
                                    .kv_utilisation = -1, .age_ms = UINT32_MAX};
    }
    decision_commit(ring);
}

static void newest_first_over_all_workers(void **state)
{
    (void)state;
    struct decisions *decisions = decisions_new(2);
    assert_non_null(decisions);
    for (unsigned i = 1; i <= 600; i++) {
        write_one(decisions_ring(decisions, i % 2), i, 1, "a");
    }
    struct decision found[10];
    assert_int_equal(decisions_read(decisions, SLICE_NULL, found, 10), 10);
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(found[i].wall_ns, 600 - i);
    }
    // Each ring keeps the last 256: 2 × 256 of the 600.
    struct decision *all = calloc(1000, sizeof(*all));
    assert_int_equal(decisions_read(decisions, SLICE_NULL, all, 1000), 2 * DECISIONS_KEPT);
    assert_int_equal(all[2 * DECISIONS_KEPT - 1].wall_ns, 600 - 2 * DECISIONS_KEPT + 1);
    free(all);
    decisions_free(decisions);
}

static void attempts_of_one_request_in_their_order(void **state)
{
    (void)state;
    struct decisions *decisions = decisions_new(1);
    struct decision_ring *ring = decisions_ring(decisions, 0);
    write_one(ring, 5, 1, "r");
    write_one(ring, 6, 1, "other");
    write_one(ring, 7, 2, "r");
    write_one(ring, 7, 3, "r");
    struct decision found[8];
    assert_int_equal(decisions_read(decisions, SLICE("r"), found, 8), 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(found[i].attempt, i + 1);
    }
    assert_int_equal(decisions_read(decisions, SLICE("none"), found, 8), 0);
    assert_int_equal(decisions_read(decisions, SLICE("r"), found, 1), 1);
    assert_int_equal(found[0].attempt, 1);
    decisions_free(decisions);
}

static void texts_that_do_not_fit_are_cut(void **state)
{
    (void)state;
    struct decisions *decisions = decisions_new(1);
    struct decision_ring *ring = decisions_ring(decisions, 0);
    char longest[DECISION_TEXT_MAX * 2];
    memset(longest, 'x', sizeof(longest));
    struct decision *decision = decision_begin(ring);
    decision_set(decision, DECISION_MODEL, SLICE("m"));
    decision_set(decision, DECISION_ROUTE, slice_of(longest, sizeof(longest)));
    decision_set(decision, DECISION_RULE, SLICE("no room"));
    decision_commit(ring);
    struct decision found;
    assert_int_equal(decisions_read(decisions, SLICE_NULL, &found, 1), 1);
    assert_true(slice_eq(decision_get(&found, DECISION_MODEL), SLICE("m")));
    assert_int_equal(decision_get(&found, DECISION_ROUTE).len, DECISION_TEXT_MAX - 1);
    assert_int_equal(decision_get(&found, DECISION_RULE).len, 0);
    assert_true(found.wall_ns != 0);
    decisions_free(decisions);
}

static void json_names_every_term(void **state)
{
    (void)state;
    struct decisions *decisions = decisions_new(1);
    write_one(decisions_ring(decisions, 0), UINT64_C(1767323045678000000), 2, "r\"1");
    struct decision found;
    assert_int_equal(decisions_read(decisions, SLICE_NULL, &found, 1), 1);
    struct strbuf out;
    strbuf_init(&out, 65536);
    decision_write_json(&found, &out);
    struct json_object *json = json_tokener_parse(strbuf_cstr(&out));
    assert_non_null(json);
    assert_string_equal(json_object_get_string(json_object_object_get(json, "request_id")), "r\"1");
    assert_string_equal(json_object_get_string(json_object_object_get(json, "time")),
                        "2026-01-02T03:04:05.678Z");
    struct json_object *pick = json_object_object_get(json, "pick");
    assert_string_equal(json_object_get_string(json_object_object_get(pick, "policy")),
                        "LeastRequest");
    struct json_object *candidates = json_object_object_get(pick, "candidates");
    assert_int_equal(json_object_array_length(candidates), 2);
    struct json_object *first = json_object_array_get_idx(candidates, 0);
    assert_non_null(json_object_object_get(first, "cost"));
    assert_null(json_object_object_get(first, "kv_utilisation")); // unknown
    assert_null(json_object_object_get(first, "age_ms"));
    json_object_put(json);
    strbuf_fini(&out);
    decisions_free(decisions);
}

struct race {
    struct decisions *decisions;
    _Atomic bool stop;
};

static void *write_all_the_time(void *arg)
{
    struct race *race = arg;
    char id[32];
    for (uint32_t i = 1; !atomic_load_explicit(&race->stop, memory_order_relaxed); i++) {
        snprintf(id, sizeof(id), "id-%u", i);
        write_one(decisions_ring(race->decisions, 0), i, i, id);
    }
    return NULL;
}

static void a_copy_is_never_a_mixture(void **state)
{
    (void)state;
    struct race race = {.decisions = decisions_new(1)};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, write_all_the_time, &race), 0);
    struct decision found[16];
    size_t seen = 0;
    while (seen < 4000) { // the writer may start late
        size_t count = decisions_read(race.decisions, SLICE_NULL, found, 16);
        for (size_t i = 0; i < count; i++) {
            char want[32];
            snprintf(want, sizeof(want), "id-%u", found[i].attempt);
            assert_true(slice_eq_str(decision_get(&found[i], DECISION_REQUEST_ID), want));
            assert_int_equal(found[i].wall_ns, found[i].attempt);
            assert_true(found[i].trace.candidates[1].cost == (float)found[i].attempt);
        }
        seen += count;
    }
    atomic_store_explicit(&race.stop, true, memory_order_relaxed);
    pthread_join(thread, NULL);
    decisions_free(race.decisions);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(newest_first_over_all_workers),
        cmocka_unit_test(attempts_of_one_request_in_their_order),
        cmocka_unit_test(texts_that_do_not_fit_are_cut),
        cmocka_unit_test(json_names_every_term),
        cmocka_unit_test(a_copy_is_never_a_mixture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
