#include "proxy/body.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/attempt.h"
#include "proxy/hedge.h"
#include "proxy/peek.h"
#include "proxy/relay.h"
#include "proxy/reply.h"
#include "proxy/worker.h"

// Bytes a second, on average, that keep a buffered body from timing out: a client that sends one
// byte before each timeout would hold a connection for ever.
enum { BODY_RATE_MIN = 500 };

// What is kept of an empty buffer: a tunnel may be quiet for long, and a form was perhaps collected
// as far as its model.
enum { TUNNEL_KEEP = 4096, STREAMED_KEEP = 4 * REQUEST_REPLAY_MAX };

enum body_key {
    KEY_MODEL,
    KEY_STREAM,
    KEY_MAX_TOKENS,
    KEY_MAX_COMPLETION_TOKENS,
    KEY_MAX_OUTPUT_TOKENS,
    KEY_MESSAGES,
    KEY_PROMPT,
    KEY_INPUT,
    KEY_COUNT,
};

static const struct slice body_keys[KEY_COUNT] = {
    [KEY_MODEL] = {"model", 5},
    [KEY_STREAM] = {"stream", 6},
    [KEY_MAX_TOKENS] = {"max_tokens", 10},
    [KEY_MAX_COMPLETION_TOKENS] = {"max_completion_tokens", 21},
    [KEY_MAX_OUTPUT_TOKENS] = {"max_output_tokens", 17},
    [KEY_MESSAGES] = {"messages", 8},
    [KEY_PROMPT] = {"prompt", 6},
    [KEY_INPUT] = {"input", 5},
};

static struct slice body_bytes(const struct request *request)
{
    return request->body_inline.ptr != NULL && request->body_inline.len != 0
               ? request->body_inline
               : strbuf_slice(&request->body);
}

// Bodies that are JSON or that some engine would read as JSON whatever they claim to be. Only types
// that clearly are something else are left alone.
static bool may_be_json(const struct request *request)
{
    const struct http_header *type = http_header_find(
        request->head.headers, request->head.header_count, HTTP_TOKEN_CONTENT_TYPE);
    if (type == NULL) {
        return true;
    }
    static const struct slice others[] = {
        {"multipart/", 10}, {"audio/", 6}, {"image/", 6}, {"video/", 6},
        {"application/octet-stream", 24},
    };
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        if (slice_ieq(slice_first(type->value, others[i].len), others[i])) {
            return false;
        }
    }
    return true;
}

static struct slice captured(const struct request *request, enum body_key key)
{
    const struct json_capture *capture = &request->scan->captures[key];
    struct slice body = body_bytes(request);
    return slice_of(body.ptr + capture->start, (size_t)(capture->end - capture->start));
}

static void reply_json_error(struct request *request, enum json_error error)
{
    struct slice where =
        arena_printf(&request->arena, "%s at byte %llu", json_error_text(error),
                     (unsigned long long)request->scan->error_at);
    reply_fault(request,
                error == JSON_ERROR_DUPLICATE_KEY ? FAULT_DUPLICATE_KEY : FAULT_INVALID_JSON,
                where);
}

// Prompt text for the token estimate. Prompts given as token ids have hardly any string bytes; an
// id takes about as many bytes of JSON as a token takes of text.
static uint64_t prompt_size(const struct json_scan *scan)
{
    uint64_t spans = 0;
    for (int key = KEY_MESSAGES; key <= KEY_INPUT; key++) {
        spans += scan->captures[key].end - scan->captures[key].start;
    }
    return scan->string_bytes < spans / 8 ? spans : scan->string_bytes;
}

// The operations of the OpenAI API that run a model: without its name nobody can say which.
static bool needs_model(const struct request *request)
{
    switch (openai_operation_of(request->head.path)) {
    case OPENAI_CHAT_COMPLETIONS:
    case OPENAI_COMPLETIONS:
    case OPENAI_EMBEDDINGS:
    case OPENAI_RESPONSES:
        return request->head.method == HTTP_METHOD_POST;
    default:
        return false;
    }
}

// Reads the captured members. False: replied.
static bool read_members(struct request *request)
{
    const struct json_scan *scan = request->scan;
    if (scan->captures[KEY_MODEL].type != JSON_ABSENT) {
        char name[REQUEST_MODEL_MAX];
        ptrdiff_t n = scan->captures[KEY_MODEL].type == JSON_STRING
                          ? json_string_decode(captured(request, KEY_MODEL), name, sizeof(name))
                          : -1;
        if (n <= 0) {
            reply_fault(request, FAULT_MODEL_INVALID, SLICE(""));
            return false;
        }
        request->model = arena_dup(&request->arena, slice_of(name, (size_t)n));
        request->model_place = MODEL_IN_JSON;
        request->model_start = scan->captures[KEY_MODEL].start;
        request->model_end = scan->captures[KEY_MODEL].end;
    }
    request->stream = scan->captures[KEY_STREAM].type == JSON_TRUE;
    for (int key = KEY_MAX_TOKENS; key <= KEY_MAX_OUTPUT_TOKENS; key++) {
        uint64_t value;
        if (scan->captures[key].type == JSON_NUMBER &&
            json_number_u64(captured(request, (enum body_key)key), &value) == 0) {
            request->max_tokens = value;
        }
    }
    request->prompt_bytes = prompt_size(scan);
    return true;
}

static void body_done(struct request *request)
{
    request->body_complete = true;
    if (peek_is_on(request) && !peek_end(request)) {
        return;
    }
    if (!request->body_buffered) {
        if (hedge_is_on(request)) {
            hedge_schedule(request); // from now on it is the server that is waited for
        }
        relay_wait_changed(request); // on its way already
        return;
    }
    if (request->scan != NULL && body_bytes(request).len != 0) {
        enum json_error error = json_scan_finish(request->scan);
        if (error != JSON_OK) {
            reply_json_error(request, error);
            return;
        }
        if (!read_members(request)) {
            return;
        }
    } else {
        request->prompt_bytes = body_bytes(request).len;
    }
    if (request->model.ptr == NULL && request->body_scanned && needs_model(request)) {
        reply_fault(request, FAULT_MODEL_MISSING, SLICE(""));
        return;
    }
    request_route(request);
}

// False: replied.
static bool scan_piece(struct request *request, struct slice piece)
{
    if (peek_is_on(request)) {
        return peek_add(request, piece);
    }
    if (request->scan == NULL) {
        return true;
    }
    enum json_error error = json_scan_feed(request->scan, piece);
    if (error != JSON_OK) {
        reply_json_error(request, error);
        return false;
    }
    return true;
}

// The client waits for a word before it sends its body (RFC 9110 section 10.1.1).
static void send_continue(struct request *request)
{
    if (!request->continue_pending) {
        return;
    }
    request->continue_pending = false;
    struct slice text = SLICE("HTTP/1.1 100 Continue\r\n\r\n");
    if (request->client->ops->send_interim(request->client, text) != 0) {
        request_abort(request, FAULT_CLIENT_ABORT);
    }
}

// Streamed bodies go out as they come; with the length when it is known.
static void start_streamed(struct request *request)
{
    struct stream *stream = request->client;
    request->prompt_bytes = request->head.content_length;
    request->body_received = request->body_inline.len;
    request->up_chunked = request->head.framing == HTTP_FRAMING_CHUNKED;
    request_route(request);
    if (stream->request == request && !request->answered) {
        send_continue(request);
    }
}

static void start_buffered(struct request *request)
{
    bool empty = request->head.framing == HTTP_FRAMING_NONE ||
                 (request->head.framing == HTTP_FRAMING_LENGTH &&
                  request->head.content_length == 0);
    if (!empty && request->body_scanned && !peek_is_on(request) && may_be_json(request)) {
        request->scan = ARENA_NEW(&request->arena, struct json_scan);
        if (request->scan == NULL) {
            reply_fault(request, FAULT_INTERNAL, SLICE(""));
            return;
        }
        json_scan_init(request->scan, body_keys, KEY_COUNT);
    }
    if (!request->body_complete) {
        request->body_began_ms = worker_now_ms(request->worker);
        relay_set_phase(request, REQUEST_BODY, request->worker->config->body_timeout_ms);
        send_continue(request);
    } else if (scan_piece(request, request->body_inline)) {
        body_done(request);
    }
}

void body_start(struct request *request)
{
    if (request->body_buffered) {
        start_buffered(request);
    } else {
        start_streamed(request);
    }
}

uint64_t body_limit(const struct request *request)
{
    const struct proxy_config *config = request->worker->config;
    if (request->tunnel) {
        return UINT64_MAX;
    }
    return request->body_buffered && !peek_is_on(request) ? config->max_body_bytes
                                                          : config->max_streamed_body_bytes;
}

// A body is collected as far as its model, which is not as long as it may become.
static bool model_is_late(const struct request *request, size_t more)
{
    return peek_is_on(request) && request->body_buffered &&
           request->body.len + more > request->worker->config->max_body_bytes;
}

bool body_add(struct request *request, struct slice piece)
{
    request->body_received += piece.len;
    if (request->body_received > body_limit(request) || model_is_late(request, piece.len)) {
        bool late = request->body_received <= body_limit(request);
        reply_fault(request, FAULT_BODY_TOO_LARGE,
                    late ? SLICE("the model's name must come before the data")
                         : SLICE(""));
        return false;
    }
    strbuf_add(&request->body, piece);
    if (request->body.failed) {
        reply_fault(request, FAULT_INTERNAL, SLICE(""));
        return false;
    }
    if (!request_charge(request)) {
        reply_fault(request, FAULT_BUFFERS_FULL, SLICE(""));
        return false;
    }
    return scan_piece(request, piece);
}

bool body_set_trailers(struct request *request, const struct http_header *trailers, size_t count)
{
    struct strbuf last;
    strbuf_init(&last, 2 * H1_TRAILERS_MAX);
    strbuf_add(&last, SLICE("\r\n")); // ends the chunk before
    h1_write_trailers(&last, trailers, count);
    request->body_last = last.failed ? SLICE_NULL
                                     : arena_dup(&request->arena, strbuf_slice(&last));
    strbuf_fini(&last);
    if (request->body_last.ptr == NULL) {
        reply_fault(request, FAULT_INTERNAL, SLICE(""));
        return false;
    }
    return true;
}

// The time limit runs from the last progress; for a buffered body this cannot be later than what
// came so far is worth. (A streamed one may be a live recording: it only has to move.)
static void note_progress(struct request *request)
{
    uint64_t now = worker_now_ms(request->worker);
    if (request->phase == REQUEST_BODY) {
        uint64_t worth = request->body_received * 1000 / BODY_RATE_MIN;
        request->phase_ms = MIN_OF(now, request->body_began_ms + worth);
    } else if (request->phase == REQUEST_WAIT) {
        request->phase_ms = now;
    }
}

void body_added(struct request *request, bool end)
{
    struct stream *stream = request->client;
    note_progress(request);
    if (end) {
        body_done(request);
        if (stream->request != request) {
            return;
        }
    }
    if (!end && peek_is_ready(request)) {
        peek_route(request);
        if (stream->request != request) {
            return;
        }
    }
    if (!request->body_buffered) {
        if (!end && request->body.len >= REQUEST_REPLAY_MAX) {
            request->body_paused = true; // until it is sent
            relay_wait_changed(request);
        }
        if (request->up != NULL) {
            request->up->ops->send(request->up);
        }
    }
}

// The upstream body as up to three pieces: before the model, the new model, behind it.
static int body_slices(const struct request *request, struct slice out[3])
{
    struct slice body = body_bytes(request);
    bool here = request->model_place >= MODEL_IN_JSON && request->model_place <= MODEL_IN_MESSAGE;
    if (request->model_sent.ptr == NULL || !here) {
        out[0] = body;
        return 1;
    }
    out[0] = slice_first(body, (size_t)request->model_start);
    out[1] = request->model_sent;
    out[2] = slice_skip(body, (size_t)request->model_end);
    return 3;
}

uint64_t body_upstream_length(const struct request *request)
{
    struct slice pieces[3];
    uint64_t sum = 0;
    int count = body_slices(request, pieces);
    for (int i = 0; i < count; i++) {
        sum += pieces[i].len;
    }
    return sum;
}

int body_pieces(const struct request *request, uint64_t offset, struct iovec *iov, int max)
{
    struct slice pieces[3];
    int count = body_slices(request, pieces);
    int filled = 0;
    for (int i = 0; i < count && filled < max; i++) {
        if (offset >= pieces[i].len) {
            offset -= pieces[i].len;
            continue;
        }
        struct slice rest = slice_skip(pieces[i], (size_t)offset);
        offset = 0;
        iov[filled++] =
            (struct iovec){.iov_base = (void *)(uintptr_t)rest.ptr, .iov_len = rest.len};
    }
    return filled;
}

void body_sent(struct request *request)
{
    // A small streamed body stays, so that it can be sent again; a large one makes room.
    if (request->body_buffered || request->body_inline.len != 0 ||
        (request->body.len < REQUEST_REPLAY_MAX && request->body_replayable)) {
        return;
    }
    if (request->body.cap > (request->tunnel ? (size_t)TUNNEL_KEEP : (size_t)STREAMED_KEEP)) {
        strbuf_fini(&request->body);
    } else {
        strbuf_reset(&request->body);
    }
    request->model_sent = SLICE_NULL; // gone with what was sent
    request->body_replayable = false;
    request->up_sent = request->up_head.len;
    if (request->body_paused) {
        request->body_paused = false;
        relay_wait_changed(request);
        request->client->ops->want_body(request->client);
    }
}
