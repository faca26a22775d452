#include "ai/openai.h"

#include <errno.h>

#include "json/scan.h"
#include "json/write.h"

enum openai_operation openai_operation_of(struct slice path)
{
    static const struct {
        struct slice suffix;
        enum openai_operation operation;
    } rows[] = {
        {{"/chat/completions", 17}, OPENAI_CHAT_COMPLETIONS},
        {{"/completions", 12}, OPENAI_COMPLETIONS},
        {{"/embeddings", 11}, OPENAI_EMBEDDINGS},
        {{"/responses", 10}, OPENAI_RESPONSES},
        {{"/models", 7}, OPENAI_MODELS},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (slice_has_suffix(path, rows[i].suffix)) {
            return rows[i].operation;
        }
    }
    return OPENAI_OTHER;
}

// ---- writing ------------------------------------------------------------------------------------

// The types that OpenAI's API documents for these statuses.
static struct slice type_of_status(unsigned status)
{
    switch (status) {
    case 401:
        return SLICE("authentication_error");
    case 403:
        return SLICE("permission_error");
    case 404:
        return SLICE("not_found_error");
    case 429:
        return SLICE("rate_limit_error");
    case 503:
        return SLICE("service_unavailable_error");
    default:
        return status < 500 ? SLICE("invalid_request_error") : SLICE("server_error");
    }
}

static void write_string_or_null(struct strbuf *out, struct slice text)
{
    if (text.len == 0) {
        strbuf_add(out, SLICE("null"));
    } else {
        json_write_string(out, text);
    }
}

void openai_error_write(struct strbuf *out, unsigned status, struct slice type, struct slice code,
                        struct slice param, struct slice message)
{
    strbuf_add(out, SLICE("{\"error\":{\"message\":"));
    json_write_string(out, message);
    strbuf_add(out, SLICE(",\"type\":"));
    json_write_string(out, type.len != 0 ? type : type_of_status(status));
    strbuf_add(out, SLICE(",\"param\":"));
    write_string_or_null(out, param);
    strbuf_add(out, SLICE(",\"code\":"));
    write_string_or_null(out, code);
    strbuf_add(out, SLICE("}}"));
}

void openai_model_write(struct strbuf *out, struct slice model)
{
    strbuf_add(out, SLICE("{\"id\":"));
    json_write_string(out, model);
    // Clients insist on the member; a gateway cannot know when a model was made.
    strbuf_add(out, SLICE(",\"object\":\"model\",\"created\":0,\"owned_by\":\"headrace\"}"));
}

// ---- errors inside a stream ---------------------------------------------------------------------

// What errors are called where they carry no number.
static int status_of_name(struct slice name)
{
    static const struct {
        const char *name;
        int status;
    } rows[] = {
        {"overloaded", 429},        // TGI
        {"overloaded_error", 503},  // Anthropic's form
        {"rate_limit_error", 429},
        {"rate_limit_exceeded", 429},
        {"insufficient_quota", 429},
        {"service unavailable", 503}, // vLLM
        {"service_unavailable", 503}, // SGLang
        {"service_unavailable_error", 503},
        {"unavailable_error", 503}, // llama.cpp
        {"timeout", 504},
        {"timeout_error", 504},
        {"validation", 422}, // TGI
        {"invalid_request_error", 400},
        {"exceed_context_size_error", 400}, // llama.cpp
        {"badrequesterror", 400},           // vLLM, SGLang
        {"bad request", 400},
        {"authentication_error", 401},
        {"permission_error", 403},
        {"not_found_error", 404},
        {"notfounderror", 404}, // vLLM
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (slice_ieq(name, slice_of_str(rows[i].name))) {
            return rows[i].status;
        }
    }
    return 0;
}

static int status_of_token(struct slice text, const struct json_capture *capture)
{
    struct slice token = slice_first(slice_skip(text, (size_t)capture->start),
                                     (size_t)(capture->end - capture->start));
    char decoded[64];
    uint64_t number;
    if (capture->type == JSON_STRING) {
        ptrdiff_t len = json_string_decode(token, decoded, sizeof(decoded));
        token = len < 0 ? SLICE("") : slice_of(decoded, (size_t)len);
        if (slice_to_u64(token, &number) != 0) {
            return status_of_name(token);
        }
    } else if (capture->type != JSON_NUMBER || json_number_u64(token, &number) != 0) {
        return 0;
    }
    return number >= 400 && number <= 599 ? (int)number : 0;
}

enum error_key { KEY_CODE, KEY_STATUS, KEY_ERROR_TYPE, KEY_TYPE, KEY_ERROR, KEY_OBJECT, KEY_COUNT };
static const struct slice error_keys[KEY_COUNT] = {
    [KEY_CODE] = {"code", 4},
    [KEY_STATUS] = {"status", 6},
    [KEY_ERROR_TYPE] = {"error_type", 10},
    [KEY_TYPE] = {"type", 4},
    [KEY_ERROR] = {"error", 5},
    [KEY_OBJECT] = {"object", 6},
};

static bool scan_error(struct json_scan *scan, struct slice text)
{
    json_scan_init(scan, error_keys, KEY_COUNT);
    return json_scan_feed(scan, text) == JSON_OK && json_scan_finish(scan) == JSON_OK;
}

static bool captured_is(struct slice text, const struct json_capture *capture, struct slice token)
{
    return capture->type == JSON_STRING && capture->end - capture->start == token.len &&
           slice_eq(slice_first(slice_skip(text, (size_t)capture->start), token.len), token);
}

// The first of the members that names a status; 500 when none does.
static int named_status(struct slice text, const struct json_scan *scan)
{
    for (int i = KEY_CODE; i <= KEY_TYPE; i++) {
        int status = status_of_token(text, &scan->captures[i]);
        if (status != 0) {
            return status;
        }
    }
    return 500;
}

int openai_event_error_status(struct slice data)
{
    struct json_scan scan;
    if (slice_find(data, SLICE("\"error\"")) < 0 || !scan_error(&scan, data)) {
        return 0;
    }
    const struct json_capture *error = &scan.captures[KEY_ERROR];
    switch (error->type) {
    case JSON_OBJECT: {
        struct slice inner = slice_first(slice_skip(data, (size_t)error->start),
                                         (size_t)(error->end - error->start));
        struct json_scan inner_scan;
        return scan_error(&inner_scan, inner) ? named_status(inner, &inner_scan) : 500;
    }
    case JSON_STRING:
    case JSON_TRUE:
        return named_status(data, &scan);
    default:
        // {"object":"error",…} of SGLang and older vLLM, {"type":"error",…} of the responses API.
        if (captured_is(data, &scan.captures[KEY_OBJECT], SLICE("\"error\"")) ||
            captured_is(data, &scan.captures[KEY_TYPE], SLICE("\"error\""))) {
            return named_status(data, &scan);
        }
        return 0;
    }
}
