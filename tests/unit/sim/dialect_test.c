#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <json-c/json.h>

#include "sim/dialect.h"
#include "sim/family.h"
#include "sim/words.h"

static struct sim_fill example(const struct sim_dialect *dialect)
{
    return (struct sim_fill){.id = SLICE("chatcmpl-1"),
                             .model = SLICE("we\"ird\\mo\ndel"),
                             .choices = SLICE("{\"index\":0},{\"index\":1}"),
                             .text = SLICE(" words"),
                             .item_id = SLICE("1"),
                             .all_models = SLICE("a, \"b\""),
                             .dialect = dialect,
                             .finish = "stop",
                             .field = "max_tokens",
                             .created = 1700000000,
                             .value = 5000,
                             .limit = 4096,
                             .prompt_tokens = 100,
                             .output_tokens = 7,
                             .cached_tokens = 64,
                             .block_size = 16,
                             .prompt_ms = 12.5,
                             .output_ms = 70,
                             .status = 503,
                             .every_usage = true};
}

static struct json_object *parse(const char *text, const struct sim_fill *fill)
{
    struct strbuf out;
    strbuf_init(&out, 1 << 20);
    sim_fill_text(&out, text, fill);
    struct json_object *object = json_tokener_parse(strbuf_cstr(&out));
    if (object == NULL) {
        fail_msg("not JSON: %s", strbuf_cstr(&out));
    }
    strbuf_fini(&out);
    return object;
}

static void check_json(const char *text, const struct sim_fill *fill)
{
    if (text != NULL) {
        json_object_put(parse(text, fill));
    }
}

static void check_events(const struct sim_events *events, const struct sim_fill *fill)
{
    if (events == NULL) {
        return;
    }
    check_json(events->whole, fill);
    check_json(events->token.text, fill);
    const struct sim_event *lists[] = {events->begin, events->end};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        for (const struct sim_event *event = lists[i]; event->name != NULL; event++) {
            check_json(event->text, fill);
        }
    }
}

static void every_text_of_every_dialect_is_json(void **state)
{
    (void)state;
    const struct sim_dialect *dialect;
    for (size_t i = 0; (dialect = sim_dialect_at(i)) != NULL; i++) {
        struct sim_fill fill = example(dialect);
        const struct sim_texts *apis[] = {&dialect->chat, &dialect->text};
        for (size_t a = 0; a < 2; a++) {
            assert_non_null(apis[a]->token);
            assert_non_null(apis[a]->whole);
            assert_non_null(apis[a]->choice);
            assert_true(apis[a]->last_token != NULL || apis[a]->finish != NULL);
            const char *texts[] = {apis[a]->role,       apis[a]->token,        apis[a]->last_token,
                                   apis[a]->last_plain, apis[a]->finish,       apis[a]->finish_usage,
                                   apis[a]->usage,      apis[a]->whole,        apis[a]->choice};
            for (size_t t = 0; t < ARRAY_LEN(texts); t++) {
                check_json(texts[t], &fill);
            }
        }
        check_events(dialect->responses, &fill);
        check_events(dialect->messages, &fill);
        check_json(dialect->error_event, &fill);
        check_json(dialect->overload_event, &fill);
        check_json(dialect->models_entry, &fill);
        check_json(dialect->models_names, &fill);
        for (size_t f = 0; f < SIM_FAILURE_COUNT; f++) {
            const struct sim_failure_row *row = &dialect->failures[f];
            if (row->body != NULL && row->body[0] == '{') {
                check_json(row->body, &fill);
            }
            assert_true(row->body == NULL || (row->status >= 400 && row->status < 600));
        }
        assert_non_null(dialect->failures[SIM_FAILURE_NO_ROUTE].body);
        assert_non_null(dialect->failures[SIM_FAILURE_BAD_JSON].body);
        assert_non_null(dialect->failures[SIM_FAILURE_CHOICES].body);
        assert_non_null(dialect->failures[SIM_FAILURE_OVERLOADED].body);
        assert_non_null(dialect->failures[SIM_FAILURE_OTHER].body);
    }
    assert_int_equal(sim_dialect_find(SLICE("VLLM")) != NULL, 1);
    assert_null(sim_dialect_find(SLICE("vll")));
}

static void directives_carry_the_numbers(void **state)
{
    (void)state;
    const struct sim_dialect *vllm = sim_dialect_find(SLICE("vllm"));
    struct sim_fill fill = example(vllm);
    struct json_object *answer = parse(vllm->chat.whole, &fill);
    struct json_object *usage = json_object_object_get(answer, "usage");
    assert_int_equal(json_object_get_int(json_object_object_get(usage, "total_tokens")), 107);
    struct json_object *details = json_object_object_get(usage, "prompt_tokens_details");
    assert_int_equal(json_object_get_int(json_object_object_get(details, "cached_tokens")), 64);
    // 100 tokens have 6 full blocks of 16.
    assert_int_equal(json_object_get_int(json_object_object_get(details, "created_cache_tokens")),
                     96 - 64);
    assert_string_equal(json_object_get_string(json_object_object_get(answer, "model")),
                        "we\"ird\\mo\ndel");
    json_object_put(answer);
}

static void on_event(struct sim_request *request, void *arg)
{
    (void)request;
    (void)arg;
}

static void histograms_are_cumulative_and_labels_well_formed(void **state)
{
    (void)state;
    const struct sim_dialect *dialect;
    struct sim_engine engine;
    struct sim_engine_config config = {.max_num_seqs = 4,
                                       .max_queued = SIM_QUEUE_UNLIMITED,
                                       .prefill_chunk = 100,
                                       .prefill_rate = 1000,
                                       .decode_step_ms = 10,
                                       .time_scale = 1,
                                       .kv_blocks = 100,
                                       .block_size = 16,
                                       .max_model_len = 1000};
    assert_int_equal(sim_engine_init(&engine, &config, on_event, NULL), 0);
    struct sim_request request = {.prompt_tokens = 150, .max_tokens = 5,
                                  .finish = SIM_FINISH_LENGTH};
    assert_int_equal(sim_engine_submit(&engine, &request, 1000), 0);
    while (sim_engine_next_ns(&engine) != UINT64_MAX) {
        sim_engine_run(&engine, MAX_OF(sim_engine_next_ns(&engine), (uint64_t)1000));
    }
    for (size_t i = 0; (dialect = sim_dialect_at(i)) != NULL; i++) {
        struct sim_figures figures = {.engine = &engine,
                                      .dialect = dialect,
                                      .model = SLICE("tiny"),
                                      .running = 2,
                                      .waiting = 3,
                                      .kv_usage = 0.25,
                                      .last_kv_usage = 0.256};
        struct strbuf out;
        strbuf_init(&out, 1 << 20);
        sim_family_write(&out, &figures);
        assert_false(out.failed);
        struct slice rest = strbuf_slice(&out);
        struct slice line;
        double last = -1;
        while (slice_split(&rest, '\n', &line)) {
            if (line.len == 0 || line.ptr[0] == '#') {
                continue;
            }
            ptrdiff_t space = (ptrdiff_t)line.len - 1;
            while (space > 0 && line.ptr[space] != ' ') {
                space--;
            }
            double value;
            assert_int_equal(slice_to_double(slice_skip(line, (size_t)space + 1), &value), 0);
            bool is_bucket = slice_find(line, SLICE("_bucket{")) >= 0;
            assert_true(!is_bucket || value >= last);
            last = is_bucket && slice_find(line, SLICE("le=\"+Inf\"")) < 0 ? value : -1;
            assert_true(slice_find(line, SLICE("{,")) < 0 && slice_find(line, SLICE(",}")) < 0);
            assert_true(slice_find(line, SLICE("%")) < 0);
        }
        strbuf_fini(&out);
    }
    sim_engine_fini(&engine);
}

static void a_seed_gives_one_text(void **state)
{
    (void)state;
    assert_true(slice_eq(sim_word(7, 3), sim_word(7, 3)));
    assert_int_equal(sim_word(7, 3).ptr[0], ' ');
    assert_int_not_equal(sim_word(7, 0).ptr[0], ' ');
    unsigned different = 0;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        different += !slice_eq(sim_word(1, i), sim_word(2, i));
        uint32_t length = sim_natural_length(sim_mix(9, i));
        assert_in_range(length, 16, 416);
        sum += length;
    }
    assert_true(different > 900);
    assert_in_range(sum / 1000, 90, 150);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_text_of_every_dialect_is_json),
        cmocka_unit_test(directives_carry_the_numbers),
        cmocka_unit_test(histograms_are_cumulative_and_labels_well_formed),
        cmocka_unit_test(a_seed_gives_one_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
