// The plain OpenAI form of answers and errors, for engines without forms of their own (or whose
// forms were not seen), as designated initialisers of struct sim_dialect.
#pragma once

#define SIM_OPENAI_USAGE                                                                           \
    "\"usage\":{\"prompt_tokens\":%p,\"completion_tokens\":%o,\"total_tokens\":%T,"                \
    "\"prompt_tokens_details\":{\"cached_tokens\":%k}}"
#define SIM_OPENAI_CHUNK                                                                           \
    "{\"id\":\"%i\",\"object\":\"chat.completion.chunk\",\"created\":%c,\"model\":%m,"             \
    "\"choices\":["
#define SIM_OPENAI_TEXT                                                                            \
    "{\"id\":\"%i\",\"object\":\"text_completion\",\"created\":%c,\"model\":%m,\"choices\":["

#define SIM_OPENAI_TEXTS                                                                           \
    .chat = {.role = SIM_OPENAI_CHUNK "{\"index\":%d,\"delta\":{\"role\":\"assistant\","           \
                                      "\"content\":\"\"},\"logprobs\":null,"                       \
                                      "\"finish_reason\":null}]%u}",                               \
             .token = SIM_OPENAI_CHUNK "{\"index\":%d,\"delta\":{\"content\":%t},"                 \
                                       "\"logprobs\":null,\"finish_reason\":null}]%u}",            \
             .finish = SIM_OPENAI_CHUNK "{\"index\":%d,\"delta\":{},\"logprobs\":null,"            \
                                        "\"finish_reason\":%f}]%u}",                               \
             .usage = SIM_OPENAI_CHUNK "]," SIM_OPENAI_USAGE "}",                                  \
             .whole = "{\"id\":\"%i\",\"object\":\"chat.completion\",\"created\":%c,\"model\":%m," \
                      "\"choices\":[%C]," SIM_OPENAI_USAGE "}",                                    \
             .choice = "{\"index\":%d,\"message\":{\"role\":\"assistant\",\"content\":%t},"        \
                       "\"logprobs\":null,\"finish_reason\":%f}"},                                 \
    .text = {.token = SIM_OPENAI_TEXT "{\"index\":%d,\"text\":%t,\"logprobs\":null,"               \
                                      "\"finish_reason\":null}]%u}",                               \
             .last_token = SIM_OPENAI_TEXT "{\"index\":%d,\"text\":%t,\"logprobs\":null,"          \
                                           "\"finish_reason\":%f}]%u}",                            \
             .usage = SIM_OPENAI_TEXT "]," SIM_OPENAI_USAGE "}",                                   \
             .whole = SIM_OPENAI_TEXT "%C]," SIM_OPENAI_USAGE "}",                                 \
             .choice = "{\"index\":%d,\"text\":%t,\"logprobs\":null,\"finish_reason\":%f}"},       \
    .every_usage = "," SIM_OPENAI_USAGE

#define SIM_OPENAI_ERROR(status, message, type, param)                                             \
    {                                                                                              \
        status, "{\"error\":{\"message\":\"" message "\",\"type\":\"" type "\",\"param\":" param   \
                ",\"code\":%s}}"                                                                   \
    }

#define SIM_OPENAI_FAILURES                                                                        \
    .failures = {                                                                                  \
        [SIM_FAILURE_NO_ROUTE] = SIM_OPENAI_ERROR(404, "Not Found", "not_found_error", "null"),    \
        [SIM_FAILURE_METHOD] = SIM_OPENAI_ERROR(405, "Method Not Allowed",                         \
                                                "invalid_request_error", "null"),                  \
        [SIM_FAILURE_MEDIA_TYPE] = SIM_OPENAI_ERROR(415, "Expected request with `Content-Type: "   \
                                                         "application/json`",                      \
                                                    "invalid_request_error", "null"),              \
        [SIM_FAILURE_EMPTY_BODY] = SIM_OPENAI_ERROR(400, "the request body is empty",              \
                                                    "invalid_request_error", "null"),              \
        [SIM_FAILURE_BAD_JSON] = SIM_OPENAI_ERROR(400, "the request body is not valid JSON "       \
                                                       "(offset %v)",                              \
                                                  "invalid_request_error", "null"),                \
        [SIM_FAILURE_MISSING_FIELD] = SIM_OPENAI_ERROR(422, "missing field `%P`",                  \
                                                       "invalid_request_error", "\"%P\""),         \
        [SIM_FAILURE_WRONG_TYPE] = SIM_OPENAI_ERROR(422, "invalid type for `%P`",                  \
                                                    "invalid_request_error", "\"%P\""),            \
        [SIM_FAILURE_UNKNOWN_MODEL] = SIM_OPENAI_ERROR(404, "The model `%e` does not exist.",      \
                                                       "not_found_error", "\"model\""),            \
        [SIM_FAILURE_TOO_LONG] = SIM_OPENAI_ERROR(400, "the prompt has %v tokens, more than the "  \
                                                       "%L of the context",                        \
                                                  "invalid_request_error", "\"messages\""),        \
        [SIM_FAILURE_MAX_TOKENS] = SIM_OPENAI_ERROR(400, "max_tokens (%v) does not fit the "       \
                                                         "context of %L tokens",                   \
                                                    "invalid_request_error", "\"max_tokens\""),    \
        [SIM_FAILURE_CHOICES] = SIM_OPENAI_ERROR(400, "n is %v, but must be from 1 to %L",         \
                                                 "invalid_request_error", "\"n\""),                \
        [SIM_FAILURE_OVERLOADED] = SIM_OPENAI_ERROR(503, "the queue is full",                      \
                                                    "service_unavailable", "null"),                \
        [SIM_FAILURE_SHUTTING_DOWN] = SIM_OPENAI_ERROR(503, "shutting down",                       \
                                                       "service_unavailable", "null"),             \
        [SIM_FAILURE_OTHER] = SIM_OPENAI_ERROR(500, "simulated fault", "%r", "null"),              \
    },                                                                                             \
    .error_event = "{\"error\":{\"message\":\"simulated fault\",\"type\":\"%r\",\"param\":null,"   \
                   "\"code\":%s}}",                                                                \
    .overload_event = "{\"error\":{\"message\":\"the queue is full\",\"type\":"                    \
                      "\"service_unavailable\",\"param\":null,\"code\":503}}"

#define SIM_OPENAI_MODELS(owner)                                                                   \
    .models_head = "{\"object\":\"list\",\"data\":[",                                              \
    .models_entry = "{\"id\":%m,\"object\":\"model\",\"created\":%c,\"owned_by\":\"" owner "\"}",  \
    .id_chat = "chatcmpl-", .id_text = "cmpl-", .responses = &sim_vllm_responses
