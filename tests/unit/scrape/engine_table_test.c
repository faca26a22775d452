// Excerpts keep names, labels and values as running servers gave them (vLLM 0.32, SGLang 0.5,
// llama.cpp of November 2026), or as the engines' sources name them; texts are ours.
#include "scrape/engine_table.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char vllm[] =
    "# HELP vllm:num_requests_running text of ours\n"
    "# TYPE vllm:num_requests_running gauge\n"
    "vllm:num_requests_running{engine=\"0\",model_name=\"tiny\"} 4.0\n"
    "vllm:num_requests_waiting{engine=\"0\",model_name=\"tiny\"} 7.0\n"
    "vllm:num_requests_waiting_by_reason{engine=\"0\",model_name=\"tiny\",reason=\"capacity\"} 5.0\n"
    "vllm:num_requests_waiting_by_reason{engine=\"0\",model_name=\"tiny\",reason=\"deferred\"} 2.0\n"
    "vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"tiny\"} 0.5345911949685535\n"
    "vllm:num_preemptions_total{engine=\"0\",model_name=\"tiny\"} 2.0\n"
    "vllm:cache_config_info{_block_size_resolved=\"True\",block_size=\"32\",cache_dtype=\"auto\","
    "engine=\"0\",gpu_memory_utilization=\"0.92\",hash_block_size=\"None\","
    "kv_cache_max_concurrency=\"1.25\",kv_cache_memory_bytes=\"1073741824\","
    "kv_cache_size_tokens=\"5120\",num_cpu_blocks=\"None\",num_gpu_blocks=\"160\","
    "num_gpu_blocks_override=\"160\"} 1.0\n"
    "http_requests_total{handler=\"/v1/models\",method=\"GET\",status=\"2xx\"} 3.0\n";

static const char vllm_old[] =
    "vllm:num_requests_running{model_name=\"m\"} 8.0\n"
    "vllm:num_requests_swapped{model_name=\"m\"} 0.0\n"
    "vllm:num_requests_waiting{model_name=\"m\"} 3.0\n"
    "vllm:gpu_cache_usage_perc{model_name=\"m\"} 0.25\n"
    "vllm:cpu_cache_usage_perc{model_name=\"m\"} 0.0\n"
    "vllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"27801\"} 1.0\n";

static const char sglang[] =
    "sglang:max_total_num_tokens{engine_type=\"unified\",model_name=\"tiny\",moe_ep_rank=\"0\","
    "pp_rank=\"0\",tp_rank=\"0\"} 32768.0\n"
    "sglang:num_running_reqs{engine_type=\"unified\",model_name=\"tiny\",moe_ep_rank=\"0\","
    "pp_rank=\"0\",tp_rank=\"0\"} 2.0\n"
    "sglang:num_queue_reqs{engine_type=\"unified\",model_name=\"tiny\",moe_ep_rank=\"0\","
    "pp_rank=\"0\",tp_rank=\"0\"} 1.0\n"
    "sglang:num_grammar_queue_reqs{engine_type=\"unified\",model_name=\"tiny\"} 9.0\n"
    "sglang:token_usage{engine_type=\"unified\",model_name=\"tiny\",moe_ep_rank=\"0\","
    "pp_rank=\"0\",tp_rank=\"0\"} 0.09\n"
    "sglang:fwd_occupancy{engine_type=\"unified\"} NaN\n"
    "sglang:routing_key_running_req_count{gt=\"0\",le=\"1\"} 4.0\n";

static const char llamacpp[] =
    "# HELP llamacpp:requests_processing text of ours\n"
    "# TYPE llamacpp:requests_processing gauge\n"
    "llamacpp:prompt_tokens_total 2484\n"
    "llamacpp:requests_processing 4\n"
    "llamacpp:requests_deferred 8\n"
    "llamacpp:n_busy_slots_per_decode 1.00048\n";

static const char triton_new[] =
    "nv_inference_pending_request_count{model=\"tensorrt_llm\",version=\"1\"} 1\n"
    "nv_trt_llm_request_metrics{model=\"tensorrt_llm\",request_type=\"context\",version=\"1\"} 1\n"
    "nv_trt_llm_request_metrics{model=\"tensorrt_llm\",request_type=\"waiting\",version=\"1\"} 6\n"
    "nv_trt_llm_request_metrics{model=\"tensorrt_llm\",request_type=\"scheduled\",version=\"1\"} 4\n"
    "nv_trt_llm_request_metrics{model=\"tensorrt_llm\",request_type=\"max\",version=\"1\"} 512\n"
    "nv_trt_llm_request_metrics{model=\"tensorrt_llm\",request_type=\"active\",version=\"1\"} 10\n"
    "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"fraction\",model=\"tensorrt_llm\"} 0.4\n"
    "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"tokens_per\",model=\"tensorrt_llm\"} 64\n"
    "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"used\",model=\"tensorrt_llm\"} 1\n"
    "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"free\",model=\"tensorrt_llm\"} 6239\n"
    "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"max\",model=\"tensorrt_llm\"} 6240\n";

static const char triton_old[] =
    "nv_trt_llm_request_metrics{model=\"tensorrt_llm\",request_type=\"scheduled\",version=\"1\"} 4\n"
    "nv_trt_llm_request_metrics{model=\"tensorrt_llm\",request_type=\"active\",version=\"1\"} 10\n"
    "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"tokens_per\",model=\"tensorrt_llm\"} 64\n"
    "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"used\",model=\"tensorrt_llm\"} 25\n"
    "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"max\",model=\"tensorrt_llm\"} 100\n";

struct expected {
    const char *text;
    enum engine engine;
    double waiting, running, kv, capacity;
    const char *found;
    const char *missing;
};

static const struct expected table[] = {
    {vllm, ENGINE_VLLM, 5, 4, 0.5345911949685535, 5120,
     "vllm:num_requests_waiting_by_reason,vllm:num_requests_running,vllm:kv_cache_usage_perc,"
     "vllm:cache_config_info", ""},
    {vllm_old, ENGINE_VLLM, 3, 8, 0.25, 27801 * 16,
     "vllm:num_requests_waiting,vllm:num_requests_running,vllm:gpu_cache_usage_perc,"
     "vllm:cache_config_info", ""},
    {sglang, ENGINE_SGLANG, 1, 2, 0.09, 32768,
     "sglang:num_queue_reqs,sglang:num_running_reqs,sglang:token_usage,"
     "sglang:max_total_num_tokens", ""},
    {"tgi_queue_size 4\ntgi_batch_current_size 12\ntgi_batch_current_max_tokens 3000\n",
     ENGINE_TGI, 4, 12, NAN, NAN, "tgi_queue_size,tgi_batch_current_size", ""},
    {"trtllm_num_requests_waiting{model_name=\"m\"} 2\ntrtllm_num_requests_running 3\n"
     "trtllm_kv_cache_utilization 0.75\ntrtllm_kv_cache_max_blocks 1000\n"
     "trtllm_kv_cache_tokens_per_block 32\n",
     ENGINE_TENSORRT_LLM, 2, 3, 0.75, 32000,
     "trtllm_num_requests_waiting,trtllm_num_requests_running,trtllm_kv_cache_utilization,"
     "trtllm_kv_cache_max_blocks,trtllm_kv_cache_tokens_per_block", ""},
    {triton_new, ENGINE_TRITON_TRTLLM, 6, 4, 0.4, 6240 * 64,
     "nv_trt_llm_request_metrics,nv_trt_llm_kv_cache_block_metrics", ""},
    {triton_old, ENGINE_TRITON_TRTLLM, 6, 4, 0.25, 6400,
     "nv_trt_llm_request_metrics,nv_trt_llm_kv_cache_block_metrics", ""},
    {"nv_inference_pending_request_count{model=\"a\",version=\"1\"} 5\n"
     "nv_inference_pending_request_count{model=\"b\",version=\"1\"} 2\n"
     "nv_inference_exec_count{model=\"a\",version=\"1\"} 700\n",
     ENGINE_TRITON, 7, NAN, NAN, NAN, "nv_inference_pending_request_count", ""},
    {llamacpp, ENGINE_LLAMACPP, 8, 4, NAN, NAN,
     "llamacpp:requests_deferred,llamacpp:requests_processing", ""},
    {"lmdeploy:num_requests_waiting{model_name=\"m\"} 1\n"
     "lmdeploy:num_requests_running{model_name=\"m\"} 2\n"
     "lmdeploy:gpu_cache_usage_perc{model_name=\"m\"} 0.5\n",
     ENGINE_LMDEPLOY, 1, 2, 0.5, NAN,
     "lmdeploy:num_requests_waiting,lmdeploy:num_requests_running,lmdeploy:gpu_cache_usage_perc",
     ""},
    {"num_requests_waiting{model_name=\"m\"} 1\nnum_requests_running{model_name=\"m\"} 2\n"
     "gpu_cache_usage_perc{model_name=\"m\"} 0.5\nnum_request_max{model_name=\"m\"} 256\n",
     ENGINE_NIM, 1, 2, 0.5, NAN,
     "num_requests_waiting,num_requests_running,gpu_cache_usage_perc", ""},
    // A name that the engine has renamed is said to be missing.
    {"vllm:num_requests_running 1\nvllm:num_requests_waiting 0\nvllm:kv_usage_ratio 0.3\n",
     ENGINE_VLLM, 0, 1, NAN, NAN, "vllm:num_requests_waiting,vllm:num_requests_running",
     "vllm:kv_cache_usage_perc"},
};

static struct metric_plan plan;
static struct metric_reader reader;

static bool read_as(const char *text, enum engine engine, const struct scrape_config *config,
                    struct metric_result *result)
{
    assert_int_equal(metric_plan_init(&plan, engine, config), 0);
    metric_reader_init(&reader, &plan);
    metric_reader_feed(&reader, slice_of_str(text));
    return metric_reader_finish(&reader, result);
}

static void assert_number(double seen, double expected)
{
    if (isnan(expected)) {
        assert_true(isnan(seen));
    } else {
        assert_true(fabs(seen - expected) < 1e-9);
    }
}

static void assert_result(const struct metric_result *result, const struct expected *e)
{
    assert_int_equal(result->engine, e->engine);
    assert_number(result->waiting, e->waiting);
    assert_number(result->running, e->running);
    assert_number(result->kv_utilisation, e->kv);
    assert_number(result->kv_capacity_tokens, e->capacity);
    assert_string_equal(result->found, e->found);
    assert_string_equal(result->missing, e->missing);
}

static void every_engine_is_read_and_detected(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct metric_result result;
        assert_true(read_as(table[i].text, ENGINE_AUTO, NULL, &result));
        assert_result(&result, &table[i]);
        assert_true(read_as(table[i].text, table[i].engine, NULL, &result));
        assert_result(&result, &table[i]);
    }
}

static void what_is_no_engine_is_none(void **state)
{
    (void)state;
    struct metric_result result;
    assert_false(read_as("", ENGINE_AUTO, NULL, &result));
    assert_false(read_as("process_cpu_seconds_total 1\nfoo 2\n", ENGINE_AUTO, NULL, &result));
    assert_false(read_as("[{\"iter\": 1, \"numActiveRequests\": 2}]", ENGINE_AUTO, NULL, &result));
    assert_false(read_as(vllm, ENGINE_SGLANG, NULL, &result));
    assert_false(read_as("vllm:num_requests_running NaN\n", ENGINE_VLLM, NULL, &result));
}

static void data_parallel_engines_are_summed_and_the_fullest_cache_counts(void **state)
{
    (void)state;
    struct metric_result result;
    assert_true(read_as("vllm:num_requests_running{engine=\"0\"} 1\n"
                        "vllm:num_requests_running{engine=\"1\"} 2\n"
                        "vllm:num_requests_waiting{engine=\"0\"} 3\n"
                        "vllm:num_requests_waiting{engine=\"1\"} 4\n"
                        "vllm:kv_cache_usage_perc{engine=\"0\"} 0.9\n"
                        "vllm:kv_cache_usage_perc{engine=\"1\"} 0.1\n"
                        "vllm:cache_config_info{engine=\"0\",kv_cache_size_tokens=\"100\"} 1\n"
                        "vllm:cache_config_info{engine=\"1\",kv_cache_size_tokens=\"200\"} 1\n",
                        ENGINE_VLLM, NULL, &result));
    assert_number(result.running, 3);
    assert_number(result.waiting, 7);
    assert_number(result.kv_utilisation, 0.9);
    assert_number(result.kv_capacity_tokens, 300);
    // Tensor-parallel ranks report the same engine, data-parallel ones each their own.
    assert_true(read_as("sglang:num_running_reqs{dp_rank=\"0\",tp_rank=\"0\"} 3\n"
                        "sglang:num_running_reqs{tp_rank=\"1\",dp_rank=\"0\"} 3\n"
                        "sglang:num_running_reqs{dp_rank=\"1\",tp_rank=\"2\"} 5\n"
                        "sglang:num_running_reqs{dp_rank=\"1\",tp_rank=\"3\"} 5\n"
                        "sglang:max_total_num_tokens{tp_rank=\"0\"} 100\n"
                        "sglang:max_total_num_tokens{tp_rank=\"1\"} 100\n",
                        ENGINE_SGLANG, NULL, &result));
    assert_number(result.running, 8);
    assert_number(result.kv_capacity_tokens, 100);
}

static void a_gauge_left_over_at_idle_is_not_believed(void **state)
{
    (void)state;
    struct metric_result result;
    assert_true(read_as("sglang:num_running_reqs 0.0\nsglang:num_queue_reqs 0.0\n"
                        "sglang:token_usage 0.09\n",
                        ENGINE_AUTO, NULL, &result));
    assert_number(result.kv_utilisation, 0);
}

static void a_generic_mapping_names_its_own(void **state)
{
    (void)state;
    struct metric_result result;
    struct scrape_config config = {.map_waiting = "my_queue", .map_kv = "my_kv_percent"};
    assert_true(read_as("my_queue{a=\"1\"} 2\nmy_queue{a=\"2\"} 3\nmy_kv_percent 45\n",
                        ENGINE_GENERIC, &config, &result));
    assert_int_equal(result.engine, ENGINE_GENERIC);
    assert_number(result.waiting, 5);
    assert_number(result.running, NAN);
    assert_number(result.kv_utilisation, 0.45);
    assert_string_equal(result.found, "my_queue,my_kv_percent");
    // One name may stand for two fields.
    config = (struct scrape_config){.map_waiting = "q", .map_running = "q"};
    assert_true(read_as("q 2\n", ENGINE_GENERIC, &config, &result));
    assert_number(result.waiting + result.running, 4);
    assert_int_equal(metric_plan_init(&plan, ENGINE_GENERIC, NULL), -EINVAL);
}

static void a_flood_of_samples_is_cut(void **state)
{
    (void)state;
    struct metric_result result;
    assert_int_equal(metric_plan_init(&plan, ENGINE_VLLM, NULL), 0);
    metric_reader_init(&reader, &plan);
    for (int i = 0; i < 2 * METRIC_VALUES_MAX; i++) {
        char line[80];
        snprintf(line, sizeof(line), "vllm:num_requests_running{engine=\"%d\"} 1\n", i);
        metric_reader_feed(&reader, slice_of_str(line));
    }
    assert_true(metric_reader_finish(&reader, &result));
    assert_true(reader.overflow);
    assert_number(result.running, METRIC_VALUES_MAX);
}

static void paths_are_the_engines_or_the_users(void **state)
{
    (void)state;
    struct scrape_config config = {.path = ""};
    assert_string_equal(engine_scrape_path(&config, ENGINE_AUTO, 0), "/metrics");
    assert_string_equal(engine_scrape_path(&config, ENGINE_AUTO, 1), "/prometheus/metrics");
    assert_string_equal(engine_scrape_path(&config, ENGINE_AUTO, 2), "/v1/metrics");
    assert_null(engine_scrape_path(&config, ENGINE_AUTO, 3));
    assert_string_equal(engine_scrape_path(&config, ENGINE_TENSORRT_LLM, 0),
                        "/prometheus/metrics");
    assert_string_equal(engine_scrape_path(&config, ENGINE_NIM, 0), "/v1/metrics");
    assert_string_equal(engine_scrape_path(&config, ENGINE_GENERIC, 0), "/metrics");
    assert_null(engine_scrape_path(&config, ENGINE_GENERIC, 1));
    assert_null(engine_scrape_path(&config, ENGINE_OLLAMA, 0));
    snprintf(config.path, sizeof(config.path), "/my");
    assert_string_equal(engine_scrape_path(&config, ENGINE_NIM, 0), "/my");
    assert_null(engine_scrape_path(&config, ENGINE_NIM, 1));
}

static void health_is_asked_for_where_the_engine_has_it(void **state)
{
    (void)state;
    assert_string_equal(engine_health_path(ENGINE_AUTO), "/health");
    assert_string_equal(engine_health_path(ENGINE_GENERIC), "/health");
    assert_string_equal(engine_health_path(ENGINE_VLLM), "/health");
    assert_string_equal(engine_health_path(ENGINE_TRITON), "/v2/health/ready");
    assert_string_equal(engine_health_path(ENGINE_NIM), "/v1/health/ready");
    assert_string_equal(engine_health_path(ENGINE_OLLAMA), "/");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_engine_is_read_and_detected),
        cmocka_unit_test(what_is_no_engine_is_none),
        cmocka_unit_test(data_parallel_engines_are_summed_and_the_fullest_cache_counts),
        cmocka_unit_test(a_gauge_left_over_at_idle_is_not_believed),
        cmocka_unit_test(a_generic_mapping_names_its_own),
        cmocka_unit_test(a_flood_of_samples_is_cut),
        cmocka_unit_test(paths_are_the_engines_or_the_users),
        cmocka_unit_test(health_is_asked_for_where_the_engine_has_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
