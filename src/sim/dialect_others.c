// LMDeploy (metric names of lmdeploy/metrics/loggers.py) and Ollama, which has no metrics.
#include "sim/dialects.h"
#include "sim/family_bounds.h"
#include "sim/openai_texts.h"

#define D "engine=\"0\",model_name=\"%m\""

static const struct sim_family lmdeploy_families[] = {
    SIM_PYTHON_FAMILIES,
    SIM_FIXED(SIM_GAUGE, "lmdeploy:backend_config_info", "Configuration.",
              "cache_block_seq_len=\"%S\",max_batch_size=\"256\",tp=\"1\"", 1),
    SIM_SERIES(SIM_GAUGE, "lmdeploy:num_requests_finished", "Finished requests.", NULL, FINISHED),
    SIM_SERIES(SIM_GAUGE, "lmdeploy:num_requests_unfinished", "Unfinished requests.", NULL, LOAD),
    SIM_SERIES(SIM_GAUGE, "lmdeploy:num_requests_running", "Requests in the batch.", NULL, RUNNING),
    SIM_SERIES(SIM_GAUGE, "lmdeploy:num_requests_waiting", "Requests in the queue.", NULL, WAITING),
    SIM_SERIES(SIM_GAUGE, "lmdeploy:gpu_cache_usage_perc", "KV blocks in use, 0 to 1.", NULL,
               KV_USAGE),
    SIM_SERIES(SIM_COUNTER, "lmdeploy:prompt_tokens_total", "Prompt tokens.", NULL, PROMPT_TOKENS),
    SIM_SERIES(SIM_COUNTER, "lmdeploy:generation_tokens_total", "Generated tokens.", NULL,
               GENERATION_TOKENS),
    SIM_SERIES(SIM_COUNTER, "lmdeploy:request_success_total", "Finished requests.", NULL,
               FINISHED),
    SIM_DISTRIBUTION("lmdeploy:request_prompt_tokens", "Prompt lengths.", prompt_length,
                     sim_bounds_length, 1),
    SIM_DISTRIBUTION("lmdeploy:request_generation_tokens", "Output lengths.", generation_length,
                     sim_bounds_length, 1),
    SIM_DISTRIBUTION("lmdeploy:iteration_tokens_total", "Tokens of a step.", step_tokens,
                     sim_bounds_step_tokens, 1),
    SIM_DISTRIBUTION("lmdeploy:time_to_first_token_seconds", "Time to the first token.", ttft,
                     sim_bounds_ttft, SIM_NS),
    SIM_DISTRIBUTION("lmdeploy:time_per_output_token_seconds", "Mean between tokens.",
                     time_per_output_token, sim_bounds_inter_token, SIM_NS),
    SIM_DISTRIBUTION("lmdeploy:iter_token_latency", "Between two tokens.", inter_token,
                     sim_bounds_inter_token, SIM_NS),
    SIM_DISTRIBUTION("lmdeploy:e2e_request_latency_seconds", "Whole requests.", end_to_end,
                     sim_bounds_request, SIM_NS),
    SIM_DISTRIBUTION("lmdeploy:request_queue_time_seconds", "Time in the queue.", queue,
                     sim_bounds_request, SIM_NS),
    SIM_DISTRIBUTION("lmdeploy:request_prefill_time_seconds", "Time of prefill.", prefill,
                     sim_bounds_request, SIM_NS),
    SIM_DISTRIBUTION("lmdeploy:request_decode_time_seconds", "Time of decoding.", decode,
                     sim_bounds_request, SIM_NS),
};

const struct sim_dialect sim_dialect_lmdeploy = {
    .name = "lmdeploy",
    .health = "",
    .health_paths = "",
    .metrics_path = "/metrics",
    .metrics_type = "text/plain; version=0.0.4; charset=utf-8",
    .headers = SIM_HEADERS_UVICORN,
    SIM_OPENAI_TEXTS,
    SIM_OPENAI_FAILURES,
    SIM_OPENAI_MODELS("lmdeploy"),
    .head_at_once = true,
    .done_after_error = true,
    .labels = D,
    .histogram_labels = "engine=\"0\",%l,model_name=\"%m\"",
    .families = lmdeploy_families,
    .family_count = ARRAY_LEN(lmdeploy_families),
    .name_filter = SIM_NAMES_CHOSEN,
    .float_values = true,
    .created_series = true,
};

const struct sim_dialect sim_dialect_ollama = {
    .name = "ollama",
    .version = "{\"version\":\"0.12.0\"}",
    .health = "Ollama is running",
    .health_paths = "/",
    .headers = SIM_HEADERS_PLAIN,
    SIM_OPENAI_TEXTS,
    SIM_OPENAI_FAILURES,
    SIM_OPENAI_MODELS("library"),
    .labels = "",
    .histogram_labels = "%l",
};
