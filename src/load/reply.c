#include "load/reply.h"

#include "json/scan.h"

static const char *const failure_texts[] = {
#define X(name, text) [LOAD_FAILURE_##name] = (text),
    LOAD_FAILURE_TABLE(X)
#undef X
};

const char *load_failure_text(enum load_failure failure)
{
    return failure_texts[failure];
}

void load_reply_init(struct load_reply *reply, unsigned status, bool is_stream,
                     load_text_cb *on_text, void *arg)
{
    *reply = (struct load_reply){
        .status = status, .is_stream = is_stream, .on_text = on_text, .arg = arg};
    strbuf_init(&reply->held, is_stream ? LOAD_EVENT_MAX : LOAD_BODY_MAX);
}

void load_reply_fini(struct load_reply *reply)
{
    strbuf_fini(&reply->held);
}

void load_reply_fail(struct load_reply *reply, enum load_failure failure, struct slice sample)
{
    if (reply->failure != LOAD_FAILURE_NONE) {
        return;
    }
    reply->failure = failure;
    sample = slice_first(slice_trim(sample), sizeof(reply->sample) - 1);
    for (size_t i = 0; i < sample.len; i++) { // it may go to a terminal
        char c = sample.ptr[i];
        reply->sample[i] = c >= ' ' && c <= '~' ? c : '?';
    }
    reply->sample[sample.len] = '\0';
}

// Scans one whole document. False when it is not a JSON object.
static bool scan_object(struct slice text, const struct slice *keys, size_t count,
                        struct json_scan *scan)
{
    json_scan_init(scan, keys, count);
    return json_scan_feed(scan, text) == JSON_OK && json_scan_finish(scan) == JSON_OK;
}

static struct slice captured(const struct json_scan *scan, size_t key, struct slice text)
{
    const struct json_capture *capture = &scan->captures[key];
    return capture->type == JSON_ABSENT
               ? SLICE_NULL
               : slice_of(text.ptr + capture->start, capture->end - capture->start);
}

static uint64_t number_or_0(const struct json_scan *scan, size_t key, struct slice text)
{
    uint64_t n = 0;
    if (scan->captures[key].type != JSON_NUMBER ||
        json_number_u64(captured(scan, key, text), &n) != 0 || n > UINT32_MAX) {
        return 0;
    }
    return n;
}

// "usage": {"prompt_tokens": 21, "completion_tokens": 6,
//           "prompt_tokens_details": {"cached_tokens": 0}}; the last one of a stream holds.
static void read_usage(struct load_reply *reply, struct slice text)
{
    static const struct slice keys[] = {SLICE("prompt_tokens"), SLICE("completion_tokens"),
                                        SLICE("prompt_tokens_details")};
    static const struct slice detail_keys[] = {SLICE("cached_tokens")};
    struct json_scan scan, details;
    if (!scan_object(text, keys, ARRAY_LEN(keys), &scan)) {
        return;
    }
    struct load_usage usage = {.seen = true,
                               .prompt_tokens = number_or_0(&scan, 0, text),
                               .completion_tokens = number_or_0(&scan, 1, text)};
    struct slice inner = captured(&scan, 2, text);
    if (scan.captures[2].type == JSON_OBJECT &&
        scan_object(inner, detail_keys, ARRAY_LEN(detail_keys), &details)) {
        usage.cached_tokens = number_or_0(&details, 0, inner);
    }
    reply->usage = usage;
}

// Whether one of the keys under which engines send output has a string that is not empty. Searching
// the text is enough: a quote inside a JSON string is always escaped, so "key": with bare quotes
// cannot lie inside one.
static bool has_output(struct slice choices)
{
    static const struct slice keys[] = {SLICE("\"content\""),   SLICE("\"text\""),
                                        SLICE("\"reasoning_content\""), SLICE("\"reasoning\""),
                                        SLICE("\"arguments\""), SLICE("\"refusal\"")};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        struct slice rest = choices;
        ptrdiff_t at;
        while ((at = slice_find(rest, keys[i])) >= 0) {
            rest = slice_skip(rest, (size_t)at + keys[i].len);
            struct slice value = rest;
            while (value.len > 0 && (value.ptr[0] == ' ' || value.ptr[0] == ':')) {
                value = slice_skip(value, 1);
            }
            if (value.len > 1 && value.ptr[0] == '"' && value.ptr[1] != '"') {
                return true;
            }
        }
    }
    return false;
}

// {"error": {"message": …, "code": 503}}, or SGLang's flat {"object": "error", "code": …}.
static void fail_with_error(struct load_reply *reply, struct slice document, struct slice error)
{
    static const struct slice keys[] = {SLICE("code"), SLICE("message")};
    struct json_scan scan;
    struct slice from = error.len > 0 && error.ptr[0] == '{' ? error : document;
    struct slice message = from;
    if (scan_object(from, keys, ARRAY_LEN(keys), &scan)) {
        uint64_t code = number_or_0(&scan, 0, from);
        reply->code = code < 1000 ? (unsigned)code : 0;
        if (scan.captures[1].type == JSON_STRING) {
            message = captured(&scan, 1, from);
        }
    }
    load_reply_fail(reply, LOAD_FAILURE_ERROR_EVENT, message);
}

enum { KEY_CHOICES, KEY_USAGE, KEY_ERROR, KEY_OBJECT, KEY_DATA, KEY_COUNT };
static const struct slice chunk_keys[KEY_COUNT] = {SLICE("choices"), SLICE("usage"),
                                                   SLICE("error"), SLICE("object"), SLICE("data")};

// A chunk of a stream, or a whole answer.
static void read_document(struct load_reply *reply, struct slice text)
{
    struct json_scan scan;
    if (!scan_object(text, chunk_keys, KEY_COUNT, &scan)) {
        load_reply_fail(reply, LOAD_FAILURE_BAD_JSON, text);
        return;
    }
    enum json_value_type error = scan.captures[KEY_ERROR].type;
    bool is_flat = slice_eq(captured(&scan, KEY_OBJECT, text), SLICE("\"error\""));
    if ((error != JSON_ABSENT && error != JSON_NULL) || is_flat) {
        fail_with_error(reply, text, captured(&scan, KEY_ERROR, text));
        return;
    }
    if (scan.captures[KEY_USAGE].type == JSON_OBJECT) {
        read_usage(reply, captured(&scan, KEY_USAGE, text));
    }
    if (has_output(captured(&scan, KEY_CHOICES, text)) ||
        (!reply->is_stream && scan.captures[KEY_DATA].type == JSON_ARRAY)) {
        reply->has_text = true;
        reply->text_events++;
        reply->on_text(reply->arg);
    }
}

static void read_event(struct load_reply *reply, struct slice event)
{
    struct slice data = sse_event_data(event);
    if (data.ptr == NULL || reply->failure != LOAD_FAILURE_NONE) {
        return;
    }
    data = slice_trim(data);
    if (slice_eq(data, SLICE("[DONE]"))) {
        reply->done = true;
    } else if (!reply->done) {
        read_document(reply, data);
    }
}

static void hold(struct load_reply *reply, struct slice data)
{
    strbuf_add(&reply->held, data);
    if (reply->held.failed) {
        strbuf_reset(&reply->held);
        load_reply_fail(reply, LOAD_FAILURE_TOO_LARGE, SLICE_NULL);
    }
}

void load_reply_feed(struct load_reply *reply, struct slice data)
{
    if (!reply->is_stream) {
        if (reply->failure == LOAD_FAILURE_NONE) {
            hold(reply, data);
        }
        return;
    }
    while (data.len > 0 && reply->failure != LOAD_FAILURE_TOO_LARGE) {
        size_t end = sse_scan_event_end(&reply->scan, data);
        if (end == 0) {
            hold(reply, data);
            return;
        }
        if (reply->held.len > 0) {
            hold(reply, slice_first(data, end));
            read_event(reply, strbuf_slice(&reply->held));
            strbuf_reset(&reply->held);
        } else {
            read_event(reply, slice_first(data, end));
        }
        data = slice_skip(data, end);
    }
}

void load_reply_end(struct load_reply *reply, bool text_wanted)
{
    struct slice rest = strbuf_slice(&reply->held);
    if (reply->status < 200 || reply->status > 299) {
        load_reply_fail(reply, LOAD_FAILURE_STATUS, rest);
    } else if (reply->is_stream) {
        if (!reply->done) {
            load_reply_fail(reply, LOAD_FAILURE_TRUNCATED,
                            SLICE("the stream ended without [DONE]"));
        }
    } else if (reply->failure == LOAD_FAILURE_NONE) {
        read_document(reply, rest);
    }
    if (text_wanted && !reply->has_text) {
        load_reply_fail(reply, LOAD_FAILURE_EMPTY, SLICE_NULL);
    }
}
