// NVIDIA's servers: trtllm-serve (/prometheus/metrics), Triton with the TensorRT-LLM backend, Triton
// with any other backend, and NIM. Metric names after their documentation.
#include "sim/dialects.h"
#include "sim/family_bounds.h"
#include "sim/openai_texts.h"

#define READY "{\"object\":\"health.response\",\"message\":\"Service is ready.\"}"

// ---- trtllm-serve -----------------------------------------------------------------------------

#define T "engine_type=\"trtllm\",model_name=\"%m\""
#define TG(name, help, value) SIM_SERIES(SIM_GAUGE, name, help, NULL, value)

static const struct sim_family trtllm_families[] = {
    SIM_PYTHON_FAMILIES,
    SIM_SERIES(SIM_COUNTER, "trtllm_request_success_total", "Finished requests.",
               "engine_type=\"trtllm\",finished_reason=\"stop\",model_name=\"%m\"", FINISHED_STOP),
    SIM_SERIES(SIM_COUNTER, "trtllm_request_success_total", "",
               "engine_type=\"trtllm\",finished_reason=\"length\",model_name=\"%m\"",
               FINISHED_LENGTH),
    SIM_DISTRIBUTION("trtllm_e2e_request_latency_seconds", "Whole requests.", end_to_end,
                     sim_bounds_request, SIM_NS),
    SIM_DISTRIBUTION("trtllm_time_to_first_token_seconds", "Time to the first token.", ttft,
                     sim_bounds_ttft, SIM_NS),
    SIM_DISTRIBUTION("trtllm_time_per_output_token_seconds", "Mean between tokens.",
                     time_per_output_token, sim_bounds_inter_token, SIM_NS),
    SIM_DISTRIBUTION("trtllm_request_queue_time_seconds", "Time in the queue.", queue,
                     sim_bounds_request, SIM_NS),
    TG("trtllm_num_requests_running", "Requests in the batch.", RUNNING),
    TG("trtllm_num_requests_waiting", "Requests in the queue.", WAITING),
    TG("trtllm_max_num_active_requests", "Size of the batch.", MAX_NUM_SEQS),
    TG("trtllm_kv_cache_utilization", "KV blocks in use, 0 to 1.", KV_USAGE),
    TG("trtllm_kv_cache_hit_rate", "Share of blocks found.", HIT_RATE),
    TG("trtllm_kv_cache_max_blocks", "KV blocks.", KV_BLOCKS),
    TG("trtllm_kv_cache_free_blocks", "KV blocks free.", KV_FREE_BLOCKS),
    TG("trtllm_kv_cache_used_blocks", "KV blocks in use.", KV_USED_BLOCKS),
    TG("trtllm_kv_cache_tokens_per_block", "Tokens of a block.", BLOCK_SIZE),
    SIM_SERIES(SIM_COUNTER, "trtllm_generation_tokens_total", "Generated tokens.", NULL,
               GENERATION_TOKENS),
    SIM_SERIES(SIM_COUNTER, "trtllm_prompt_tokens_total", "Prompt tokens.", NULL, PROMPT_TOKENS),
};

const struct sim_dialect sim_dialect_tensorrt_llm = {
    .name = "tensorrt-llm",
    .version = "{\"version\":\"1.2.0\"}",
    .health = "",
    .health_paths = "/health_generate",
    .metrics_path = "/prometheus/metrics",
    .plain_metrics = "[]",
    .metrics_type = "text/plain; version=0.0.4; charset=utf-8",
    .headers = SIM_HEADERS_UVICORN,
    SIM_OPENAI_TEXTS,
    SIM_OPENAI_FAILURES,
    SIM_OPENAI_MODELS("tensorrt_llm"),
    .head_at_once = true,
    .done_after_error = true,
    .labels = T,
    .histogram_labels = "engine_type=\"trtllm\",%l,model_name=\"%m\"",
    .families = trtllm_families,
    .family_count = ARRAY_LEN(trtllm_families),
    .name_filter = SIM_NAMES_CHOSEN,
    .float_values = true,
    .created_series = true,
};

// ---- Triton -----------------------------------------------------------------------------------

#define V "model=\"%m\",version=\"1\""
#define BACKEND "model=\"tensorrt_llm\",version=\"1\""

#define TRITON_COMMON                                                                              \
    SIM_SERIES(SIM_COUNTER, "nv_inference_request_success", "Successful requests.", V, FINISHED),  \
    SIM_FIXED(SIM_COUNTER, "nv_inference_request_failure", "Failed requests.",                     \
              "model=\"%m\",reason=\"OTHER\",version=\"1\"", 0),                                   \
    SIM_SERIES(SIM_COUNTER, "nv_inference_request_failure", "",                                    \
               "model=\"%m\",reason=\"REJECTED\",version=\"1\"", REJECTIONS),                      \
    SIM_SERIES(SIM_COUNTER, "nv_inference_request_failure", "",                                    \
               "model=\"%m\",reason=\"CANCELED\",version=\"1\"", ABORTED),                         \
    SIM_SERIES(SIM_COUNTER, "nv_inference_count", "Inferences.", V, FINISHED),                     \
    SIM_SERIES(SIM_COUNTER, "nv_inference_exec_count", "Executions.", V, STEPS),                   \
    SIM_FIXED(SIM_COUNTER, "nv_inference_request_duration_us", "Time of requests.", V, 0),         \
    SIM_FIXED(SIM_COUNTER, "nv_inference_queue_duration_us", "Time in the queue.", V, 0),          \
    SIM_FIXED(SIM_COUNTER, "nv_inference_compute_infer_duration_us", "Time of inference.", V, 0),  \
    SIM_FIXED(SIM_GAUGE, "nv_gpu_utilization", "GPU utilisation.", "gpu_uuid=\"GPU-0\"", 0.5),     \
    SIM_FIXED(SIM_GAUGE, "nv_gpu_memory_total_bytes", "GPU memory.", "gpu_uuid=\"GPU-0\"",         \
              85899345920.0),                                                                      \
    SIM_FIXED(SIM_GAUGE, "nv_gpu_power_usage", "GPU power.", "gpu_uuid=\"GPU-0\"", 312.5),         \
    SIM_FIXED(SIM_GAUGE, "nv_cpu_utilization", "CPU utilisation.", "", 0.1)

#define REQUESTS(kind, value)                                                                      \
    SIM_SERIES(SIM_GAUGE, "nv_trt_llm_request_metrics", "Requests by state.",                      \
               "model=\"tensorrt_llm\",request_type=\"" kind "\",version=\"1\"", value)
#define BLOCKS(kind, value)                                                                        \
    SIM_SERIES(SIM_GAUGE, "nv_trt_llm_kv_cache_block_metrics", "KV blocks by state.",              \
               "kv_cache_block_type=\"" kind "\"," BACKEND, value)

static const struct sim_family triton_trtllm_families[] = {
    TRITON_COMMON,
    REQUESTS("waiting", WAITING),
    REQUESTS("context", CONSTANT),
    REQUESTS("scheduled", RUNNING),
    REQUESTS("max", MAX_NUM_SEQS),
    REQUESTS("active", LOAD),
    SIM_FIXED(SIM_GAUGE, "nv_trt_llm_runtime_memory_metrics", "Memory.",
              "memory_type=\"pinned\"," BACKEND, 0),
    SIM_FIXED(SIM_GAUGE, "nv_trt_llm_runtime_memory_metrics", "", "memory_type=\"gpu\"," BACKEND,
              1610236),
    SIM_FIXED(SIM_GAUGE, "nv_trt_llm_runtime_memory_metrics", "", "memory_type=\"cpu\"," BACKEND,
              0),
    BLOCKS("fraction", KV_USAGE),
    BLOCKS("reused", CONSTANT),
    BLOCKS("tokens_per", BLOCK_SIZE),
    BLOCKS("used", KV_USED_BLOCKS),
    BLOCKS("free", KV_FREE_BLOCKS),
    BLOCKS("max", KV_BLOCKS),
    SIM_SERIES(SIM_GAUGE, "nv_trt_llm_inflight_batcher_metrics", "The batcher.",
               "inflight_batcher_specific_metric=\"generation_requests\"," BACKEND, RUNNING),
    SIM_SERIES(SIM_GAUGE, "nv_trt_llm_inflight_batcher_metrics", "",
               "inflight_batcher_specific_metric=\"micro_batch_id\"," BACKEND, CONSTANT),
};

static const struct sim_family triton_families[] = {
    TRITON_COMMON,
    SIM_SERIES(SIM_GAUGE, "nv_inference_pending_request_count", "Requests in the queue.", V,
               WAITING),
};

#define TRITON_MANNERS                                                                             \
    .health = "", .health_paths = "/v2/health/ready /v2/health/live /health/ready /health/live",   \
    .metrics_path = "/metrics", .metrics_type = "text/plain; charset=utf-8",                       \
    .headers = SIM_HEADERS_UVICORN, .head_at_once = true, .done_after_error = true,                \
    .labels = V, .histogram_labels = "%l," V

const struct sim_dialect sim_dialect_triton_trtllm = {
    .name = "triton-trtllm",
    TRITON_MANNERS,
    SIM_OPENAI_TEXTS,
    SIM_OPENAI_FAILURES,
    SIM_OPENAI_MODELS("Triton Inference Server"),
    .orca = true,
    .families = triton_trtllm_families,
    .family_count = ARRAY_LEN(triton_trtllm_families),
};

const struct sim_dialect sim_dialect_triton = {
    .name = "triton",
    TRITON_MANNERS,
    SIM_OPENAI_TEXTS,
    SIM_OPENAI_FAILURES,
    SIM_OPENAI_MODELS("Triton Inference Server"),
    .families = triton_families,
    .family_count = ARRAY_LEN(triton_families),
};

// ---- NIM --------------------------------------------------------------------------------------

#define N "model_name=\"%m\""

static const struct sim_family nim_families[] = {
    SIM_PYTHON_FAMILIES,
    SIM_SERIES(SIM_GAUGE, "num_requests_running", "Requests in the batch.", NULL, RUNNING),
    SIM_SERIES(SIM_GAUGE, "num_requests_waiting", "Requests in the queue.", NULL, WAITING),
    SIM_SERIES(SIM_GAUGE, "num_request_max", "Size of the batch.", NULL, MAX_NUM_SEQS),
    SIM_SERIES(SIM_GAUGE, "gpu_cache_usage_perc", "KV blocks in use, 0 to 1.", NULL, KV_USAGE),
    SIM_SERIES(SIM_COUNTER, "prompt_tokens_total", "Prompt tokens.", NULL, PROMPT_TOKENS),
    SIM_SERIES(SIM_COUNTER, "generation_tokens_total", "Generated tokens.", NULL,
               GENERATION_TOKENS),
    SIM_DISTRIBUTION("time_to_first_token_seconds", "Time to the first token.", ttft,
                     sim_bounds_ttft, SIM_NS),
    SIM_DISTRIBUTION("time_per_output_token_seconds", "Mean between tokens.",
                     time_per_output_token, sim_bounds_inter_token, SIM_NS),
    SIM_DISTRIBUTION("e2e_request_latency_seconds", "Whole requests.", end_to_end,
                     sim_bounds_request, SIM_NS),
    SIM_DISTRIBUTION("request_prompt_tokens", "Prompt lengths.", prompt_length, sim_bounds_length,
                     1),
    SIM_DISTRIBUTION("request_generation_tokens", "Output lengths.", generation_length,
                     sim_bounds_length, 1),
    SIM_SERIES(SIM_COUNTER, "request_success_total", "Finished requests.",
               "finished_reason=\"stop\"," N, FINISHED_STOP),
    SIM_SERIES(SIM_COUNTER, "request_success_total", "", "finished_reason=\"length\"," N,
               FINISHED_LENGTH),
};

const struct sim_dialect sim_dialect_nim = {
    .name = "nim",
    .version = "{\"release\":\"1.14.0\",\"api\":\"2.0.0\"}",
    .health = READY,
    .health_paths = "/v1/health/ready /v1/health/live",
    .metrics_path = "/v1/metrics",
    .metrics_type = "text/plain; version=0.0.4; charset=utf-8",
    .headers = SIM_HEADERS_UVICORN,
    SIM_OPENAI_TEXTS,
    SIM_OPENAI_FAILURES,
    SIM_OPENAI_MODELS("system"),
    .head_at_once = true,
    .done_after_error = true,
    .labels = N,
    .histogram_labels = "%l," N,
    .families = nim_families,
    .family_count = ARRAY_LEN(nim_families),
    .name_filter = SIM_NAMES_CHOSEN,
    .float_values = true,
    .created_series = true,
};
