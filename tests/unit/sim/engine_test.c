#include <errno.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/clock.h"
#include "sim/engine.h"

#define MS UINT64_C(1000000)

// A driver with its own time: it runs the engine from one event to the next.
struct bench {
    struct sim_engine engine;
    uint64_t now_ns;
    uint64_t tokens;
    unsigned finished;
    struct sim_request *abort_on_event;
};

static void on_event(struct sim_request *request, void *arg)
{
    struct bench *bench = arg;
    bench->tokens++;
    bench->finished += request->state == SIM_REQUEST_FINISHED;
    if (bench->abort_on_event != NULL) {
        sim_engine_abort(&bench->engine, bench->abort_on_event);
        bench->abort_on_event = NULL;
    }
}

static struct sim_engine_config plain(void)
{
    return (struct sim_engine_config){.max_num_seqs = 4,
                                      .max_queued = SIM_QUEUE_UNLIMITED,
                                      .prefill_chunk = 512,
                                      .prefill_rate = 10000,
                                      .decode_step_ms = 10,
                                      .time_scale = 1,
                                      .kv_blocks = 1000,
                                      .block_size = 16,
                                      .max_model_len = 8192,
                                      .seed = 1};
}

static void setup(struct bench *bench, struct sim_engine_config config)
{
    *bench = (struct bench){.now_ns = 1000 * MS};
    assert_int_equal(sim_engine_init(&bench->engine, &config, on_event, bench), 0);
}

static void run_until(struct bench *bench, uint64_t until_ns)
{
    for (;;) {
        uint64_t next = sim_engine_next_ns(&bench->engine);
        if (next > until_ns) {
            bench->now_ns = until_ns;
            return;
        }
        bench->now_ns = MAX_OF(bench->now_ns, next);
        sim_engine_run(&bench->engine, bench->now_ns);
    }
}

static void run_dry(struct bench *bench)
{
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t next = sim_engine_next_ns(&bench->engine);
        if (next == UINT64_MAX) {
            return;
        }
        bench->now_ns = MAX_OF(bench->now_ns, next);
        sim_engine_run(&bench->engine, bench->now_ns);
    }
    fail_msg("the engine does not come to rest");
}

static struct sim_request ask(uint32_t prompt, uint32_t output)
{
    return (struct sim_request){
        .prompt_tokens = prompt, .max_tokens = output, .finish = SIM_FINISH_LENGTH};
}

static void one_request_takes_prefill_then_a_step_for_each_token(void **state)
{
    (void)state;
    struct bench bench;
    setup(&bench, plain());
    struct sim_request request = ask(1000, 5);
    assert_int_equal(sim_engine_submit(&bench.engine, &request, bench.now_ns), 0);
    run_dry(&bench);
    // 512 + 488 tokens at 10,000/s = 100 ms of prefill in two steps, each with 10 ms of its own.
    assert_int_equal(request.first_token_ns - request.arrived_ns, 120 * MS);
    assert_int_equal(request.last_token_ns - request.first_token_ns, 4 * 10 * MS);
    assert_int_equal(request.output, 5);
    assert_int_equal(request.state, SIM_REQUEST_FINISHED);
    assert_int_equal(bench.engine.stats.finished[SIM_FINISH_LENGTH], 1);
    assert_true(sim_kv_usage(&bench.engine.kv) == 0);
    sim_engine_fini(&bench.engine);
}

static void the_batch_is_bounded_and_the_rest_waits(void **state)
{
    (void)state;
    struct bench bench;
    setup(&bench, plain());
    struct sim_request requests[6];
    for (unsigned i = 0; i < 6; i++) {
        requests[i] = ask(16, 10);
        assert_int_equal(sim_engine_submit(&bench.engine, &requests[i], bench.now_ns), 0);
    }
    run_until(&bench, bench.now_ns + 50 * MS);
    assert_int_equal(bench.engine.running_count, 4);
    assert_int_equal(bench.engine.waiting_count, 2);
    assert_int_equal(requests[4].output, 0);
    assert_true(requests[0].output > 0);
    run_dry(&bench);
    assert_int_equal(bench.finished, 6);
    assert_true(requests[4].first_token_ns > requests[0].last_token_ns);
    sim_engine_fini(&bench.engine);
}

static void decode_slows_with_the_batch(void **state)
{
    (void)state;
    struct sim_engine_config config = plain();
    config.decode_slowdown = 0.5;
    struct bench bench;
    setup(&bench, config);
    struct sim_request requests[3] = {ask(16, 20), ask(16, 20), ask(16, 20)};
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(sim_engine_submit(&bench.engine, &requests[i], bench.now_ns), 0);
    }
    run_dry(&bench);
    // Three decode together: 10 ms * (1 + 2 * 0.5) a step.
    assert_int_equal(requests[0].last_token_ns - requests[0].first_token_ns, 19 * 20 * MS);
    sim_engine_fini(&bench.engine);
}

static void a_full_queue_refuses_and_the_front_end_learns_it_with_the_next_step(void **state)
{
    (void)state;
    struct sim_engine_config config = plain();
    config.max_queued = 2;
    struct bench bench;
    setup(&bench, config);
    struct sim_request requests[8];
    int accepted = 0;
    for (unsigned i = 0; i < 8; i++) {
        requests[i] = ask(16, 50);
        assert_false(sim_engine_known_full(&bench.engine)); // a burst is ahead of the figures
        accepted += sim_engine_submit(&bench.engine, &requests[i], bench.now_ns) == 0;
    }
    assert_int_equal(accepted, 6);
    assert_int_equal(bench.engine.stats.rejections, 2);
    run_until(&bench, bench.now_ns + 30 * MS);
    assert_true(sim_engine_known_full(&bench.engine));
    run_dry(&bench);
    assert_false(sim_engine_known_full(&bench.engine));
    sim_engine_fini(&bench.engine);
}

static void an_equal_prefix_is_found_in_the_cache_by_blocks(void **state)
{
    (void)state;
    struct bench bench;
    setup(&bench, plain());
    uint64_t hashes[10] = {11, 12, 13, 14, 15, 16, 17, 18, 19, 20};
    struct sim_request first = ask(160, 1);
    first.hashes = hashes;
    first.hash_count = 10;
    assert_int_equal(sim_engine_submit(&bench.engine, &first, bench.now_ns), 0);
    run_dry(&bench);
    assert_int_equal(first.cached, 0);

    struct sim_request same = ask(160, 1);
    same.hashes = hashes;
    same.hash_count = 10;
    uint64_t other_hashes[10] = {11, 12, 13, 99, 15, 16, 17, 18, 19, 20};
    struct sim_request other = ask(160, 1);
    other.hashes = other_hashes;
    other.hash_count = 10;
    assert_int_equal(sim_engine_submit(&bench.engine, &same, bench.now_ns), 0);
    assert_int_equal(sim_engine_submit(&bench.engine, &other, bench.now_ns), 0);
    run_dry(&bench);
    assert_int_equal(same.cached, 144); // never the whole prompt: one token has to be computed
    assert_int_equal(other.cached, 48);
    assert_int_equal(bench.engine.stats.cached_tokens, 192);
    assert_int_equal(bench.engine.stats.computed_prompt_tokens, 160 + 16 + 112);
    sim_engine_fini(&bench.engine);
}

static void equal_prompts_of_one_step_share_their_blocks(void **state)
{
    (void)state;
    struct bench bench;
    struct sim_engine_config config = plain();
    config.max_queued = 0;
    config.max_num_seqs = 2;
    setup(&bench, config);
    uint64_t hashes[6] = {11, 12, 13, 14, 15, 16};
    struct sim_request requests[3];
    for (unsigned i = 0; i < 3; i++) {
        requests[i] = ask(100, 4);
        requests[i].hashes = hashes;
        requests[i].hash_count = 6;
        requests[i].sibling = i > 0; // of the first, which the queue let in
        assert_int_equal(sim_engine_submit(&bench.engine, &requests[i], bench.now_ns), 0);
    }
    struct sim_request other = ask(10, 1);
    assert_int_equal(sim_engine_submit(&bench.engine, &other, bench.now_ns), -EAGAIN);
    sim_engine_run(&bench.engine, bench.now_ns);
    assert_int_equal(bench.engine.running_count, 2);
    assert_int_equal(requests[0].cached, 0);
    assert_int_equal(requests[1].cached, 96);
    // Six blocks for both and one for the rest of each.
    assert_int_equal(bench.engine.kv.count - bench.engine.kv.free_count, 8);
    run_dry(&bench);
    assert_int_equal(requests[2].cached, 96);
    assert_int_equal(bench.engine.stats.computed_prompt_tokens, 100 + 4 + 4);
    assert_int_equal(bench.finished, 3);
    assert_true(sim_kv_usage(&bench.engine.kv) == 0);
    sim_engine_fini(&bench.engine);
}

static void the_cache_forgets_the_least_recently_used(void **state)
{
    (void)state;
    struct sim_engine_config config = plain();
    config.kv_blocks = 6;
    struct bench bench;
    setup(&bench, config);
    uint64_t a[2] = {1, 2};
    uint64_t b[2] = {3, 4};
    uint64_t c[2] = {5, 6};
    uint64_t *order[] = {a, b, a, c};
    uint32_t cached[4];
    for (unsigned i = 0; i < 4; i++) {
        struct sim_request request = ask(33, 1);
        request.hashes = order[i];
        request.hash_count = 2;
        assert_int_equal(sim_engine_submit(&bench.engine, &request, bench.now_ns), 0);
        run_dry(&bench);
        cached[i] = request.cached;
    }
    assert_int_equal(cached[2], 32);
    assert_int_equal(sim_kv_match(&bench.engine.kv, a, 2), 2); // used after b
    assert_true(sim_kv_match(&bench.engine.kv, b, 2) < 2);
    assert_int_equal(sim_kv_match(&bench.engine.kv, c, 2), 2);
    sim_engine_fini(&bench.engine);
}

static void kv_shortage_preempts_the_latest_and_everyone_completes(void **state)
{
    (void)state;
    struct sim_engine_config config = plain();
    config.kv_blocks = 20; // 320 tokens for 4 x 164
    struct bench bench;
    setup(&bench, config);
    struct sim_request requests[4];
    for (unsigned i = 0; i < 4; i++) {
        requests[i] = ask(64, 100);
        assert_int_equal(sim_engine_submit(&bench.engine, &requests[i], bench.now_ns), 0);
    }
    run_dry(&bench);
    assert_int_equal(bench.finished, 4);
    assert_true(bench.engine.stats.preemptions > 0);
    assert_int_equal(requests[0].preemptions, 0);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(requests[i].output, 100);
    }
    assert_int_equal(bench.engine.stats.generation_tokens, 400);
    assert_true(sim_kv_usage(&bench.engine.kv) == 0);
    sim_engine_fini(&bench.engine);
}

static void an_abort_frees_blocks_at_once_even_from_a_callback(void **state)
{
    (void)state;
    struct bench bench;
    setup(&bench, plain());
    struct sim_request requests[3] = {ask(100, 50), ask(100, 50), ask(100, 50)};
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(sim_engine_submit(&bench.engine, &requests[i], bench.now_ns), 0);
    }
    run_until(&bench, bench.now_ns + 60 * MS);
    double before = sim_kv_usage(&bench.engine.kv);
    bench.abort_on_event = &requests[1]; // while requests[0] is being reported
    run_until(&bench, bench.now_ns + 15 * MS);
    assert_int_equal(requests[1].state, SIM_REQUEST_FINISHED);
    assert_true(sim_kv_usage(&bench.engine.kv) < before);
    sim_engine_abort(&bench.engine, &requests[0]);
    sim_engine_abort(&bench.engine, &requests[0]);
    sim_engine_abort(&bench.engine, &requests[2]);
    assert_true(sim_kv_usage(&bench.engine.kv) == 0);
    assert_int_equal(bench.engine.running_count, 0);
    assert_int_equal(bench.engine.stats.finished[SIM_FINISH_ABORT], 3);
    run_dry(&bench);
    sim_engine_fini(&bench.engine);
}

static void what_does_not_fit_the_context_is_refused(void **state)
{
    (void)state;
    struct sim_engine_config config = plain();
    config.kv_blocks = 10;
    struct bench bench;
    setup(&bench, config);
    assert_int_equal(sim_engine_context(&bench.engine), 160);
    struct sim_request requests[3] = {ask(161, 0), ask(100, 61), ask(0, 5)};
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(sim_engine_submit(&bench.engine, &requests[i], bench.now_ns), -E2BIG);
    }
    struct sim_request fits = ask(100, 60);
    assert_int_equal(sim_engine_submit(&bench.engine, &fits, bench.now_ns), 0);
    run_dry(&bench);
    assert_int_equal(fits.output, 60);
    sim_engine_fini(&bench.engine);
}

static void a_frozen_engine_does_nothing_and_then_goes_on(void **state)
{
    (void)state;
    struct bench bench;
    setup(&bench, plain());
    struct sim_request request = ask(16, 10);
    assert_int_equal(sim_engine_submit(&bench.engine, &request, bench.now_ns), 0);
    run_until(&bench, bench.now_ns + 35 * MS);
    uint32_t output = request.output;
    sim_engine_freeze(&bench.engine, true, bench.now_ns);
    run_until(&bench, bench.now_ns + 5000 * MS);
    assert_int_equal(request.output, output);
    assert_int_equal(bench.engine.running_count, 1);
    sim_engine_freeze(&bench.engine, false, bench.now_ns);
    run_dry(&bench);
    assert_int_equal(request.output, 10);
    assert_in_range(request.last_token_ns - request.arrived_ns, 5090 * MS, 5130 * MS);
    sim_engine_fini(&bench.engine);
}

static void the_same_seed_gives_the_same_times(void **state)
{
    (void)state;
    uint64_t ends[3];
    for (unsigned i = 0; i < 3; i++) {
        struct sim_engine_config config = plain();
        config.jitter = 0.1;
        config.seed = i == 2 ? 8 : 7;
        struct bench bench;
        setup(&bench, config);
        struct sim_request request = ask(100, 100);
        assert_int_equal(sim_engine_submit(&bench.engine, &request, bench.now_ns), 0);
        run_dry(&bench);
        ends[i] = request.last_token_ns;
        sim_engine_fini(&bench.engine);
    }
    assert_int_equal(ends[0], ends[1]);
    assert_true(ends[0] != ends[2]);
}

static void nonsense_is_refused(void **state)
{
    (void)state;
    struct sim_engine engine;
    struct sim_engine_config config = plain();
    config.max_num_seqs = 0;
    assert_int_equal(sim_engine_init(&engine, &config, on_event, NULL), -EINVAL);
    config = plain();
    config.prefill_rate = 0;
    assert_int_equal(sim_engine_init(&engine, &config, on_event, NULL), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_request_takes_prefill_then_a_step_for_each_token),
        cmocka_unit_test(the_batch_is_bounded_and_the_rest_waits),
        cmocka_unit_test(decode_slows_with_the_batch),
        cmocka_unit_test(a_full_queue_refuses_and_the_front_end_learns_it_with_the_next_step),
        cmocka_unit_test(an_equal_prefix_is_found_in_the_cache_by_blocks),
        cmocka_unit_test(equal_prompts_of_one_step_share_their_blocks),
        cmocka_unit_test(the_cache_forgets_the_least_recently_used),
        cmocka_unit_test(kv_shortage_preempts_the_latest_and_everyone_completes),
        cmocka_unit_test(an_abort_frees_blocks_at_once_even_from_a_callback),
        cmocka_unit_test(what_does_not_fit_the_context_is_refused),
        cmocka_unit_test(a_frozen_engine_does_nothing_and_then_goes_on),
        cmocka_unit_test(the_same_seed_gives_the_same_times),
        cmocka_unit_test(nonsense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
