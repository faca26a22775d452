#include "ai/shutdown_words.h"

#include "json/scan.h"

static const struct slice phrases[] = {
    // vLLM that drains (--shutdown-timeout): its HTTP server still answers, 200 on /health too, but
    // the executor takes no work. The words are those of Python's concurrent.futures.
    {"cannot schedule new futures after", 33},
    // vLLM whose engine process died: the server ends within a second
    // (vllm/v1/engine/exceptions.py).
    {"EngineCore encountered an issue", 31},
};

static bool is_phrase(struct slice message)
{
    for (size_t i = 0; i < ARRAY_LEN(phrases); i++) {
        if (slice_has_prefix(message, phrases[i])) {
            return true;
        }
    }
    return false;
}

// The members that hold the words, in the forms that servers use: {"error":{"message":…}},
// {"message":…}, {"error":…}, FastAPI's {"detail":…}.
enum { KEY_ERROR, KEY_MESSAGE, KEY_DETAIL, KEY_COUNT };
static const struct slice keys[KEY_COUNT] = {
    [KEY_ERROR] = {"error", 5}, [KEY_MESSAGE] = {"message", 7}, [KEY_DETAIL] = {"detail", 6}};

// Of a text, or of an object's members. The phrases have no escapes, so that what is written is
// what is meant.
static struct slice captured(struct slice text, const struct json_capture *capture,
                             enum json_value_type type)
{
    if (capture->type != type) {
        return SLICE_NULL;
    }
    struct slice token = slice_first(slice_skip(text, (size_t)capture->start),
                                     (size_t)(capture->end - capture->start));
    return type == JSON_STRING ? slice_skip(token, 1) : token;
}

static bool object_says(struct slice text, struct slice *ret_inner)
{
    struct json_scan scan;
    json_scan_init(&scan, keys, KEY_COUNT);
    if (json_scan_feed(&scan, text) != JSON_OK || json_scan_finish(&scan) != JSON_OK) {
        return false;
    }
    for (int i = 0; i < KEY_COUNT; i++) {
        if (is_phrase(captured(text, &scan.captures[i], JSON_STRING))) {
            return true;
        }
    }
    *ret_inner = captured(text, &scan.captures[KEY_ERROR], JSON_OBJECT);
    return false;
}

bool shutdown_words_found(unsigned status, struct slice body)
{
    struct slice inner = SLICE_NULL;
    body = slice_trim(body);
    if (status < 500 || body.len > SHUTDOWN_WORDS_BODY_MAX) {
        return false;
    }
    if (body.len == 0 || body.ptr[0] != '{') {
        return is_phrase(body);
    }
    return object_says(body, &inner) || (inner.ptr != NULL && object_says(inner, &inner));
}
