// Hugging Face Text Generation Inference: metric names and error form after its documentation
// (docs/source/reference/metrics.md, router); a full queue is 429 "overloaded".
#include "sim/dialects.h"
#include "sim/family_bounds.h"
#include "sim/openai_texts.h"

#define TGI_ERROR(status, message, type)                                                           \
    {                                                                                              \
        status, "{\"error\":\"" message "\",\"error_type\":\"" type "\"}"                          \
    }

static const double seconds[] = {0.0001, 0.00015, 0.000225, 0.0003375, 0.00050625, 0.000759375,
                                 0.00113906, 0.00170859, 0.00256289, 0.00384434, 0.0057665,
                                 0.00864976, 0.0129746, 0.0194619, 0.0291929, 0.0437894, 0.0656841,
                                 0.0985261, 0.147789, 0.221684, 0.332526, 0.498789, 0.748183,
                                 1.12227, 1.68341, 2.52512, 3.78768, 5.68151, 8.52227, 12.7834,
                                 19.1751, 28.7627, 43.144, 64.716, 97.074, 0};

#define SECONDS(name, help, histogram) SIM_DISTRIBUTION(name, help, histogram, seconds, SIM_NS)
#define BY_METHOD(name_, help_, method_, histogram_)                                               \
    {                                                                                              \
        .name = (name_), .help = (help_), .type = SIM_HISTOGRAM_TYPE,                              \
        .labels = "method=\"" method_ "\",%l", .bounds = seconds,                                  \
        .histogram = SIM_HISTOGRAM_##histogram_, .scale = SIM_NS                                   \
    }

static const struct sim_family families[] = {
    SIM_SERIES(SIM_COUNTER, "tgi_request_count", "Requests.", "", ARRIVALS),
    SIM_SERIES(SIM_COUNTER, "tgi_request_success", "Successful requests.", "", FINISHED),
    SIM_SERIES(SIM_COUNTER, "tgi_request_failure", "Failed requests.", "err=\"overloaded\"",
               REJECTIONS),
    SIM_SERIES(SIM_COUNTER, "tgi_batch_inference_count", "Steps.", "method=\"decode\"", STEPS),
    SIM_SERIES(SIM_COUNTER, "tgi_batch_inference_success", "Successful steps.", "method=\"decode\"",
               STEPS),
    SIM_SERIES(SIM_GAUGE, "tgi_queue_size", "Requests in the queue.", "", WAITING),
    SIM_SERIES(SIM_GAUGE, "tgi_batch_current_size", "Requests in the batch.", "", RUNNING),
    SIM_SERIES(SIM_GAUGE, "tgi_batch_current_max_tokens", "Token budget of the batch.", "",
               KV_USED_TOKENS),
    SIM_SERIES(SIM_GAUGE, "tgi_batch_total_tokens", "Token budget.", "", KV_TOKENS),
    SECONDS("tgi_request_duration", "Whole requests.", end_to_end),
    SECONDS("tgi_request_queue_duration", "Time in the queue.", queue),
    SECONDS("tgi_request_inference_duration", "Time in the batch.", inference),
    SECONDS("tgi_request_mean_time_per_token_duration", "Mean between tokens.",
            time_per_output_token),
    SECONDS("tgi_request_validation_duration", "Validation.", queue),
    BY_METHOD("tgi_batch_forward_duration", "Forward pass.", "prefill", prefill),
    BY_METHOD("tgi_batch_forward_duration", "", "decode", inter_token),
    BY_METHOD("tgi_batch_decode_duration", "Decoding.", "prefill", prefill),
    BY_METHOD("tgi_batch_decode_duration", "", "decode", inter_token),
    BY_METHOD("tgi_batch_inference_duration", "Inference.", "prefill", prefill),
    BY_METHOD("tgi_batch_inference_duration", "", "decode", inter_token),
    SIM_DISTRIBUTION("tgi_batch_next_size", "Size of new batches.", one, sim_bounds_few, 1),
    SIM_DISTRIBUTION("tgi_request_input_length", "Prompt lengths.", prompt_length,
                     sim_bounds_length, 1),
    SIM_DISTRIBUTION("tgi_request_generated_tokens", "Output lengths.", generation_length,
                     sim_bounds_length, 1),
    SIM_DISTRIBUTION("tgi_request_max_new_tokens", "Output lengths asked for.", max_tokens_asked,
                     sim_bounds_length, 1),
};

const struct sim_dialect sim_dialect_tgi = {
    .name = "tgi",
    .health = "",
    .health_paths = "/ping",
    .metrics_path = "/metrics",
    .metrics_type = "text/plain",
    .headers = SIM_HEADERS_PLAIN,
    SIM_OPENAI_TEXTS,
    SIM_OPENAI_MODELS("tgi"),
    .failures =
        {
            [SIM_FAILURE_NO_ROUTE] = {404, ""},
            [SIM_FAILURE_METHOD] = {405, ""},
            [SIM_FAILURE_MEDIA_TYPE] = {415, "Expected request with `Content-Type: "
                                             "application/json`"},
            [SIM_FAILURE_EMPTY_BODY] = {400, "Failed to parse the request body as JSON: EOF while "
                                             "parsing a value at line 1 column 0"},
            [SIM_FAILURE_BAD_JSON] = {400, "Failed to parse the request body as JSON: EOF while "
                                           "parsing a value at line 1 column %v"},
            [SIM_FAILURE_MISSING_FIELD] = {422, "Failed to deserialize the JSON body into the "
                                                "target type: missing field `%P` at line 1"},
            [SIM_FAILURE_WRONG_TYPE] = {422, "Failed to deserialize the JSON body into the target "
                                             "type: %P: invalid type: string, expected u32"},
            [SIM_FAILURE_UNKNOWN_MODEL] = {0, NULL},
            [SIM_FAILURE_TOO_LONG] = TGI_ERROR(422,
                                               "Input validation error: `inputs` must have less "
                                               "than %L tokens. Given: %v",
                                               "validation"),
            [SIM_FAILURE_MAX_TOKENS] = TGI_ERROR(422,
                                                 "Input validation error: `inputs` tokens + "
                                                 "`max_new_tokens` must be <= %L. Given: %v "
                                                 "`max_new_tokens`",
                                                 "validation"),
            [SIM_FAILURE_CHOICES] = TGI_ERROR(422, "Input validation error: n is %v, but must be from "
                                                   "1 to %L", "validation"),
            [SIM_FAILURE_OVERLOADED] = TGI_ERROR(429, "Model is overloaded", "overloaded"),
            [SIM_FAILURE_SHUTTING_DOWN] = TGI_ERROR(503, "Shutting down", "generation"),
            [SIM_FAILURE_OTHER] = TGI_ERROR(500, "Request failed during generation: simulated "
                                                 "fault",
                                            "generation"),
        },
    .error_event = "{\"error\":{\"message\":\"Request failed during generation: simulated fault\","
                   "\"http_status_code\":%s}}",
    .overload_event = "{\"error\":{\"message\":\"Model is overloaded\",\"http_status_code\":429}}",
    .head_at_once = true,
    .error_needs_head = true,
    .labels = "",
    .histogram_labels = "%l",
    .families = families,
    .family_count = ARRAY_LEN(families),
};
