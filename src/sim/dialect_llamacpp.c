// llama.cpp's server (seen in the build of llama-cpp-python 0.3.36): the head comes with the first
// data, every stream ends the connection although it says keep-alive, no queue limit, any model name
// is served, timings beside the usage, invalid JSON is a 500, aborted whole answers run to their end.
#include "sim/dialects.h"
#include "sim/family_bounds.h"
#include "sim/messages_texts.h"

#define TAIL                                                                                       \
    "\"created\":%c,\"id\":\"%i\",\"model\":%m,\"system_fingerprint\":\"b1-simulated\","           \
    "\"object\":\"chat.completion.chunk\""
#define TEXT_TAIL                                                                                  \
    "\"created\":%c,\"model\":%m,\"system_fingerprint\":\"b1-simulated\","                         \
    "\"object\":\"text_completion\""
#define USAGE                                                                                      \
    "\"usage\":{\"completion_tokens\":%o,\"prompt_tokens\":%p,\"total_tokens\":%T,"                \
    "\"prompt_tokens_details\":{\"cached_tokens\":%k}}"

#define COUNTED(name, help, value) SIM_SERIES(SIM_COUNTER, name, help, "", value)
#define SPECULATIVE(name, help) SIM_FIXED(SIM_COUNTER, name, help, "", 0)

static const struct sim_family families[] = {
    COUNTED("llamacpp:prompt_tokens_total", "Prompt tokens computed.", COMPUTED_TOKENS),
    COUNTED("llamacpp:prompt_tokens_cached_total", "Prompt tokens reused.", CACHED_TOKENS),
    COUNTED("llamacpp:prompt_seconds_total", "Time on prompts.", PROMPT_SECONDS),
    COUNTED("llamacpp:tokens_predicted_total", "Generated tokens.", GENERATION_TOKENS),
    COUNTED("llamacpp:tokens_predicted_seconds_total", "Time on generation.", DECODE_SECONDS),
    COUNTED("llamacpp:n_decode_total", "Steps.", STEPS),
    COUNTED("llamacpp:n_tokens_max", "Longest sequence.", LONGEST),
    SPECULATIVE("llamacpp:spec_decode_num_draft_tokens_total", "Speculation."),
    SPECULATIVE("llamacpp:spec_decode_num_accepted_tokens_total", "Speculation."),
    SPECULATIVE("llamacpp:spec_decode_num_drafts_total", "Speculation."),
    SIM_FIXED(SIM_GAUGE, "llamacpp:prompt_tokens_seconds", "Prompt throughput.", "", 0),
    SIM_SERIES(SIM_GAUGE, "llamacpp:predicted_tokens_seconds", "Generation throughput.", "",
               GENERATION_RATE),
    SIM_SERIES(SIM_GAUGE, "llamacpp:requests_processing", "Requests in slots.", "", RUNNING),
    SIM_SERIES(SIM_GAUGE, "llamacpp:requests_deferred", "Requests that wait.", "", WAITING),
    SIM_SERIES(SIM_GAUGE, "llamacpp:n_busy_slots_per_decode", "Mean of busy slots.", "",
               BUSY_SLOTS),
};

// ---- named events ------------------------------------------------------------------------------

#define ITEM                                                                                       \
    "{\"type\":\"message\",\"status\":\"completed\",\"id\":\"msg_%j\",\"content\":[" PART          \
    "],\"role\":\"assistant\"}"
#define PART "{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":%t}"
#define COMPLETE                                                                                   \
    "{\"id\":\"%i\",\"object\":\"response\",\"created_at\":%c,\"status\":\"completed\",\"model\":%m," \
    "\"output\":[" ITEM "],\"usage\":{\"input_tokens\":%p,\"output_tokens\":%o,\"total_tokens\":%T," \
    "\"input_tokens_details\":{\"cached_tokens\":%k}}}"
#define BEGUN "{\"id\":\"%i\",\"object\":\"response\",\"status\":\"in_progress\"}"
#define TYPE(type) "{\"type\":\"response." type "\","
#define AT_ITEM "\"item_id\":\"msg_%j\","

static const struct sim_event responses_begin[] = {
    {"response.created", TYPE("created") "\"response\":" BEGUN "}"},
    {"response.in_progress", TYPE("in_progress") "\"response\":" BEGUN "}"},
    {"response.output_item.added", TYPE("output_item.added")
     "\"item\":{\"content\":[],\"id\":\"msg_%j\",\"role\":\"assistant\",\"status\":\"in_progress\","
     "\"type\":\"message\"}}"},
    {"response.content_part.added", TYPE("content_part.added") AT_ITEM
     "\"part\":{\"type\":\"output_text\",\"text\":\"\"}}"},
    {NULL, NULL},
};
static const struct sim_event responses_end[] = {
    {"response.output_text.done", TYPE("output_text.done") AT_ITEM "\"text\":%t}"},
    {"response.content_part.done", TYPE("content_part.done") AT_ITEM "\"part\":" PART "}"},
    {"response.output_item.done", TYPE("output_item.done") "\"item\":" ITEM "}"},
    {"response.completed", TYPE("completed") "\"response\":" COMPLETE ",\"timings\":%x}"},
    {NULL, NULL},
};
static const struct sim_events responses = {
    .id_prefix = "resp_",
    .begin = responses_begin,
    .token = {"response.output_text.delta", TYPE("output_text.delta") AT_ITEM "\"delta\":%t}"},
    .end = responses_end,
    .whole = COMPLETE,
};

static const struct sim_event messages_begin[] = {
    {"message_start", "{\"type\":\"message_start\",\"message\":{\"id\":\"%i\",\"type\":\"message\","
                      "\"role\":\"assistant\",\"content\":[],\"model\":%m,\"stop_reason\":null,"
                      "\"stop_sequence\":null,\"usage\":{\"cache_read_input_tokens\":%k,"
                      "\"input_tokens\":%N,\"output_tokens\":0}}}"},
    SIM_MESSAGES_BLOCK_START,
    {NULL, NULL},
};
static const struct sim_event messages_end[] = {
    SIM_MESSAGES_BLOCK_STOP,
    {"message_delta", "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"%S\","
                      "\"stop_sequence\":null},"
                      "\"usage\":{\"output_tokens\":%o}}"},
    SIM_MESSAGES_STOP,
    {NULL, NULL},
};
static const struct sim_events messages = {
    .id_prefix = "chatcmpl-",
    .begin = messages_begin,
    .token = SIM_MESSAGES_TOKEN,
    .end = messages_end,
    .whole = SIM_MESSAGES_WHOLE("\"usage\":{\"cache_read_input_tokens\":%k,"
                                "\"input_tokens\":%N,\"output_tokens\":%o}"),
};

const struct sim_dialect sim_dialect_llamacpp = {
    .name = "llamacpp",
    .health = "{\"status\":\"ok\"}",
    .health_paths = "/v1/health",
    .metrics_path = "/metrics",
    .metrics_type = "text/plain; version=0.0.4",
    .headers = SIM_HEADERS_LLAMACPP,
    .chat = {.role = "{\"choices\":[{\"finish_reason\":null,\"index\":%d,\"delta\":"
                     "{\"role\":\"assistant\",\"content\":null}}]," TAIL "}",
             .token = "{\"choices\":[{\"finish_reason\":null,\"index\":%d,\"delta\":"
                      "{\"content\":%t}}]," TAIL "}",
             .finish = "{\"choices\":[{\"finish_reason\":%f,\"index\":%d,\"delta\":{}}]," TAIL
                       ",\"timings\":%x}",
             .finish_usage = "{\"choices\":[{\"finish_reason\":%f,\"index\":%d,\"delta\":{}}]," TAIL
                             "}",
             .usage = "{\"choices\":[]," TAIL "," USAGE ",\"timings\":%x}",
             .choice = "{\"finish_reason\":%f,\"index\":%d,\"message\":"
                       "{\"role\":\"assistant\",\"content\":%t}}",
             .whole = "{\"choices\":[%C],\"created\":%c,\"model\":%m,"
                      "\"system_fingerprint\":\"b1-simulated\",\"object\":\"chat.completion\"," USAGE
                      ",\"id\":\"%i\",\"timings\":%x}"},
    .text = {.token = "{\"choices\":[{\"text\":%t,\"index\":%d,\"logprobs\":null,"
                      "\"finish_reason\":null}]," TEXT_TAIL ",\"id\":\"%i\"}",
             .finish = "{\"choices\":[{\"text\":\"\",\"index\":%d,\"logprobs\":null,"
                       "\"finish_reason\":%f}]," TEXT_TAIL "," USAGE
                       ",\"id\":\"%i\",\"timings\":%x}",
             .choice = "{\"text\":%t,\"index\":%d,\"logprobs\":null,\"finish_reason\":%f}",
             .whole = "{\"choices\":[%C]," TEXT_TAIL "," USAGE ",\"id\":\"%i\","
                      "\"timings\":%x}"},
    .failures =
        {
            [SIM_FAILURE_NO_ROUTE] = {404, "{\"error\":{\"message\":\"File Not Found\",\"type\":"
                                           "\"not_found_error\",\"code\":404}}"},
            [SIM_FAILURE_METHOD] = {404, "{\"error\":{\"message\":\"File Not Found\",\"type\":"
                                         "\"not_found_error\",\"code\":404}}"},
            [SIM_FAILURE_MEDIA_TYPE] = {0, NULL},
            [SIM_FAILURE_EMPTY_BODY] =
                {500, "{\"error\":{\"code\":500,\"message\":\"[json.exception.parse_error.101] "
                      "parse error at line 1, column 1: attempting to parse an empty input; check "
                      "that your input string or stream contains the expected JSON\","
                      "\"type\":\"server_error\"}}"},
            [SIM_FAILURE_BAD_JSON] =
                {500, "{\"error\":{\"code\":500,\"message\":\"[json.exception.parse_error.101] "
                      "parse error at line 1, column %v: syntax error while parsing value\","
                      "\"type\":\"server_error\"}}"},
            [SIM_FAILURE_MISSING_FIELD] = {400, "{\"error\":{\"code\":400,\"message\":\"'%P' is "
                                                "required\",\"type\":"
                                                "\"invalid_request_error\"}}"},
            [SIM_FAILURE_WRONG_TYPE] =
                {400, "{\"error\":{\"code\":400,\"message\":\"Field '%P': "
                      "[json.exception.type_error.302] type must be number, but is string\","
                      "\"type\":\"invalid_request_error\"}}"},
            [SIM_FAILURE_UNKNOWN_MODEL] = {0, NULL},
            [SIM_FAILURE_TOO_LONG] =
                {400, "{\"error\":{\"code\":400,\"message\":\"request (%v tokens) exceeds the "
                      "available context size (%L tokens), try increasing it\","
                      "\"type\":\"exceed_context_size_error\",\"n_prompt_tokens\":%v,"
                      "\"n_ctx\":%L}}"},
            [SIM_FAILURE_MAX_TOKENS] = {0, NULL},
            [SIM_FAILURE_CHOICES] = {400, "{\"error\":{\"code\":400,\"message\":\"n is %v, but there "
                                          "are %L slots\",\"type\":\"invalid_request_error\"}}"},
            [SIM_FAILURE_OVERLOADED] = {503, "{\"error\":{\"code\":503,\"message\":\"no slot "
                                             "available\",\"type\":\"unavailable_error\"}}"},
            [SIM_FAILURE_SHUTTING_DOWN] = {503, "{\"error\":{\"code\":503,\"message\":\"shutting "
                                                "down\",\"type\":\"unavailable_error\"}}"},
            [SIM_FAILURE_OTHER] = {500, "{\"error\":{\"code\":%s,\"message\":\"simulated "
                                        "fault\",\"type\":\"server_error\"}}"},
        },
    .error_event = "{\"error\":{\"code\":%s,\"message\":\"simulated fault\",\"type\":"
                   "\"server_error\"}}",
    .overload_event = "{\"error\":{\"code\":503,\"message\":\"no slot available\",\"type\":"
                      "\"unavailable_error\"}}",
    .models_names = "{\"name\":%m,\"model\":%m,\"modified_at\":\"\",\"size\":\"\",\"digest\":\"\","
                    "\"type\":\"model\",\"description\":\"\",\"tags\":[\"\"],\"capabilities\":"
                    "[\"completion\"],\"parameters\":\"\",\"details\":{\"parent_model\":\"\","
                    "\"format\":\"gguf\",\"family\":\"\",\"families\":[\"\"],"
                    "\"parameter_size\":\"\",\"quantization_level\":\"\"}}",
    .models_head = "],\"object\":\"list\",\"data\":[",
    .models_entry = "{\"id\":%m,\"aliases\":[%m],\"tags\":[],\"object\":\"model\",\"created\":%c,"
                    "\"owned_by\":\"llamacpp\",\"meta\":{\"vocab_type\":2,\"n_vocab\":4096,"
                    "\"n_ctx\":%L,\"n_ctx_train\":%L,\"n_embd\":64,\"n_params\":622912,"
                    "\"size\":2491648,\"ftype\":\"all F32\"}}",
    .id_chat = "chatcmpl-",
    .id_text = "chatcmpl-",
    .id_form = SIM_ID_LETTERS,
    .responses = &responses,
    .messages = &messages,
    .close_after_stream = true,
    .close_after_error = true,
    .head_method_ok = true,
    .choices_are_slots = true,
    .abort_whole = SIM_ABORT_NEVER,
    .term = SIM_TERM_RAGGED,
    .labels = "",
    .histogram_labels = "%l",
    .families = families,
    .family_count = ARRAY_LEN(families),
};
