// vLLM: the current names (seen in 0.32.0) and those before v0.11. Behaviour from transcripts of a
// real server: the head of a stream comes at once, the finish reason with the last text, usage in an
// event of its own, a queue that overruns in a burst answers 200 and an error event.
#include "sim/dialects.h"
#include "sim/family_bounds.h"
#include "sim/messages_texts.h"

#define CHUNK "{\"id\":\"%i\",\"object\":\"chat.completion.chunk\",\"created\":%c,\"model\":%m,\"choices\":["
#define FINGERPRINT "\"system_fingerprint\":\"vllm-0.32.0-simulated\""
#define TEXT_CHUNK "{\"id\":\"%i\",\"object\":\"text_completion\",\"created\":%c,\"model\":%m,\"choices\":["
#define BUSY                                                                                       \
    "The engine is currently busy and cannot accept new requests. Please try again later or on a " \
    "different instance."

#define VLLM_TEXTS                                                                                 \
    .chat = {.role = CHUNK "{\"index\":%d,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"    \
                           "\"logprobs\":null,\"finish_reason\":null}]%u,"                         \
                           "\"prompt_token_ids\":null,\"prompt_text\":null}",                      \
             .token = CHUNK "{\"index\":%d,\"delta\":{\"content\":%t},\"logprobs\":null,"          \
                            "\"finish_reason\":null,\"token_ids\":null}]%u}",                      \
             .last_token = CHUNK "{\"index\":%d,\"delta\":{\"content\":%t},\"logprobs\":null,"     \
                                 "\"finish_reason\":%f,\"stop_reason\":null,\"token_ids\":null}]"  \
                                 "%u}",                                                            \
             .last_plain = CHUNK "{\"index\":%d,\"delta\":{\"content\":%t},\"logprobs\":null,"     \
                                 "\"finish_reason\":%f,\"stop_reason\":null,\"token_ids\":null}]," \
                                 FINGERPRINT "}",                                                  \
             .usage = CHUNK "],\"usage\":{\"prompt_tokens\":%p,\"total_tokens\":%T,"               \
                            "\"completion_tokens\":%o,\"prompt_tokens_details\":"                  \
                            "{\"cached_tokens\":%k,\"created_cache_tokens\":%n}}," FINGERPRINT     \
                            "}",                                                                   \
             .whole = "{\"id\":\"%i\",\"object\":\"chat.completion\",\"created\":%c,\"model\":%m," \
                      "\"choices\":[%C],\"service_tier\":null," FINGERPRINT                        \
                      ",\"usage\":{\"prompt_tokens\":%p,\"total_tokens\":%T,"                      \
                      "\"completion_tokens\":%o,\"prompt_tokens_details\":{\"cached_tokens\":%k,"  \
                      "\"created_cache_tokens\":%n,\"multimodal_tokens\":null},"                   \
                      "\"completion_tokens_details\":null},\"prompt_logprobs\":null,"              \
                      "\"prompt_token_ids\":null,\"prompt_text\":null,"                            \
                      "\"kv_transfer_params\":null,\"ec_transfer_params\":null,"                   \
                      "\"metrics\":null}",                                                         \
             .choice = "{\"index\":%d,\"message\":{\"role\":\"assistant\",\"content\":%t,"         \
                       "\"refusal\":null,\"annotations\":null,\"audio\":null,"                     \
                       "\"function_call\":null,\"reasoning\":null},\"logprobs\":null,"             \
                       "\"finish_reason\":%f,\"stop_reason\":null,\"token_ids\":null,"             \
                       "\"routed_experts\":null}"},                                                \
    .text = {.token = TEXT_CHUNK "{\"index\":%d,\"text\":%t,\"logprobs\":null,"                    \
                                 "\"finish_reason\":null,\"stop_reason\":null,"                    \
                                 "\"prompt_token_ids\":null,\"token_ids\":null}]%u}",              \
             .last_token = TEXT_CHUNK "{\"index\":%d,\"text\":%t,\"logprobs\":null,"               \
                                      "\"finish_reason\":%f,\"stop_reason\":null,"                 \
                                      "\"prompt_token_ids\":null,\"token_ids\":null}]%u}",         \
             .last_plain = TEXT_CHUNK "{\"index\":%d,\"text\":%t,\"logprobs\":null,"               \
                                      "\"finish_reason\":%f,\"stop_reason\":null,"                 \
                                      "\"prompt_token_ids\":null,\"token_ids\":null}],"            \
                                      FINGERPRINT "}",                                             \
             .usage = TEXT_CHUNK "],\"usage\":{\"prompt_tokens\":%p,\"total_tokens\":%T,"          \
                                 "\"completion_tokens\":%o,\"prompt_tokens_details\":"             \
                                 "{\"cached_tokens\":%k}}," FINGERPRINT "}",                       \
             .choice = "{\"index\":%d,\"text\":%t,\"logprobs\":null,\"finish_reason\":%f,"         \
                       "\"stop_reason\":null,\"token_ids\":null,\"prompt_logprobs\":null,"         \
                       "\"prompt_token_ids\":null,\"routed_experts\":null}",                       \
             .whole = TEXT_CHUNK "%C],\"service_tier\":null," FINGERPRINT                          \
                                 ",\"usage\":{\"prompt_tokens\":%p,\"total_tokens\":%T,"           \
                                 "\"completion_tokens\":%o,\"prompt_tokens_details\":"             \
                                 "{\"cached_tokens\":%k,\"created_cache_tokens\":null,"            \
                                 "\"multimodal_tokens\":null},"                                    \
                                 "\"completion_tokens_details\":null},"                            \
                                 "\"kv_transfer_params\":null,\"ec_transfer_params\":null,"        \
                                 "\"metrics\":null}"},                                             \
    .every_usage = ",\"usage\":{\"prompt_tokens\":%p,\"total_tokens\":%T,"                         \
                   "\"completion_tokens\":%o,\"completion_tokens_details\":null}"

#define VLLM_FAILURES                                                                              \
    .failures = {                                                                                  \
        [SIM_FAILURE_NO_ROUTE] = {404, "{\"detail\":\"Not Found\"}"},                              \
        [SIM_FAILURE_METHOD] = {405, "{\"detail\":\"Method Not Allowed\"}"},                       \
        [SIM_FAILURE_MEDIA_TYPE] =                                                                 \
            {400, "{\"error\":{\"message\":\"1 validation error:\\n  Unsupported Media Type: "     \
                  "Only 'application/json' is allowed\",\"type\":\"Bad Request\","                 \
                  "\"param\":null,\"code\":400}}"},                                                \
        [SIM_FAILURE_EMPTY_BODY] =                                                                 \
            {400, "{\"error\":{\"message\":\"1 validation error:\\n  {'type': 'missing', 'loc': "  \
                  "'body', 'msg': 'Field required', 'input': 'None'}\","                           \
                  "\"type\":\"Bad Request\",\"param\":\"body\",\"code\":400}}"},                   \
        [SIM_FAILURE_BAD_JSON] =                                                                   \
            {400, "{\"error\":{\"message\":\"1 validation error:\\n  {'type': 'json_invalid', "    \
                  "'loc': 'body.%v', 'msg': 'JSON decode error', 'input': '<dict of 0 items>', "   \
                  "'ctx': {'error': 'Expecting value'}}\",\"type\":\"Bad Request\","               \
                  "\"param\":\"body.%v\",\"code\":400}}"},                                         \
        [SIM_FAILURE_MISSING_FIELD] =                                                              \
            {400, "{\"error\":{\"message\":\"1 validation error:\\n  {'type': 'missing', 'loc': "  \
                  "'body.%P', 'msg': 'Field required', 'input': '<dict of %v items>'}\","          \
                  "\"type\":\"Bad Request\",\"param\":\"body.%P\",\"code\":400}}"},                \
        [SIM_FAILURE_WRONG_TYPE] =                                                                 \
            {400, "{\"error\":{\"message\":\"1 validation error:\\n  {'type': 'int_parsing', "     \
                  "'loc': 'body.%P', 'msg': 'Input should be a valid integer, unable to parse "    \
                  "string as an integer'}\",\"type\":\"Bad Request\",\"param\":\"body.%P\","       \
                  "\"code\":400}}"},                                                               \
        [SIM_FAILURE_UNKNOWN_MODEL] =                                                              \
            {404, "{\"error\":{\"message\":\"The model `%e` does not exist. Valid aliases: "       \
                  "%a.\",\"type\":\"NotFoundError\",\"param\":\"model\",\"code\":404}}"},          \
        [SIM_FAILURE_TOO_LONG] =                                                                   \
            {400, "{\"error\":{\"message\":\"This model's maximum context length is %L tokens. "   \
                  "However, your prompt contains at least %v input tokens, which exceeds this "    \
                  "limit even without any output tokens. Please reduce the length of the input "   \
                  "prompt. (parameter=input_tokens, value=%v)\",\"type\":\"BadRequestError\","     \
                  "\"param\":\"input_tokens\",\"code\":400}}"},                                    \
        [SIM_FAILURE_MAX_TOKENS] =                                                                 \
            {400, "{\"error\":{\"message\":\"max_tokens=%v cannot be greater than "                \
                  "max_model_len=%L. Please request fewer output tokens. "                         \
                  "(parameter=max_tokens, value=%v)\",\"type\":\"BadRequestError\","               \
                  "\"param\":\"max_tokens\",\"code\":400}}"},                                      \
        [SIM_FAILURE_CHOICES] =                                                                    \
            {400, "{\"error\":{\"message\":\"n is %v, but must be from 1 to %L.\",\"type\":"       \
                  "\"BadRequestError\",\"param\":\"n\",\"code\":400}}"},                           \
        [SIM_FAILURE_OVERLOADED] =                                                                 \
            {503, "{\"error\":{\"message\":\"" BUSY "\",\"type\":\"Service Unavailable\","         \
                  "\"param\":null,\"code\":503}}"},                                                \
        [SIM_FAILURE_SHUTTING_DOWN] =                                                              \
            {500, "{\"error\":{\"message\":\"cannot schedule new futures after shutdown\","        \
                  "\"type\":\"InternalServerError\",\"param\":null,\"code\":500}}"},               \
        [SIM_FAILURE_OTHER] =                                                                      \
            {500, "{\"error\":{\"message\":\"simulated fault\",\"type\":\"%r\",\"param\":null,"    \
                  "\"code\":%s}}"},                                                                \
    },                                                                                             \
    .error_event = "{\"error\": {\"message\": \"EngineCore encountered an issue. See stack trace " \
                   "(above) for the root cause.\", \"type\": \"%r\", \"param\": null, "            \
                   "\"code\": %s}}",                                                               \
    .overload_event = "{\"error\": {\"message\": \"" BUSY "\", \"type\": \"Service Unavailable\"," \
                      " \"param\": null, \"code\": 503}}"

#define VLLM_MODELS                                                                                \
    .models_head = "{\"object\":\"list\",\"data\":[",                                              \
    .models_entry = "{\"id\":%m,\"object\":\"model\",\"created\":%c,\"owned_by\":\"vllm\","        \
                    "\"root\":%m,\"parent\":null,\"max_model_len\":%L,\"permission\":[{"           \
                    "\"id\":\"modelperm-9261d47a405b4f8a\",\"object\":\"model_permission\","       \
                    "\"created\":%c,\"allow_create_engine\":false,\"allow_sampling\":true,"        \
                    "\"allow_logprobs\":true,\"allow_search_indices\":false,\"allow_view\":true,"  \
                    "\"allow_fine_tuning\":false,\"organization\":\"*\",\"group\":null,"           \
                    "\"is_blocking\":false}]}"

#define E "engine=\"0\","
#define M "model_name=\"%m\""
#define H "/v1/chat/completions"
#define IDLE_COUNTER(name, help) SIM_FIXED(SIM_COUNTER, name, help, NULL, 0)

// Families whose names did not change.
#define VLLM_COMMON                                                                                \
    SIM_SERIES(SIM_COUNTER, "vllm:num_preemptions_total", "Requests put back for lack of KV.",     \
               NULL, PREEMPTIONS),                                                                 \
    SIM_SERIES(SIM_COUNTER, "vllm:prompt_tokens_total", "Prompt tokens.", NULL, PROMPT_TOKENS),    \
    SIM_SERIES(SIM_COUNTER, "vllm:generation_tokens_total", "Generated tokens.", NULL,             \
               GENERATION_TOKENS),                                                                 \
    SIM_SERIES(SIM_COUNTER, "vllm:request_success_total", "Finished requests.",                    \
               E "finished_reason=\"stop\"," M, FINISHED_STOP),                                    \
    SIM_SERIES(SIM_COUNTER, "vllm:request_success_total", "",                                      \
               E "finished_reason=\"length\"," M, FINISHED_LENGTH),                                \
    SIM_FIXED(SIM_COUNTER, "vllm:request_success_total", "", E "finished_reason=\"abort\"," M, 0), \
    SIM_DISTRIBUTION("vllm:request_prompt_tokens", "Prompt lengths.", prompt_length,               \
                     sim_bounds_length, 1),                                                        \
    SIM_DISTRIBUTION("vllm:request_generation_tokens", "Output lengths.", generation_length,       \
                     sim_bounds_length, 1),                                                        \
    SIM_DISTRIBUTION("vllm:iteration_tokens_total", "Tokens of a step.", step_tokens,              \
                     sim_bounds_step_tokens, 1),                                                   \
    SIM_DISTRIBUTION("vllm:request_max_num_generation_tokens", "Output lengths asked for.",        \
                     max_tokens_asked, sim_bounds_length, 1),                                      \
    SIM_DISTRIBUTION("vllm:request_params_n", "Parameter n.", one, sim_bounds_few, 1),             \
    SIM_DISTRIBUTION("vllm:request_params_max_tokens", "Parameter max_tokens.", max_tokens_asked,  \
                     sim_bounds_length, 1),                                                        \
    SIM_DISTRIBUTION("vllm:time_to_first_token_seconds", "Time to the first token.", ttft,         \
                     sim_bounds_ttft, SIM_NS),                                                     \
    SIM_DISTRIBUTION("vllm:e2e_request_latency_seconds", "Whole requests.", end_to_end,            \
                     sim_bounds_request, SIM_NS),                                                  \
    SIM_DISTRIBUTION("vllm:request_queue_time_seconds", "Time in the queue.", queue,               \
                     sim_bounds_request, SIM_NS),                                                  \
    SIM_DISTRIBUTION("vllm:request_inference_time_seconds", "Time in the batch.", inference,       \
                     sim_bounds_request, SIM_NS),                                                  \
    SIM_DISTRIBUTION("vllm:request_prefill_time_seconds", "Time of prefill.", prefill,             \
                     sim_bounds_request, SIM_NS),                                                  \
    SIM_DISTRIBUTION("vllm:request_decode_time_seconds", "Time of decoding.", decode,              \
                     sim_bounds_request, SIM_NS),                                                  \
    SIM_SERIES(SIM_GAUGE, "vllm:lora_requests_info", "Adapters in use.",                           \
               "max_lora=\"8\",running_lora_adapters=\"%R\",waiting_lora_adapters=\"%W\"",         \
               LORA_INFO)

static const struct sim_family families[] = {
    SIM_PYTHON_FAMILIES,
    IDLE_COUNTER("vllm:estimated_flops_per_gpu_total", "Floating point operations."),
    IDLE_COUNTER("vllm:estimated_read_bytes_per_gpu_total", "Bytes read."),
    IDLE_COUNTER("vllm:estimated_write_bytes_per_gpu_total", "Bytes written."),
    SIM_SERIES(SIM_GAUGE, "vllm:num_requests_running", "Requests in the batch.", NULL, RUNNING),
    SIM_SERIES(SIM_GAUGE, "vllm:num_requests_waiting", "Requests in the queue.", NULL, WAITING),
    SIM_SERIES(SIM_GAUGE, "vllm:num_requests_waiting_by_reason", "Why requests wait.",
               E M ",reason=\"capacity\"", WAITING),
    SIM_FIXED(SIM_GAUGE, "vllm:num_requests_waiting_by_reason", "", E M ",reason=\"deferred\"", 0),
    SIM_FIXED(SIM_GAUGE, "vllm:engine_sleep_state", "Sleep levels.", E M ",sleep_state=\"awake\"",
              1),
    SIM_FIXED(SIM_GAUGE, "vllm:engine_sleep_state", "", E M ",sleep_state=\"weights_offloaded\"",
              0),
    SIM_FIXED(SIM_GAUGE, "vllm:engine_sleep_state", "", E M ",sleep_state=\"discard_all\"", 0),
    SIM_SERIES(SIM_GAUGE, "vllm:kv_cache_usage_perc", "KV blocks in use, 0 to 1.", NULL, KV_USAGE),
    SIM_SERIES(SIM_COUNTER, "vllm:prefix_cache_queries_total", "Tokens looked up.", NULL,
               PROMPT_TOKENS),
    SIM_SERIES(SIM_COUNTER, "vllm:prefix_cache_hits_total", "Tokens found.", NULL, CACHED_TOKENS),
    IDLE_COUNTER("vllm:external_prefix_cache_queries_total", "Tokens looked up elsewhere."),
    IDLE_COUNTER("vllm:external_prefix_cache_hits_total", "Tokens found elsewhere."),
    IDLE_COUNTER("vllm:mm_cache_queries_total", "Items looked up."),
    IDLE_COUNTER("vllm:mm_cache_hits_total", "Items found."),
    SIM_SERIES(SIM_COUNTER, "vllm:prompt_tokens_by_source_total", "Prompt tokens by source.",
               E M ",source=\"local_compute\"", COMPUTED_TOKENS),
    SIM_SERIES(SIM_COUNTER, "vllm:prompt_tokens_by_source_total", "",
               E M ",source=\"local_cache_hit\"", CACHED_TOKENS),
    SIM_FIXED(SIM_COUNTER, "vllm:prompt_tokens_by_source_total", "",
              E M ",source=\"external_kv_transfer\"", 0),
    SIM_SERIES(SIM_COUNTER, "vllm:prompt_tokens_cached_total", "Prompt tokens from the cache.",
               NULL, CACHED_TOKENS),
    SIM_SERIES(SIM_COUNTER, "vllm:prompt_tokens_cached_by_source_total", "The same by tier.",
               E M ",source=\"device\"", CACHED_TOKENS),
    SIM_FIXED(SIM_COUNTER, "vllm:prompt_tokens_cached_by_source_total", "", E M ",source=\"host\"",
              0),
    SIM_SERIES(SIM_COUNTER, "vllm:admission_rejections_total", "Refused for a full queue.",
               M ",reason=\"max_num_queued_reqs\"", REJECTIONS),
    SIM_FIXED(SIM_COUNTER, "vllm:admission_rejections_total", "",
              M ",reason=\"max_num_queued_tokens\"", 0),
    VLLM_COMMON,
    SIM_DISTRIBUTION("vllm:inter_token_latency_seconds", "Between two tokens.", inter_token,
                     sim_bounds_inter_token, SIM_NS),
    SIM_DISTRIBUTION("vllm:request_time_per_output_token_seconds", "Mean between tokens.",
                     time_per_output_token, sim_bounds_inter_token, SIM_NS),
    SIM_DISTRIBUTION("vllm:request_num_preemptions", "Preemptions of a request.",
                     preemptions_each, sim_bounds_few, 1),
    SIM_DISTRIBUTION("vllm:request_prefill_kv_computed_tokens", "Prompt tokens computed.",
                     uncached_prompt_length, sim_bounds_length, 1),
    SIM_FIXED(SIM_GAUGE, "vllm:cache_config_info", "Configuration of the cache.",
              "_block_size_resolved=\"True\",block_size=\"%S\",cache_dtype=\"auto\","
              "cache_hit_alignment_tokens=\"None\",effective_attention_block_size=\"%S\","
              "enable_mamba_shared_prefix_checkpoint=\"False\","
              "enable_prefix_caching=\"True\",engine=\"0\",gpu_memory_utilization=\"0.92\","
              "hash_block_size=\"None\",is_attention_free=\"False\","
              "kv_cache_dtype_skip_layers=\"[]\",kv_cache_layout=\"None\","
              "kv_cache_max_concurrency=\"512.0\",kv_cache_memory_bytes=\"1073741824\","
              "kv_cache_size_tokens=\"%T\",kv_offloading_backend=\"native\","
              "kv_offloading_size=\"None\",kv_sharing_fast_prefill=\"False\","
              "mamba_block_size=\"None\",mamba_cache_dtype=\"auto\","
              "mamba_cache_mode=\"none\",mamba_page_size_padded=\"None\","
              "mamba_ssm_cache_dtype=\"float32\",num_cpu_blocks=\"None\","
              "num_gpu_blocks=\"%B\",num_gpu_blocks_override=\"None\","
              "prefix_cache_retention_interval=\"0\",prefix_caching_hash_algo=\"sha256\","
              "prefix_match_unit=\"None\",replayssm_buffer_len=\"16\","
              "skip_page_size_padded=\"None\",sliding_window=\"None\","
              "swa_bounded_replay=\"True\",use_kda_recoverssm=\"False\","
              "use_replayssm=\"False\",user_specified_block_size=\"True\"",
              1),
    SIM_SERIES(SIM_COUNTER, "http_requests_total", "Requests by handler.",
               "handler=\"" H "\",method=\"POST\",status=\"2xx\"", FINISHED),
    {.name = "http_request_duration_highr_seconds",
     .help = "Requests of any handler.",
     .type = SIM_HISTOGRAM_TYPE,
     .labels = "%l",
     .bounds = sim_bounds_request,
     .histogram = SIM_HISTOGRAM_end_to_end,
     .scale = SIM_NS},
    {.name = "http_request_duration_seconds",
     .help = "Requests by handler.",
     .type = SIM_HISTOGRAM_TYPE,
     .labels = "handler=\"" H "\",%l,method=\"POST\"",
     .bounds = sim_bounds_few,
     .histogram = SIM_HISTOGRAM_end_to_end,
     .scale = SIM_NS},
};

static const struct sim_family old_families[] = {
    SIM_PYTHON_FAMILIES,
    SIM_SERIES(SIM_GAUGE, "vllm:num_requests_running", "Requests in the batch.", NULL, RUNNING),
    SIM_FIXED(SIM_GAUGE, "vllm:num_requests_swapped", "Requests swapped out.", NULL, 0),
    SIM_SERIES(SIM_GAUGE, "vllm:num_requests_waiting", "Requests in the queue.", NULL, WAITING),
    SIM_SERIES(SIM_GAUGE, "vllm:gpu_cache_usage_perc", "KV blocks in use, 0 to 1.", NULL, KV_USAGE),
    SIM_FIXED(SIM_GAUGE, "vllm:cpu_cache_usage_perc", "The same on the host.", NULL, 0),
    SIM_SERIES(SIM_COUNTER, "vllm:gpu_prefix_cache_queries_total", "Tokens looked up.", NULL,
               PROMPT_TOKENS),
    SIM_SERIES(SIM_COUNTER, "vllm:gpu_prefix_cache_hits_total", "Tokens found.", NULL,
               CACHED_TOKENS),
    VLLM_COMMON,
    SIM_DISTRIBUTION("vllm:time_per_output_token_seconds", "Between two tokens.", inter_token,
                     sim_bounds_inter_token, SIM_NS),
    SIM_FIXED(SIM_GAUGE, "vllm:cache_config_info", "Configuration of the cache.",
              "block_size=\"%S\",cache_dtype=\"auto\",enable_prefix_caching=\"True\","
              "gpu_memory_utilization=\"0.9\",num_cpu_blocks=\"None\",num_gpu_blocks=\"%B\"",
              1),
};

// ---- named events ------------------------------------------------------------------------------

#define RESPONSE(details, output, status, usage)                                                   \
    "{\"id\":\"%i\",\"created_at\":%c,\"incomplete_details\":" details                             \
    ",\"instructions\":null,\"metadata\":null,\"model\":%m,\"object\":\"response\",\"output\":["   \
    output "],\"parallel_tool_calls\":true,\"temperature\":1.0,\"tool_choice\":\"none\","          \
    "\"tools\":[],\"top_p\":1.0,\"background\":false,\"max_output_tokens\":%M,"                    \
    "\"max_tool_calls\":null,\"previous_response_id\":null,\"prompt\":null,\"reasoning\":null,"    \
    "\"service_tier\":\"auto\",\"status\":\"" status "\",\"text\":null,\"top_logprobs\":null,"     \
    "\"truncation\":\"disabled\",\"usage\":" usage ",\"user\":null,\"presence_penalty\":0.0,"      \
    "\"frequency_penalty\":0.0,\"kv_transfer_params\":null,\"ec_transfer_params\":null,"           \
    "\"input_messages\":null,\"output_messages\":null}"
#define ITEM(content, status)                                                                      \
    "{\"id\":\"msg_%j\",\"content\":[" content "],\"role\":\"assistant\",\"status\":\"" status     \
    "\",\"type\":\"message\",\"phase\":null}"
#define PART(logprobs)                                                                             \
    "{\"annotations\":[],\"text\":%t,\"type\":\"output_text\",\"logprobs\":" logprobs "}"
#define RESPONSE_USAGE                                                                             \
    "{\"input_tokens\":%p,\"input_tokens_details\":{\"cached_tokens\":%k,"                         \
    "\"cache_write_tokens\":0,\"input_tokens_per_turn\":[],\"cached_tokens_per_turn\":[]},"        \
    "\"output_tokens\":%o,\"output_tokens_details\":{\"reasoning_tokens\":0,"                      \
    "\"tool_output_tokens\":0,\"output_tokens_per_turn\":[],\"tool_output_tokens_per_turn\":[]},"  \
    "\"total_tokens\":%T}"
#define COMPLETE RESPONSE("%D", ITEM(PART("null"), "completed"), "%w", RESPONSE_USAGE)
#define NUMBERED(type) ",\"sequence_number\":%q,\"type\":\"response." type "\"}"
#define AT_ITEM "\"item_id\":\"msg_%j\","
#define AT_CONTENT "{\"content_index\":0,"

static const struct sim_event responses_begin[] = {
    {"response.created",
     "{\"response\":" RESPONSE("null", "", "in_progress", "null") NUMBERED("created")},
    {"response.in_progress",
     "{\"response\":" RESPONSE("null", "", "in_progress", "null") NUMBERED("in_progress")},
    {"response.output_item.added",
     "{\"item\":" ITEM("", "in_progress") ",\"output_index\":0" NUMBERED("output_item.added")},
    {"response.content_part.added",
     AT_CONTENT AT_ITEM "\"output_index\":0,\"part\":" PART("[]") NUMBERED("content_part.added")},
    {NULL, NULL},
};
static const struct sim_event responses_end[] = {
    {"response.output_text.done",
     AT_CONTENT AT_ITEM "\"logprobs\":[],\"output_index\":0,\"sequence_number\":%q,\"text\":%t,"
                        "\"type\":\"response.output_text.done\"}"},
    {"response.content_part.done",
     AT_CONTENT AT_ITEM "\"output_index\":0,\"part\":" PART("null") NUMBERED("content_part.done")},
    {"response.output_item.done", "{\"item\":" ITEM(PART("null"), "completed") ",\"output_index\":0"
     NUMBERED("output_item.done")},
    {"response.completed", "{\"response\":" COMPLETE NUMBERED("completed")},
    {NULL, NULL},
};
const struct sim_events sim_vllm_responses = {
    .id_prefix = "resp_",
    .begin = responses_begin,
    .token = {"response.output_text.delta",
              AT_CONTENT "\"delta\":%t," AT_ITEM "\"logprobs\":[],\"output_index\":0"
              NUMBERED("output_text.delta")},
    .end = responses_end,
    .whole = COMPLETE,
};

static const struct sim_event messages_begin[] = {
    {"message_start", "{\"type\":\"message_start\",\"message\":{\"id\":\"%i\",\"type\":\"message\","
                      "\"role\":\"assistant\",\"content\":[],\"model\":%m,\"stop_reason\":null,"
                      "\"stop_sequence\":null,\"usage\":{\"input_tokens\":%N,"
                      "\"output_tokens\":0}}}"},
    {"content_block_start", "{\"type\":\"content_block_start\",\"content_block\":{\"type\":\"text\","
                            "\"text\":\"\"},\"index\":0}"},
    {NULL, NULL},
};
#define MESSAGE_USAGE                                                                              \
    "\"usage\":{\"input_tokens\":%N,\"output_tokens\":%o,\"cache_creation_input_tokens\":0,"       \
    "\"cache_read_input_tokens\":%k}"
static const struct sim_event messages_end[] = {
    SIM_MESSAGES_BLOCK_STOP,
    {"message_delta", "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"%S\","
                      "\"stop_sequence\":null}," MESSAGE_USAGE "}"},
    SIM_MESSAGES_STOP,
    {NULL, NULL},
};
static const struct sim_events messages = {
    .id_prefix = "chatcmpl-",
    .begin = messages_begin,
    .token = {"content_block_delta", "{\"type\":\"content_block_delta\",\"delta\":{\"type\":"
                                     "\"text_delta\",\"text\":%t},\"index\":0}"},
    .end = messages_end,
    .whole = SIM_MESSAGES_WHOLE(MESSAGE_USAGE),
};

#define VLLM_MANNERS                                                                               \
    .health = "", .health_paths = "/ping", .metrics_path = "/metrics",                             \
    .metrics_type = "text/plain; version=1.0.0; charset=utf-8", .headers = SIM_HEADERS_UVICORN,    \
    .id_chat = "chatcmpl-", .id_text = "cmpl-", .head_at_once = true, .burst_error_event = true,   \
    .roles_together = true, .responses = &sim_vllm_responses, .messages = &messages,               \
    .request_ids = true, .orca = true, .done_after_error = true, .term = SIM_TERM_SILENT,          \
    .float_values = true, .created_series = true, .name_filter = SIM_NAMES_CHOSEN

const struct sim_dialect sim_dialect_vllm = {
    .name = "vllm",
    .version = "{\"version\":\"0.32.0\"}",
    VLLM_MANNERS,
    VLLM_TEXTS,
    VLLM_FAILURES,
    VLLM_MODELS,
    .labels = E M,
    .histogram_labels = E "%l," M,
    .families = families,
    .family_count = ARRAY_LEN(families),
};

const struct sim_dialect sim_dialect_vllm_old = {
    .name = "vllm-old",
    .version = "{\"version\":\"0.8.5\"}",
    VLLM_MANNERS,
    VLLM_TEXTS,
    VLLM_FAILURES,
    VLLM_MODELS,
    .labels = M,
    .histogram_labels = "%l," M,
    .families = old_families,
    .family_count = ARRAY_LEN(old_families),
};
