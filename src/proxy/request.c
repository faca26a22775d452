#include "proxy/request.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "http/grpc.h"
#include "observe/metrics.h"
#include "proxy/account.h"
#include "proxy/attempt.h"
#include "proxy/body.h"
#include "proxy/filters.h"
#include "proxy/hedge.h"
#include "proxy/input.h"
#include "proxy/mirror.h"
#include "proxy/model_place.h"
#include "proxy/origin.h"
#include "proxy/overload.h"
#include "proxy/peek.h"
#include "proxy/relay.h"
#include "proxy/reply.h"
#include "proxy/secure.h"
#include "proxy/worker.h"

enum { FREE_REQUESTS_MAX = 256, REQUEST_ARENA_CHUNK = 1024, REQUEST_ARENA_MAX = 1024 * 1024 };

static struct request *request_alloc(struct worker *worker)
{
    struct request *request;
    struct arena arena;
    if (!list_empty(&worker->free_requests)) {
        request = list_first(&worker->free_requests, struct request, node);
        list_remove(&request->node);
        worker->free_request_count--;
        arena = request->arena;
    } else {
        request = malloc(sizeof(*request));
        arena_init(&arena, REQUEST_ARENA_CHUNK, REQUEST_ARENA_MAX);
    }
    if (request != NULL) {
        *request = (struct request){.worker = worker, .arena = arena};
        arena_reset(&request->arena);
        request->arena.used = 0;
        list_push_back(&worker->requests, &request->node);
        worker->request_count++;
    }
    return request;
}

bool request_charge(struct request *request)
{
    struct worker *worker = request->worker;
    if (UNLIKELY(request->role == REQUEST_MIRROR)) {
        return true; // has a sum of its own
    }
    uint64_t holds = request->input_size + request->body.cap;
    worker->buffered_bytes += holds - request->charged;
    request->charged = holds;
    return worker->buffered_bytes <= worker->config->max_buffered_bytes;
}

static void free_input(struct request *request)
{
    free(request->input);
    request->input = NULL;
    request->input_size = 0;
}

void request_drop_input(struct request *request)
{
    free_input(request);
    request->head.headers = NULL;
    request->head.header_count = 0;
    request->body_inline = SLICE_NULL;
    request->body_replayable = false;
    if (request->body_complete) {
        strbuf_fini(&request->body);
    }
    strbuf_fini(&request->up_head);
    (void)request_charge(request); // it can only sink
}

struct slice request_scheme(const struct request *request)
{
    if (request->forwarded != NULL) {
        return request->forwarded->proto;
    }
    return request->client->who->is_tls ? SLICE("https") : SLICE("http");
}

void request_drop_upstream(struct request *request)
{
    if (request->up != NULL) {
        struct exchange *up = request->up;
        request->up = NULL;
        up->ops->close(up);
    }
}

// Settles, logs and frees; the connection is not told.
static void request_free(struct request *request)
{
    struct worker *worker = request->worker;
    if (UNLIKELY(request->rival != NULL)) {
        hedge_part(request);
    }
    account_request(request);
    loop_timer_cancel(worker->loop, &request->timer);
    reservation_release(&request->reservation);
    request_drop_upstream(request);
    if (request->hold != NULL) {
        snapshot_holder_release(&worker->holder, request->hold);
    }
    free_input(request);
    strbuf_fini(&request->body);
    (void)request_charge(request);
    strbuf_fini(&request->up_head);
    strbuf_fini(&request->held);
    request->client->request = NULL;
    list_remove(&request->node);
    worker->request_count--;
    if (worker->free_request_count < FREE_REQUESTS_MAX) {
        list_push_front(&worker->free_requests, &request->node);
        worker->free_request_count++;
    } else {
        arena_fini(&request->arena);
        free(request);
    }
}

void request_finish(struct request *request)
{
    struct stream *stream = request->client;
    bool unread = !request->body_complete;
    bool keep_alive = request->client_keep_alive && !unread;
    request_free(request);
    stream->ops->done(stream, keep_alive, unread);
}

void request_abort(struct request *request, enum fault fault)
{
    struct stream *stream = request->client;
    if (request->fault == FAULT_NONE) {
        request->fault = fault;
    }
    request_free(request);
    stream->ops->close(stream);
}

void request_on_writable(struct request *request)
{
    if (request->answered) {
        return; // the connection closes or goes on by itself
    }
    request->phase_ms = worker_now_ms(request->worker);
    struct exchange *up = request->up;
    if (up != NULL && up->paused) {
        up->ops->resume(up);
    }
}

bool request_wants_more(const struct request *request)
{
    return !request->body_complete && !request->answered;
}

bool request_wants_body(const struct request *request)
{
    return request_wants_more(request) && !request->body_paused;
}

// The characters that may stand in an id that we pass on and log.
static bool id_is_clean(struct slice id)
{
    for (size_t i = 0; i < id.len; i++) {
        char c = id.ptr[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_' || c == '.' || c == ':' || c == '/' || c == '+' || c == '=';
        if (!ok) {
            return false;
        }
    }
    return id.len != 0 && id.len <= REQUEST_ID_MAX;
}

static struct slice make_id(struct request *request)
{
    static const char digits[] = "0123456789abcdef";
    struct worker *worker = request->worker;
    char *text = arena_bytes(&request->arena, 33);
    if (text == NULL) {
        return SLICE("-");
    }
    uint64_t words[2] = {rand_u64(&worker->rng) ^ worker->request_id_seed[0],
                         rand_u64(&worker->rng) ^ worker->request_id_seed[1]};
    for (int i = 0; i < 32; i++) {
        text[i] = digits[(words[i / 16] >> (i % 16 * 4)) & 15];
    }
    text[32] = '\0';
    return slice_of(text, 32);
}

static void note_identity(struct request *request)
{
    const struct http_request *head = &request->head;
    const struct http_header *id =
        http_header_find(head->headers, head->header_count, HTTP_TOKEN_X_REQUEST_ID);
    request->id = id != NULL && id_is_clean(id->value) ? arena_dup(&request->arena, id->value)
                                                       : make_id(request);
    origin_note(request);
    request->path_log = arena_dup(&request->arena, slice_first(head->path, 256));
    request->host_log = arena_dup(&request->arena, slice_first(head->host, 256));
    request->method_log = arena_dup(&request->arena, slice_first(head->method_text, 16));
    const struct http_header *agent =
        http_header_find(head->headers, head->header_count, HTTP_TOKEN_USER_AGENT);
    if (agent != NULL && request->worker->access_log != NULL) {
        request->user_agent_log = arena_dup(&request->arena, slice_first(agent->value, 160));
    }
}

// RFC 9110 section 10.1.4: who does not say so may not expect trailers, nor find them. With HTTP/2
// they are part of every client.
static bool takes_trailers(const struct stream *stream, const struct http_request *head)
{
    const struct http_header *te =
        http_header_find(head->headers, head->header_count, HTTP_TOKEN_TE);
    if (stream->version == STREAM_HTTP2 || head->minor_version == 0 || te == NULL) {
        return stream->version == STREAM_HTTP2;
    }
    struct slice rest = te->value;
    struct slice part;
    while (slice_split(&rest, ',', &part)) {
        if (slice_ieq(slice_trim(part), SLICE("trailers"))) {
            return true;
        }
    }
    return false;
}

static bool is_grpc(const struct stream *stream, const struct http_request *head)
{
    const struct http_header *type =
        stream->version == STREAM_HTTP2 && head->upgrade.ptr == NULL
            ? http_header_find(head->headers, head->header_count, HTTP_TOKEN_CONTENT_TYPE)
            : NULL;
    return type != NULL && grpc_content_type(type->value);
}

// What its body says.
static bool copy_members(struct request *copy, const struct request *from)
{
    if (from->scan != NULL) {
        copy->scan = ARENA_NEW(&copy->arena, struct json_scan);
        if (copy->scan == NULL) {
            return false;
        }
        *copy->scan = *from->scan;
    }
    copy->id = arena_dup(&copy->arena, from->id);
    copy->model = from->model.ptr != NULL ? arena_dup(&copy->arena, from->model) : SLICE_NULL;
    copy->model_place = from->model_place;
    copy->model_start = from->model_start;
    copy->model_end = from->model_end;
    copy->stream = from->stream;
    copy->wants_trailers = from->wants_trailers;
    copy->max_tokens = from->max_tokens;
    copy->prompt_bytes = from->prompt_bytes;
    return origin_copy(copy, from) && copy->id.ptr != NULL &&
           (from->model.ptr == NULL || copy->model.ptr != NULL);
}

struct request *request_copy(const struct request *from, struct stream *stream,
                             enum request_role role)
{
    struct request *copy = request_alloc(from->worker);
    if (copy == NULL) {
        return NULL;
    }
    copy->client = stream;
    stream->request = copy;
    copy->role = role;
    copy->started_ns = clock_mono_ns();
    copy->hold = snapshot_hold_again(from->hold);
    copy->rule = from->rule;
    copy->body_buffered = true;
    copy->body_complete = true;
    copy->body_replayable = true;
    if (!input_copy(copy, from) || !copy_members(copy, from)) {
        request_free(copy);
        return NULL;
    }
    return copy;
}

static void query_of(const struct request *request, struct route_query *query)
{
    *query = (struct route_query){
        .host = request->head.host,
        .path = request->head.path,
        .method = request->head.method_text,
        .headers = request->head.headers,
        .header_count = request->head.header_count,
        .model = request->model,
    };
}

static void start_attempts(struct request *request)
{
    struct stream *stream = request->client;
    bool mirrored = request->rule->mirror != NULL;
    request->client_cert = secure_client_cert(request);
    attempt_first(request);
    if (UNLIKELY(mirrored) && stream->request == request) { // it may be gone already
        mirror_start(request);
    }
}

void request_route(struct request *request)
{
    struct route_query query;
    query_of(request, &query);
    enum route_miss miss;
    request->rule = snapshot_match(request->hold->snapshot, &query, &miss);
    switch (miss) {
    case ROUTE_MISS_NONE:
        if (secure_admits(request) && !filters_answer(request)) {
            start_attempts(request);
        }
        break;
    case ROUTE_MISS_HOST:
        reply_fault(request, FAULT_NO_HOST, SLICE(""));
        break;
    case ROUTE_MISS_PATH:
        reply_fault(request, FAULT_NO_PATH, SLICE(""));
        break;
    case ROUTE_MISS_MODEL:
        if (request->model.ptr == NULL) {
            reply_fault(request, FAULT_MODEL_MISSING, SLICE(""));
        } else {
            reply_model_not_found(request);
        }
        break;
    }
}

// They come by no rule, but like the others of the host. True: by https, and the client was told.
static bool models_redirect(struct request *request)
{
    struct route_query query;
    query_of(request, &query);
    request->way = snapshot_match_way(request->hold->snapshot, &query);
    return request->way != NULL && secure_redirects(request, request->way);
}

// Answers that need no route. True when given.
static bool answer_locally(struct request *request)
{
    const struct http_request *head = &request->head;
    if ((head->method != HTTP_METHOD_GET && head->method != HTTP_METHOD_HEAD) ||
        request_connects(request) || head->framing != HTTP_FRAMING_NONE) {
        return false;
    }
    struct slice models = SLICE("/v1/models");
    if (!slice_has_prefix(head->path, models)) {
        return false;
    }
    struct slice rest = slice_skip(head->path, models.len);
    if (rest.len != 0 && rest.ptr[0] != '/') {
        return false;
    }
    if (models_redirect(request)) {
        return true;
    }
    if (rest.len <= 1) {
        reply_models(request, SLICE_NULL);
        return true;
    }
    // Clients write "org/model" as one segment of the path, with the slash encoded, or as two.
    struct slice name = h1_path_decode(slice_skip(rest, 1), arena_bytes(&request->arena, rest.len));
    if (name.ptr == NULL) {
        reply_fault(request, FAULT_INTERNAL, SLICE(""));
    } else {
        reply_models(request, name);
    }
    return true;
}

// False: no rule could ever take it as it came, which is said before the body is read.
static bool choose_body(struct request *request)
{
    struct route_query query;
    query_of(request, &query);
    enum route_miss miss;
    const struct snap_rule *rule = snapshot_match_head(request->hold->snapshot, &query, &miss);
    if (rule == NULL) {
        reply_fault(request, miss == ROUTE_MISS_HOST ? FAULT_NO_HOST : FAULT_NO_PATH, SLICE(""));
        return false;
    }
    if (secure_redirects(request, rule)) {
        return false;
    }
    const struct http_request *head = &request->head;
    // Who names the model elsewhere needs no look at the body.
    request->body_scanned = rule->needs_body && request->model_place == MODEL_NOWHERE;
    request->body_buffered = request->body_scanned || mirror_wants(request, rule);
    if (request->body_scanned && !peek_begin(request)) {
        return false;
    }
    if (head->framing == HTTP_FRAMING_LENGTH && head->content_length > body_limit(request)) {
        reply_fault(request, FAULT_BODY_TOO_LARGE, SLICE(""));
        return false;
    }
    request->continue_pending = head->expect_continue && request->body_inline.len == 0;
    strbuf_init(&request->body, request->body_buffered
                                    ? (size_t)request->worker->config->max_body_bytes
                                    : (size_t)BODY_WINDOW_MAX);
    return true;
}

void request_begin(struct stream *stream, const struct http_request *head, const char *buf,
                   size_t head_len, size_t body_len, bool whole)
{
    struct worker *worker = stream->worker;
    struct request *request = request_alloc(worker);
    if (request == NULL) {
        request_refuse(stream, HTTP_REJECT_NONE, FAULT_INTERNAL);
        return;
    }
    request->client = stream;
    stream->request = request;
    request->started_ns = clock_mono_ns();
    request->client_address = slice_of_str(stream->peer);
    request->client_keep_alive = head->keep_alive;
    request->body_replayable = true;
    request->body_complete = whole;
    request->wants_trailers = takes_trailers(stream, head);
    request->grpc = is_grpc(stream, head);
    if (!input_adopt(request, head, buf, head_len, body_len)) {
        reply_fault(request, FAULT_INTERNAL, SLICE(""));
        return;
    }
    bool room = request_charge(request);
    note_identity(request);
    bool short_of_memory = worker->config->overload != NULL &&
                           overload_now(worker->config->overload) != OVERLOAD_NONE;
    if (!room || short_of_memory) {
        reply_fault(request, room ? FAULT_MEMORY_LIMIT : FAULT_BUFFERS_FULL, SLICE(""));
        return;
    }
    request->hold = snapshot_holder_acquire(&worker->holder);
    if (request->hold == NULL) {
        reply_fault(request, FAULT_NOT_READY, SLICE(""));
        return;
    }
    if (!filters_begin(request) && !answer_locally(request) && model_place_of_target(request) &&
        choose_body(request)) {
        body_start(request);
    }
}

void request_refuse(struct stream *stream, enum http_reject reason, enum fault fault)
{
    struct worker *worker = stream->worker;
    struct request *request = request_alloc(worker);
    if (reason != HTTP_REJECT_NONE) {
        metrics_reject(worker->metrics, reason);
    }
    if (request == NULL) {
        stream->ops->close(stream);
        return;
    }
    request->client = stream;
    stream->request = request;
    request->started_ns = clock_mono_ns();
    request->id = make_id(request);
    request->client_address = slice_of_str(stream->peer);
    request->client_keep_alive = false;
    request->head.minor_version = 1;
    if (reason == HTTP_REJECT_NONE) {
        reply_fault(request, fault, SLICE(""));
        return;
    }
    // The codec knows the status better than the fault's row.
    request->reject_status = http_reject_status(reason);
    request->reject = reason;
    reply_fault(request, fault, slice_of_str(http_reject_text(reason)));
}

void request_refuse_body(struct request *request, enum http_reject reason)
{
    request->client_keep_alive = false;
    request->reject_status = http_reject_status(reason);
    request->reject = reason;
    reply_fault(request, FAULT_BAD_REQUEST, slice_of_str(http_reject_text(reason)));
}
