// SGLang (seen in 0.5.21): flat errors, any model name is served, a full queue answers streams with
// 200 and an error event, the finish reason comes in an event of its own, gauges go stale at idle.
#include "sim/dialects.h"
#include "sim/family_bounds.h"
#include "sim/messages_texts.h"

#define HEAD "{\"id\":\"%i\",\"object\":\"chat.completion.chunk\",\"created\":%c,\"model\":%m,\"choices\":["
#define TEXT_HEAD "{\"id\":\"%i\",\"object\":\"text_completion\",\"created\":%c,\"model\":%m,\"choices\":["
#define USAGE                                                                                      \
    "\"usage\":{\"prompt_tokens\":%p,\"total_tokens\":%T,\"completion_tokens\":%o,"                \
    "%K\"reasoning_tokens\":0}"
#define META                                                                                       \
    "\"metadata\":{\"weight_version\":\"default\",\"weight_versions\":[{\"version\":\"default\","  \
    "\"start\":0,\"end\":%o}]}"
#define FLAT(message, type, code)                                                                  \
    "{\"object\":\"error\",\"message\":\"" message "\",\"type\":\"" type                           \
    "\",\"param\":null,\"code\":" code "}"

#define L "engine_type=\"unified\",model_name=\"%m\""
#define R L ",moe_ep_rank=\"0\",pp_rank=\"0\",tp_rank=\"0\""
#define MODE(mode)                                                                                 \
    "engine_type=\"unified\",mode=\"" mode "\",model_name=\"%m\",moe_ep_rank=\"0\","               \
    "pp_rank=\"0\",tp_rank=\"0\""
#define CATEGORY(category) "category=\"" category "\"," R
#define STAGE(stage)                                                                               \
    "engine_type=\"unified\",%l,model_name=\"%m\",moe_ep_rank=\"0\",pp_rank=\"0\",stage=\"" stage  \
    "\",tp_rank=\"0\""
#define RANKED(type, name, help, value) SIM_SERIES(type, name, help, R, value)
#define RANKED_ZERO(name, help) SIM_FIXED(SIM_GAUGE, name, help, R, 0)

static const double ttft_bounds[] = {0.1, 0.2, 0.4, 0.6, 0.8, 1, 2, 4, 6, 8,
                                     10, 20, 40, 60, 80, 100, 200, 400, 0};
static const double end_bounds[] = {0.1, 0.2, 0.4, 0.6, 0.8, 1, 2, 4, 6, 8, 10, 20,
                                    40, 60, 80, 100, 200, 400, 600, 1200, 1800, 2400, 0};
static const double inter_bounds[] = {0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.025,
                                      0.03, 0.035, 0.04, 0.06, 0.08, 0.1, 0.2, 0.4,
                                      0.6, 0.8, 1, 2, 4, 6, 8, 0};
static const double length_bounds[] = {100, 300, 500, 700, 1000, 1500, 2000, 3000, 4000, 5000,
                                       6000, 7000, 8000, 9000, 10000, 12500, 15000, 17500, 20000,
                                       22500, 25000, 27500, 30000, 35000, 40000, 60000, 100000,
                                       200000, 300000, 400000, 600000, 800000, 1e6, 1.1e6, 0};
static const double queue_bounds[] = {0.001, 0.005, 0.01, 0.05, 0.1, 0.2, 0.5, 1, 2, 3, 4, 5, 10,
                                      15, 20, 30, 40, 50, 60, 70, 80, 90, 100, 200, 300, 400, 500,
                                      600, 700, 800, 900, 1000, 1200, 1400, 1600, 1800, 2000,
                                      2500, 3000, 0};

static const double stage_bounds[] = {
    0.001, 0.00162, 0.0026244, 0.004251528, 0.0068874754, 0.01115771, 0.01807549, 0.029282294,
    0.047437317, 0.076848453, 0.12449449, 0.20168108, 0.32672334, 0.52929183, 0.85745276,
    1.3890735, 2.250299, 3.6454844, 5.9056848, 9.5672093, 15.498879, 25.108184, 40.675258,
    65.893919, 106.74815, 172.932, 280.14984, 453.84274, 735.22524, 1191.0649, 0};

#define RANKED_DISTRIBUTION(name_, help_, labels_, histogram_, bounds_)                            \
    {                                                                                              \
        .name = (name_), .help = (help_), .type = SIM_HISTOGRAM_TYPE, .labels = (labels_),         \
        .bounds = (bounds_), .histogram = SIM_HISTOGRAM_##histogram_, .scale = SIM_NS              \
    }

static const struct sim_family families[] = {
    SIM_FIXED(SIM_GAUGE, "sglang:startup_time_seconds", "Start-up by phase.",
              L ",phase=\"load_weight\"", 3.1),
    SIM_FIXED(SIM_GAUGE, "sglang:startup_time_seconds", "", L ",phase=\"kv_cache_allocation\"",
              0.45),
    SIM_FIXED(SIM_GAUGE, "sglang:startup_time_seconds", "", L ",phase=\"scheduler_e2e\"", 11.5),
    SIM_FIXED(SIM_GAUGE, "sglang:startup_time_seconds", "", L ",phase=\"tokenizer_e2e\"", 17.7),
    SIM_SERIES(SIM_COUNTER, "sglang:process_cpu_seconds_total", "CPU time.",
               "component=\"tokenizer\"", CPU_SECONDS),
    SIM_SERIES(SIM_COUNTER, "sglang:http_requests_total", "Requests.",
               "endpoint=\"/v1/chat/completions\",method=\"POST\"", ARRIVALS),
    SIM_SERIES(SIM_COUNTER, "sglang:http_responses_total", "Responses.",
               "endpoint=\"/v1/chat/completions\",method=\"POST\",status_code=\"200\"", FINISHED),
    SIM_SERIES(SIM_COUNTER, "sglang:prompt_tokens_total", "Prompt tokens.",
               "engine_type=\"unified\",is_streaming=\"true\",model_name=\"%m\"", PROMPT_TOKENS),
    SIM_SERIES(SIM_COUNTER, "sglang:generation_tokens_total", "Generated tokens.",
               "engine_type=\"unified\",is_streaming=\"true\",model_name=\"%m\"",
               GENERATION_TOKENS),
    SIM_SERIES(SIM_COUNTER, "sglang:cached_tokens_total", "Prompt tokens from the cache.",
               "cache_source=\"device\"," L, CACHED_TOKENS),
    SIM_SERIES(SIM_COUNTER, "sglang:num_requests_total", "Requests.",
               "engine_type=\"unified\",is_streaming=\"true\",model_name=\"%m\"", FINISHED),
    SIM_SERIES(SIM_COUNTER, "sglang:num_aborted_requests_total", "Aborted requests.", L, ABORTED),
    RANKED(SIM_GAUGE, "sglang:max_total_num_tokens", "KV size in tokens.", KV_TOKENS),
    RANKED(SIM_GAUGE, "sglang:page_size", "Tokens of a page.", BLOCK_SIZE),
    RANKED(SIM_GAUGE, "sglang:num_pages", "Pages.", KV_BLOCKS),
    RANKED(SIM_GAUGE, "sglang:context_len", "Context length.", MAX_MODEL_LEN),
    RANKED(SIM_GAUGE, "sglang:num_running_reqs", "Requests in the batch.", RUNNING),
    RANKED(SIM_GAUGE, "sglang:num_queue_reqs", "Requests in the queue.", WAITING),
    RANKED_ZERO("sglang:num_grammar_queue_reqs", "Requests that wait for a grammar."),
    RANKED(SIM_GAUGE, "sglang:gen_throughput", "Tokens a second.", GENERATION_RATE),
    RANKED(SIM_GAUGE, "sglang:cache_hit_rate", "Share of prompt tokens found.", HIT_RATE),
    RANKED(SIM_GAUGE, "sglang:token_usage", "Share of KV tokens in use.", KV_USAGE_ROUNDED),
    RANKED(SIM_GAUGE, "sglang:full_token_usage", "The same, unrounded.", KV_USAGE),
    RANKED_ZERO("sglang:swa_token_usage", "The same for sliding windows."),
    RANKED_ZERO("sglang:mamba_usage", "The same for states."),
    RANKED(SIM_GAUGE, "sglang:num_used_tokens", "KV tokens in use.", KV_USED_TOKENS),
    RANKED(SIM_GAUGE, "sglang:kv_available_tokens", "KV tokens free.", KV_FREE_TOKENS),
    RANKED(SIM_GAUGE, "sglang:kv_used_tokens", "KV tokens in use.", KV_USED_TOKENS),
    RANKED_ZERO("sglang:kv_evictable_tokens", "KV tokens that only the cache holds."),
    RANKED_ZERO("sglang:swa_available_tokens", "Sliding windows."),
    RANKED_ZERO("sglang:swa_evictable_tokens", "Sliding windows."),
    RANKED_ZERO("sglang:swa_used_tokens", "Sliding windows."),
    RANKED_ZERO("sglang:mamba_available_tokens", "States."),
    RANKED_ZERO("sglang:mamba_evictable_tokens", "States."),
    RANKED_ZERO("sglang:mamba_used_tokens", "States."),
    RANKED_ZERO("sglang:decode_sum_seq_lens", "Sum of lengths in the batch."),
    RANKED_ZERO("sglang:pending_prealloc_token_usage", "Disaggregation."),
    RANKED_ZERO("sglang:spec_cap_length", "Speculation."),
    RANKED_ZERO("sglang:spec_block_accept_length", "Speculation."),
    RANKED_ZERO("sglang:spec_num_draft_tokens", "Speculation."),
    RANKED_ZERO("sglang:num_decode_host_receive_queue_reqs", "Disaggregation queue."),
    RANKED_ZERO("sglang:spec_accept_length", "Speculation."),
    RANKED_ZERO("sglang:spec_accept_rate", "Speculation."),
    RANKED_ZERO("sglang:spec_num_steps", "Speculation."),
    RANKED_ZERO("sglang:num_prefill_bootstrap_queue_reqs", "Disaggregation queue."),
    RANKED_ZERO("sglang:num_prefill_inflight_queue_reqs", "Disaggregation queue."),
    RANKED_ZERO("sglang:num_decode_prealloc_queue_reqs", "Disaggregation queue."),
    RANKED_ZERO("sglang:num_decode_transfer_queue_reqs", "Disaggregation queue."),
    RANKED_ZERO("sglang:utilization", "Utilisation."),
    SIM_FIXED(SIM_GAUGE, "sglang:fwd_occupancy", "Occupancy.", R, __builtin_nan("")),
    SIM_FIXED(SIM_GAUGE, "sglang:new_token_ratio", "Reserve for new tokens.", R, 0.7),
    SIM_FIXED(SIM_GAUGE, "sglang:is_cuda_graph", "Whether graphs are used.", R, 1),
    RANKED_DISTRIBUTION("sglang:time_to_first_token_seconds", "Time to the first token.",
                        "engine_type=\"unified\",is_streaming=\"true\",%l,model_name=\"%m\"", ttft,
                        ttft_bounds),
    RANKED_DISTRIBUTION("sglang:inter_token_latency_seconds", "Between two tokens.",
                        "engine_type=\"unified\",%l,model_name=\"%m\"", inter_token, inter_bounds),
    RANKED_DISTRIBUTION("sglang:e2e_request_latency_seconds", "Whole requests.",
                        "engine_type=\"unified\",is_streaming=\"true\",%l,model_name=\"%m\"",
                        end_to_end, end_bounds),
    SIM_DISTRIBUTION("sglang:prompt_tokens_histogram", "Prompt lengths.", prompt_length,
                     length_bounds, 1),
    SIM_DISTRIBUTION("sglang:uncached_prompt_tokens_histogram", "Prompt tokens computed.",
                     uncached_prompt_length, length_bounds, 1),
    SIM_DISTRIBUTION("sglang:generation_tokens_histogram", "Output lengths.", generation_length,
                     length_bounds, 1),
    RANKED_DISTRIBUTION("sglang:queue_time_seconds", "Time in the queue.",
                        "engine_type=\"unified\",%l,model_name=\"%m\",moe_ep_rank=\"0\","
                        "pp_rank=\"0\",tp_rank=\"0\"",
                        queue, queue_bounds),
    SIM_SERIES(SIM_GAUGE, "sglang:http_requests_active", "Requests under way.",
               "endpoint=\"/v1/chat/completions\",method=\"POST\"", LOAD),
    SIM_FIXED(SIM_GAUGE, "sglang:num_retracted_reqs", "Requests put back.",
              L ",moe_ep_rank=\"0\",pid=\"31746\",pp_rank=\"0\",tp_rank=\"0\"", 0),
    SIM_FIXED(SIM_GAUGE, "sglang:num_paused_reqs", "Requests paused.",
              L ",moe_ep_rank=\"0\",pid=\"31746\",pp_rank=\"0\",tp_rank=\"0\"", 0),
    RANKED_DISTRIBUTION("sglang:per_stage_req_latency_seconds", "Time by stage.",
                        STAGE("request_process"), queue, stage_bounds),
    RANKED_DISTRIBUTION("sglang:per_stage_req_latency_seconds", "", STAGE("prefill_forward"),
                        prefill, stage_bounds),
    RANKED_DISTRIBUTION("sglang:per_stage_req_latency_seconds", "", STAGE("chunked_prefill"),
                        prefill, stage_bounds),
    SIM_SERIES(SIM_COUNTER, "sglang:prefill_effective_tokens_total", "Prompt tokens by source.",
               MODE("input"), COMPUTED_TOKENS),
    SIM_SERIES(SIM_COUNTER, "sglang:prefill_effective_tokens_total", "", MODE("device_hit"),
               CACHED_TOKENS),
    SIM_FIXED(SIM_COUNTER, "sglang:scheduler_stage_seconds_total", "Time of the scheduler.",
              CATEGORY("recv_requests"), 4.1),
    SIM_FIXED(SIM_COUNTER, "sglang:scheduler_stage_seconds_total", "", CATEGORY("run_batch"),
              0.28),
    SIM_FIXED(SIM_COUNTER, "sglang:scheduler_stage_seconds_total", "", CATEGORY("idle"), 8.6),
    SIM_SERIES(SIM_COUNTER, "sglang:cuda_graph_passes_total", "Passes.", MODE("decode_none"),
               STEPS),
    SIM_SERIES(SIM_COUNTER, "sglang:realtime_tokens_total", "Tokens by kind.",
               MODE("prefill_compute"),
               COMPUTED_TOKENS),
    SIM_SERIES(SIM_COUNTER, "sglang:realtime_tokens_total", "",
               MODE("prefill_cache"),
               CACHED_TOKENS),
    SIM_SERIES(SIM_COUNTER, "sglang:realtime_tokens_total", "",
               MODE("decode"),
               GENERATION_TOKENS),
};

// ---- named events ------------------------------------------------------------------------------

#define RESPONSE(details, output, status, text, usage)                                             \
    "{\"id\":\"%i\",\"access_programs\":null,\"created_at\":%c.0,\"error\":null,"                  \
    "\"incomplete_details\":" details ",\"instructions\":null,\"metadata\":{},\"model\":%m,"       \
    "\"object\":\"response\",\"output\":[" output "],\"parallel_tool_calls\":true,"                \
    "\"temperature\":null,\"tool_choice\":\"auto\",\"tools\":[],\"top_p\":null,\"background\":null," \
    "\"completed_at\":null,\"conversation\":null,\"image\":null,\"input_transformations\":null,"   \
    "\"max_output_tokens\":%M,\"max_tool_calls\":null,\"moderation\":null,"                        \
    "\"previous_response_id\":null,\"prompt\":null,\"prompt_cache_diagnostics\":null,"             \
    "\"prompt_cache_key\":null,\"prompt_cache_options\":null,\"prompt_cache_retention\":null,"     \
    "\"reasoning\":{\"context\":null,\"effort\":null,\"generate_summary\":null,\"mode\":null,"     \
    "\"summary\":null},\"safety_identifier\":null,\"service_tier\":null,\"status\":\"" status      \
    "\",\"text\":" text ",\"tool_usage\":null,\"top_logprobs\":null,\"truncation\":\"disabled\","  \
    "\"usage\":" usage ",\"user\":null,\"store\":true}"
#define BEGUN RESPONSE("null", "", "in_progress", "null", "null")
#define ITEM(content, status)                                                                      \
    "{\"id\":\"msg_%j\",\"content\":[" content "],\"role\":\"assistant\",\"status\":\"" status     \
    "\",\"type\":\"message\",\"phase\":\"final_answer\"}"
#define PART "{\"annotations\":[],\"text\":%t,\"type\":\"output_text\",\"logprobs\":null}"
#define COMPLETE                                                                                   \
    RESPONSE("%D", ITEM(PART, "completed"), "%w",                                                  \
             "{\"format\":{\"type\":\"text\"},\"verbosity\":null}",                                \
             "{\"input_tokens\":%p,\"input_tokens_details\":{\"cache_write_tokens\":0,"            \
             "\"cached_tokens\":%k,\"cache_write_tokens_details\":null},\"output_tokens\":%o,"     \
             "\"output_tokens_details\":{\"reasoning_tokens\":0},\"total_tokens\":%T}")
#define NUMBERED(type) ",\"sequence_number\":%q,\"type\":\"response." type "\"}"
#define AT_ITEM "\"item_id\":\"msg_%j\","
#define AT_CONTENT "{\"content_index\":0,"

static const struct sim_event responses_begin[] = {
    {"response.created", "{\"response\":" BEGUN NUMBERED("created")},
    {"response.in_progress", "{\"response\":" BEGUN NUMBERED("in_progress")},
    {"response.output_item.added",
     "{\"item\":" ITEM("", "in_progress") ",\"output_index\":0" NUMBERED("output_item.added")},
    {"response.content_part.added",
     AT_CONTENT AT_ITEM "\"output_index\":0,\"part\":" PART NUMBERED("content_part.added")},
    {NULL, NULL},
};
static const struct sim_event responses_end[] = {
    {"response.output_text.done",
     AT_CONTENT AT_ITEM "\"logprobs\":[],\"output_index\":0,\"sequence_number\":%q,\"text\":%t,"
                        "\"type\":\"response.output_text.done\"}"},
    {"response.content_part.done",
     AT_CONTENT AT_ITEM "\"output_index\":0,\"part\":" PART NUMBERED("content_part.done")},
    {"response.output_item.done", "{\"item\":" ITEM(PART, "completed") ",\"output_index\":0"
     NUMBERED("output_item.done")},
    {"response.%w", "{\"response\":" COMPLETE NUMBERED("%w")},
    {NULL, NULL},
};
static const struct sim_events responses = {
    .id_prefix = "resp_",
    .begin = responses_begin,
    .token = {"response.output_text.delta",
              AT_CONTENT "\"delta\":%t," AT_ITEM "\"logprobs\":[],\"output_index\":0"
              NUMBERED("output_text.delta")},
    .end = responses_end,
    .whole = COMPLETE,
    .no_cache = true,
};

static const struct sim_event messages_begin[] = {
    {"message_start", "{\"type\":\"message_start\",\"message\":{\"id\":\"%i\",\"type\":\"message\","
                      "\"role\":\"assistant\",\"content\":[],\"model\":%m,\"usage\":{"
                      "\"input_tokens\":%N,\"output_tokens\":0,\"cache_read_input_tokens\":%k}}}"},
    SIM_MESSAGES_BLOCK_START,
    {NULL, NULL},
};
static const struct sim_event messages_end[] = {
    SIM_MESSAGES_BLOCK_STOP,
    {"message_delta", "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"%S\"},"
                      "\"usage\":{\"output_tokens\":%o}}"},
    SIM_MESSAGES_STOP,
    {NULL, NULL},
};
static const struct sim_events messages = {
    .id_prefix = "msg_",
    .begin = messages_begin,
    .token = SIM_MESSAGES_TOKEN,
    .end = messages_end,
    .whole = SIM_MESSAGES_WHOLE("\"usage\":{\"input_tokens\":%N,\"output_tokens\":%o,"
                                "\"cache_read_input_tokens\":%k}"),
};

const struct sim_dialect sim_dialect_sglang = {
    .name = "sglang",
    .health = "",
    .health_paths = "/health_generate",
    .metrics_path = "/metrics",
    .metrics_type = "text/plain; version=0.0.4; charset=utf-8",
    .headers = SIM_HEADERS_UVICORN,
    .chat = {.role = HEAD "{\"index\":%d,\"delta\":{\"reasoning_content\":null,"
                          "\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,"
                          "\"finish_reason\":null,\"matched_stop\":null}]}",
             .token = HEAD "{\"index\":%d,\"delta\":{\"reasoning_content\":null,\"content\":%t},"
                           "\"logprobs\":null,\"finish_reason\":null,\"matched_stop\":null}]%u}",
             .finish = HEAD "{\"index\":%d,\"delta\":{\"reasoning_content\":null},"
                            "\"logprobs\":null,\"finish_reason\":%f,\"matched_stop\":null}]}",
             .usage = HEAD "]," USAGE "}",
             .whole = "{\"id\":\"%i\",\"object\":\"chat.completion\",\"created\":%c,\"model\":%m,"
                      "\"choices\":[%C]," USAGE "," META "}",
             .choice = "{\"index\":%d,\"message\":{\"role\":\"assistant\",\"content\":%t,"
                       "\"reasoning_content\":null,\"tool_calls\":null},\"logprobs\":null,"
                       "\"finish_reason\":%f,\"matched_stop\":null}"},
    .text = {.token = TEXT_HEAD "{\"index\":%d,\"text\":%t,\"logprobs\":null,"
                                "\"finish_reason\":null,\"matched_stop\":null}],\"usage\":null}",
             .last_token = TEXT_HEAD "{\"index\":%d,\"text\":%t,\"logprobs\":null,"
                                     "\"finish_reason\":%f,\"matched_stop\":null}],"
                                     "\"usage\":null}",
             .usage = TEXT_HEAD "]," USAGE "}",
             .whole = TEXT_HEAD "%C]," USAGE "," META "}",
             .choice = "{\"index\":%d,\"text\":%t,\"logprobs\":null,\"finish_reason\":%f,"
                       "\"matched_stop\":null}"},
    .every_usage = "," USAGE,
    .failures =
        {
            [SIM_FAILURE_NO_ROUTE] = {404, "{\"detail\":\"Not Found\"}"},
            [SIM_FAILURE_METHOD] = {405, "{\"detail\":\"Method Not Allowed\"}"},
            [SIM_FAILURE_MEDIA_TYPE] =
                {400, FLAT("1 validation error:\\n  {'loc': ['header', 'content-type'], 'msg': "
                           "\\\"Unsupported Media Type: Only 'application/json' is allowed\\\", "
                           "'type': 'value_error'}",
                           "Bad Request", "400")},
            [SIM_FAILURE_EMPTY_BODY] =
                {400, FLAT("1 validation error:\\n  {'type': 'missing', 'loc': ('body',), 'msg': "
                           "'Field required', 'input': None}\\n\\n  File "
                           "\\\"sglang/srt/entrypoints/http_server.py\\\", line 1777, in "
                           "openai_v1_chat_completions",
                           "Bad Request", "400")},
            [SIM_FAILURE_BAD_JSON] =
                {400, FLAT("1 validation error:\\n  {'type': 'json_invalid', 'loc': ('body', %v), "
                           "'msg': 'JSON decode error', 'input': {}, 'ctx': {'error': "
                           "'unexpected end of data'}}\\n\\n  File "
                           "\\\"sglang/srt/entrypoints/http_server.py\\\", line 1777, in "
                           "openai_v1_chat_completions",
                           "Bad Request", "400")},
            [SIM_FAILURE_MISSING_FIELD] =
                {400, FLAT("1 validation error:\\n  {'type': 'missing', 'loc': ('body', '%P'), "
                           "'msg': 'Field required'}",
                           "Bad Request", "400")},
            [SIM_FAILURE_WRONG_TYPE] =
                {400, FLAT("1 validation error:\\n  {'type': 'int_parsing', 'loc': ('body', "
                           "'%P'), 'msg': 'Input should be a valid integer, unable to parse "
                           "string as an integer'}",
                           "Bad Request", "400")},
            [SIM_FAILURE_UNKNOWN_MODEL] = {0, NULL},
            [SIM_FAILURE_TOO_LONG] = {400, FLAT("The input (%v tokens) is longer than the model's "
                                                "context length (%L tokens).",
                                                "BadRequestError", "400")},
            [SIM_FAILURE_MAX_TOKENS] =
                {400, FLAT("max_completion_tokens is too large: %v.This model supports at most %L "
                           "completion tokens.",
                           "BadRequestError", "400")},
            [SIM_FAILURE_CHOICES] = {400, FLAT("n is %v, but must be from 1 to %L.",
                                               "BadRequestError", "400")},
            [SIM_FAILURE_OVERLOADED] = {503, FLAT("The request queue is full.", "503", "503")},
            [SIM_FAILURE_SHUTTING_DOWN] = {503, FLAT("The server is shutting down.", "503",
                                                     "503")},
            [SIM_FAILURE_OTHER] = {500, FLAT("simulated fault", "%r", "%s")},
        },
    .error_event = "{\"error\": {\"object\": \"error\", \"message\": \"simulated fault\", "
                   "\"type\": \"%r\", \"param\": null, \"code\": %s}}",
    .overload_event = "{\"error\": {\"object\": \"error\", \"message\": \"The request queue is "
                      "full.\", \"type\": \"SERVICE_UNAVAILABLE\", \"param\": null, "
                      "\"code\": 503}}",
    .models_head = "{\"object\":\"list\",\"data\":[",
    .models_entry = "{\"id\":%m,\"object\":\"model\",\"created\":%c,\"owned_by\":\"sglang\","
                    "\"root\":%m,\"parent\":null,\"max_model_len\":%L}",
    .id_chat = "",
    .id_text = "",
    .id_form = SIM_ID_LONG_HEX,
    .responses = &responses,
    .messages = &messages,
    .head_at_once = true,
    .error_needs_head = true,
    .finish_together = true,
    .choice_ids = true,
    .health_generates = true,
    .done_after_error = true,
    .abort_whole = SIM_ABORT_LATE,
    .term = SIM_TERM_SERVE,
    .labels = L,
    .histogram_labels = "engine_type=\"unified\",%l,model_name=\"%m\"",
    .families = families,
    .family_count = ARRAY_LEN(families),
    .name_filter = SIM_NAMES_LOST,
    .float_values = true,
};
