#include "sim/exchange.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "sim/words.h"

enum {
    ARENA_CHUNK = 512,
    ARENA_MAX = 1 << 20,
    BATCH_BYTES = 16384,       // written at a time to a client that fell behind
    LATE_ABORT_MS = 3000,      // SGLang and whole answers, as seen
    REQUEST_ID_MAX = 128,
};

// ---- life -----------------------------------------------------------------------------------

static void exchange_free(struct task *task, void *arg)
{
    (void)task;
    struct sim_exchange *exchange = arg;
    strbuf_fini(&exchange->body);
    arena_fini(&exchange->arena);
    free(exchange->request.hashes);
    free(exchange);
}

void sim_exchange_end(struct sim_exchange *exchange)
{
    if (exchange->freed) {
        return;
    }
    exchange->freed = true;
    struct sim_pod *pod = exchange->pod;
    sim_engine_abort(&pod->engine, &exchange->request);
    sim_pace_drop(exchange);
    loop_timer_cancel(pod->server->loop, &exchange->timer);
    list_remove(&exchange->node);
    pod->exchange_count--;
    exchange->conn = NULL;
    loop_task_set(pod->server->loop, &exchange->free_task, exchange_free, exchange);
    sim_server_maybe_exit(pod->server);
}

// The answer is out.
static void complete(struct sim_exchange *exchange, bool keep_alive)
{
    struct sim_conn *conn = exchange->conn;
    sim_exchange_end(exchange);
    if (conn != NULL) {
        sim_conn_done(conn, keep_alive);
    }
}

static bool draws_fault(struct sim_pod *pod)
{
    if (pod->fault_count == 0 || rand_unit(&pod->server->rng) >= pod->fault_share) {
        return false;
    }
    if (pod->fault_count != UINT32_MAX) {
        pod->fault_count--;
    }
    return true;
}

static int take_fault(struct sim_exchange *exchange, const struct http_request *request)
{
    struct sim_pod *pod = exchange->pod;
    const struct http_header *header =
        http_header_find_name(request->headers, request->header_count, SLICE("x-sim-fault"));
    exchange->fault = SIM_FAULT_INIT;
    if (header != NULL) {
        return sim_fault_parse(header->value, &exchange->fault);
    }
    bool is_work = request->method == HTTP_METHOD_POST &&
                   !slice_has_prefix(request->path, SLICE("/sim/"));
    if (is_work && draws_fault(pod)) {
        exchange->fault = pod->fault;
    }
    return 0;
}

static void take_headers(struct sim_exchange *exchange, const struct http_request *request)
{
    struct arena *arena = &exchange->arena;
    for (size_t i = 0; i < request->header_count; i++) {
        const struct http_header *header = &request->headers[i];
        if (header->token == HTTP_TOKEN_CONTENT_TYPE) {
            exchange->has_content_type = true;
            exchange->is_json = http_content_type_is(header->value, SLICE("application/json"));
        } else if (header->token == HTTP_TOKEN_X_REQUEST_ID) {
            exchange->request_id = arena_dup(arena, slice_first(header->value, REQUEST_ID_MAX));
        } else if (slice_ieq(header->name, SLICE("endpoint-load-metrics-format"))) {
            exchange->orca_format = arena_dup(arena, slice_first(header->value, 16));
        }
    }
}

struct sim_exchange *sim_exchange_new(struct sim_conn *conn, const struct http_request *request)
{
    struct sim_exchange *exchange = calloc(1, sizeof(*exchange));
    if (exchange == NULL) {
        return NULL;
    }
    struct sim_pod *pod = conn->pod;
    exchange->pod = pod;
    exchange->conn = conn;
    arena_init(&exchange->arena, ARENA_CHUNK, ARENA_MAX);
    strbuf_init(&exchange->body, pod->server->options->max_body);
    list_init(&exchange->pace_node);
    list_push_back(&pod->exchanges, &exchange->node);
    pod->exchange_count++;
    pod->requests++;
    exchange->method = request->method;
    exchange->path = arena_dup(&exchange->arena, request->path);
    exchange->query = arena_dup(&exchange->arena, request->query);
    exchange->keep_alive = request->keep_alive;
    exchange->arrived_ms = loop_now_ms(pod->server->loop);
    take_headers(exchange, request);
    if (take_fault(exchange, request) != 0) {
        exchange->fault.action = SIM_FAULT_UNREADABLE; // must not pass for none
    }
    return exchange;
}

void sim_exchange_body(struct sim_exchange *exchange, struct slice data)
{
    if (exchange->too_large) {
        return;
    }
    strbuf_add(&exchange->body, data);
    if (exchange->body.failed) {
        exchange->too_large = true;
        strbuf_fini(&exchange->body);
        strbuf_init(&exchange->body, exchange->pod->server->options->max_body);
    }
}

static void on_late_abort(struct timer *timer, void *arg)
{
    (void)timer;
    struct sim_exchange *exchange = arg;
    exchange->pod->aborted++;
    sim_exchange_end(exchange);
}

void sim_exchange_client_gone(struct sim_exchange *exchange)
{
    exchange->conn = NULL;
    struct sim_pod *pod = exchange->pod;
    enum sim_abort_manner manner = pod->server->dialect->abort_whole;
    bool in_engine = exchange->generates && !exchange->finished;
    if (!in_engine || exchange->stream || manner == SIM_ABORT_AT_ONCE || pod->server->terminating) {
        pod->aborted += in_engine;
        sim_exchange_end(exchange);
    } else if (manner == SIM_ABORT_LATE) {
        loop_timer_set(pod->server->loop, &exchange->timer, LATE_ABORT_MS, on_late_abort, exchange);
    }
}

// ---- heads ----------------------------------------------------------------------------------

struct sim_fill sim_exchange_fill(const struct sim_exchange *exchange)
{
    const struct sim_request *request = &exchange->request;
    struct sim_server *server = exchange->pod->server;
    return (struct sim_fill){
        .id = exchange->id,
        .model = exchange->model,
        .all_models = server->model_names,
        .dialect = server->dialect,
        .created = exchange->created,
        .limit = sim_engine_context(&exchange->pod->engine),
        .prompt_tokens = request->prompt_tokens,
        .output_tokens = exchange->sent,
        .cached_tokens = request->cached,
        .block_size = exchange->pod->engine.config.block_size,
        .every_usage = exchange->every_usage,
    };
}

// Adds "connection: close" once the process is ending.
static bool stays(const struct sim_exchange *exchange)
{
    return exchange->keep_alive && !exchange->pod->server->terminating;
}

static void reply(struct sim_exchange *exchange, unsigned status, const char *content_type,
                  struct slice body, bool keep_alive)
{
    struct strbuf *out = &exchange->pod->server->out;
    strbuf_reset(out);
    sim_exchange_head(exchange, out, status, content_type, (int64_t)body.len, keep_alive);
    if (exchange->method != HTTP_METHOD_HEAD) {
        strbuf_add(out, body);
    }
    if (exchange->conn != NULL) {
        sim_conn_send(exchange->conn, strbuf_slice(out));
    }
    complete(exchange, keep_alive);
}

void sim_exchange_reply(struct sim_exchange *exchange, unsigned status, const char *content_type,
                        struct slice body)
{
    reply(exchange, status, content_type, body, stays(exchange));
}

void sim_exchange_fail(struct sim_exchange *exchange, enum sim_failure failure,
                       const struct sim_fill *fill)
{
    const struct sim_dialect *dialect = exchange->pod->server->dialect;
    const struct sim_failure_row *row = &dialect->failures[failure];
    struct sim_fill own = *fill;
    own.status = own.status != 0 ? own.status : row->status;
    struct strbuf *text = &exchange->pod->server->text;
    strbuf_reset(text);
    sim_fill_text(text, row->body, &own);
    bool keep_alive = stays(exchange) && !dialect->close_after_error;
    bool is_json = text->len > 0 && text->ptr[0] == '{';
    const char *type = text->len > 0 ? "text/plain; charset=utf-8" : NULL;
    type = is_json ? sim_exchange_json_type(exchange) : type;
    reply(exchange, own.status, type, strbuf_slice(text), keep_alive);
}

// ---- generated answers, whole -----------------------------------------------------------------

static const char *finish_name(const struct sim_exchange *exchange)
{
    return exchange->request.finish == SIM_FINISH_STOP ? "stop" : "length";
}

static void fill_times(const struct sim_exchange *exchange, struct sim_fill *fill)
{
    const struct sim_request *request = &exchange->request;
    fill->prompt_ms = (double)(request->first_token_ns - request->admitted_ns) * 1e-6;
    fill->output_ms = (double)(request->last_token_ns - request->first_token_ns) * 1e-6;
}

static const struct sim_texts *texts_of(const struct sim_exchange *exchange)
{
    const struct sim_dialect *dialect = exchange->pod->server->dialect;
    return exchange->api == SIM_API_TEXT ? &dialect->text : &dialect->chat;
}

void sim_exchange_text(const struct sim_exchange *exchange, struct strbuf *out)
{
    for (uint32_t i = 0; i < exchange->sent; i++) {
        strbuf_add(out, sim_word(exchange->seed, i));
    }
}

static void send_whole(struct sim_exchange *exchange)
{
    struct strbuf words;
    struct strbuf body;
    strbuf_init(&words, 64u << 20);
    strbuf_init(&body, 64u << 20);
    exchange->sent = exchange->request.output;
    if (exchange->api == SIM_API_EMBEDDINGS) {
        sim_api_write_embeddings(exchange, &body);
    } else if (exchange->api == SIM_API_RESPONSES) {
        sim_responses_whole(exchange, &body);
    } else {
        sim_exchange_text(exchange, &words);
        struct sim_fill fill = sim_exchange_fill(exchange);
        fill.text = strbuf_slice(&words);
        fill.finish = finish_name(exchange);
        fill_times(exchange, &fill);
        sim_fill_text(&body, texts_of(exchange)->whole, &fill);
    }
    reply(exchange, 200, sim_exchange_json_type(exchange), strbuf_slice(&body), stays(exchange));
    strbuf_fini(&words);
    strbuf_fini(&body);
}

// ---- streams ----------------------------------------------------------------------------------

void sim_exchange_chunk(struct strbuf *out, struct slice event)
{
    char size[H1_CHUNK_HEAD_MAX];
    strbuf_add(out, slice_of(size, h1_chunk_head(size, event.len)));
    strbuf_add(out, event);
    strbuf_add_str(out, "\r\n");
}

// One event as one chunk.
static void add_event(struct sim_exchange *exchange, struct strbuf *out, const char *text,
                      const struct sim_fill *fill)
{
    struct strbuf *event = &exchange->pod->server->text;
    strbuf_reset(event);
    strbuf_add_str(event, "data: ");
    sim_fill_text(event, text, fill);
    strbuf_add_str(event, "\n\n");
    sim_exchange_chunk(out, strbuf_slice(event));
}

static void on_held(struct timer *timer, void *arg)
{
    (void)timer;
    struct sim_exchange *exchange = arg;
    exchange->held = false;
    sim_exchange_pump(exchange);
}

static void hold(struct sim_exchange *exchange, uint32_t ms)
{
    exchange->held = true;
    if (ms > 0) {
        loop_timer_set(exchange->pod->server->loop, &exchange->timer, ms, on_held, exchange);
    }
}

static bool holds_slow_head(struct sim_exchange *exchange)
{
    uint64_t due = exchange->arrived_ms + exchange->fault.slow_head_ms;
    uint64_t now = loop_now_ms(exchange->pod->server->loop);
    if (exchange->fault.slow_head_ms == 0 || now >= due) {
        return false;
    }
    hold(exchange, (uint32_t)(due - now));
    return true;
}

static bool step_head(struct sim_exchange *exchange, struct strbuf *out)
{
    const struct sim_dialect *dialect = exchange->pod->server->dialect;
    bool has_data = exchange->request.output > 0 || exchange->finished || exchange->overloaded;
    if ((!dialect->head_at_once && !has_data) || holds_slow_head(exchange)) {
        return false;
    }
    bool plain = dialect->headers == SIM_HEADERS_LLAMACPP;
    sim_exchange_head(exchange, out, 200,
                      plain ? "text/event-stream" : "text/event-stream; charset=utf-8", -1,
                      stays(exchange));
    exchange->stage = SIM_STAGE_ROLE;
    return true;
}

static bool step_error_event(struct sim_exchange *exchange, struct strbuf *out, const char *text,
                             unsigned status)
{
    struct sim_fill fill = sim_exchange_fill(exchange);
    fill.status = status;
    add_event(exchange, out, text, &fill);
    exchange->stage = exchange->pod->server->dialect->done_after_error ? SIM_STAGE_DONE
                                                                       : SIM_STAGE_END;
    exchange->finished = true;
    sim_engine_abort(&exchange->pod->engine, &exchange->request);
    return true;
}

static bool step_role(struct sim_exchange *exchange, struct strbuf *out)
{
    const struct sim_dialect *dialect = exchange->pod->server->dialect;
    if (exchange->overloaded) {
        return step_error_event(exchange, out, dialect->overload_event, 503);
    }
    if (exchange->fault.action == SIM_FAULT_ERROR_EVENT && exchange->fault.error_after == 0) {
        return step_error_event(exchange, out, dialect->error_event, exchange->fault.status);
    }
    if (exchange->request.output == 0) {
        return false;
    }
    if (exchange->api == SIM_API_RESPONSES) {
        sim_responses_begin(exchange, out);
    } else if (texts_of(exchange)->role != NULL) {
        struct sim_fill fill = sim_exchange_fill(exchange);
        add_event(exchange, out, texts_of(exchange)->role, &fill);
    }
    exchange->stage = SIM_STAGE_TOKENS;
    return true;
}

// Faults that strike after a number of tokens. True: nothing more is written now.
static bool strikes(struct sim_exchange *exchange, struct strbuf *out)
{
    const struct sim_fault *fault = &exchange->fault;
    struct sim_conn *conn = exchange->conn;
    if (exchange->sent == fault->reset_after || exchange->sent == fault->close_after) {
        bool reset = exchange->sent == fault->reset_after;
        struct slice rest = strbuf_slice(out);
        sim_conn_send(conn, rest);
        strbuf_reset(out);
        if (reset) {
            sim_conn_reset(conn);
        } else {
            sim_conn_close(conn);
        }
        return true;
    }
    if (exchange->sent == fault->stall_after && !exchange->stalled) {
        exchange->stalled = true;
        hold(exchange, fault->stall_ms);
        return true;
    }
    return false;
}

static bool step_token(struct sim_exchange *exchange, struct strbuf *out)
{
    const struct sim_fault *fault = &exchange->fault;
    const struct sim_texts *texts = texts_of(exchange);
    if (strikes(exchange, out)) {
        return false;
    }
    if (fault->action == SIM_FAULT_ERROR_EVENT && exchange->sent >= fault->error_after) {
        return step_error_event(exchange, out, exchange->pod->server->dialect->error_event,
                                fault->status);
    }
    if (exchange->sent == exchange->request.output) {
        if (!exchange->finished) {
            return false;
        }
        exchange->stage = SIM_STAGE_FINISH;
        return true;
    }
    uint32_t index = exchange->sent++;
    if (exchange->api == SIM_API_RESPONSES) {
        sim_responses_token(exchange, out, sim_word(exchange->seed, index));
        return true;
    }
    struct sim_fill fill = sim_exchange_fill(exchange);
    fill.text = sim_word(exchange->seed, index);
    bool last = exchange->finished && exchange->sent == exchange->request.output &&
                texts->last_token != NULL;
    fill.finish = last ? finish_name(exchange) : NULL;
    const char *text = last ? texts->last_token : texts->token;
    if (last && !exchange->include_usage && texts->last_plain != NULL) {
        text = texts->last_plain;
    }
    add_event(exchange, out, text, &fill);
    return true;
}

static bool step_finish(struct sim_exchange *exchange, struct strbuf *out)
{
    if (exchange->api == SIM_API_RESPONSES) {
        sim_responses_end(exchange, out);
        exchange->stage = SIM_STAGE_END; // no usage of its own, no [DONE]
        return true;
    }
    const struct sim_texts *texts = texts_of(exchange);
    const char *text = exchange->include_usage && texts->finish_usage != NULL ? texts->finish_usage
                                                                              : texts->finish;
    if (text != NULL) {
        struct sim_fill fill = sim_exchange_fill(exchange);
        fill.finish = finish_name(exchange);
        fill_times(exchange, &fill);
        add_event(exchange, out, text, &fill);
    }
    exchange->stage = SIM_STAGE_USAGE;
    return true;
}

static bool step_usage(struct sim_exchange *exchange, struct strbuf *out)
{
    const char *text = texts_of(exchange)->usage;
    if (exchange->include_usage && text != NULL) {
        struct sim_fill fill = sim_exchange_fill(exchange);
        fill_times(exchange, &fill);
        add_event(exchange, out, text, &fill);
    }
    exchange->stage = SIM_STAGE_DONE;
    return true;
}

static bool step_done(struct sim_exchange *exchange, struct strbuf *out)
{
    struct sim_fill fill = {0};
    add_event(exchange, out, "[DONE]", &fill);
    exchange->stage = SIM_STAGE_END;
    return true;
}

static bool step_end(struct sim_exchange *exchange, struct strbuf *out)
{
    strbuf_add(out, H1_LAST_CHUNK);
    exchange->stage = SIM_STAGE_ENDED;
    return true;
}

typedef bool step_fn(struct sim_exchange *exchange, struct strbuf *out);

static step_fn *const steps[] = {
    [SIM_STAGE_HEAD] = step_head,     [SIM_STAGE_ROLE] = step_role,
    [SIM_STAGE_TOKENS] = step_token,  [SIM_STAGE_FINISH] = step_finish,
    [SIM_STAGE_USAGE] = step_usage,   [SIM_STAGE_DONE] = step_done,
    [SIM_STAGE_END] = step_end,
};

static void pump_stream(struct sim_exchange *exchange)
{
    struct strbuf *out = &exchange->pod->server->out;
    bool more = true;
    while (more && exchange->conn != NULL && !sim_conn_is_congested(exchange->conn)) {
        strbuf_reset(out);
        // The last chunk goes out by itself, as uvicorn does it.
        while (more && exchange->conn != NULL && out->len < BATCH_BYTES &&
               exchange->stage != SIM_STAGE_ENDED) {
            if (exchange->stage == SIM_STAGE_END && out->len > 0) {
                break;
            }
            more = steps[exchange->stage](exchange, out);
        }
        if (exchange->conn != NULL && !exchange->conn->closed) {
            sim_conn_send(exchange->conn, strbuf_slice(out));
        }
        if (exchange->stage == SIM_STAGE_ENDED) {
            const struct sim_dialect *dialect = exchange->pod->server->dialect;
            complete(exchange, stays(exchange) && !dialect->close_after_stream);
            return;
        }
    }
}

void sim_exchange_pump(struct sim_exchange *exchange)
{
    if (exchange->freed || exchange->held || exchange->pod->hang || !exchange->generates) {
        return;
    }
    if (exchange->conn == NULL) {
        if (exchange->finished) {
            sim_exchange_end(exchange);
        }
        return;
    }
    if (exchange->stream) {
        pump_stream(exchange);
    } else if (exchange->finished && !holds_slow_head(exchange)) {
        send_whole(exchange);
    }
}

void sim_exchange_on_progress(struct sim_request *request, void *arg)
{
    (void)arg;
    struct sim_exchange *exchange = container_of(request, struct sim_exchange, request);
    exchange->finished = request->state == SIM_REQUEST_FINISHED;
    sim_exchange_pump(exchange);
}

// ---- beginning --------------------------------------------------------------------------------

// True when the fault is the answer.
static bool is_fault_all(struct sim_exchange *exchange)
{
    const struct sim_dialect *dialect = exchange->pod->server->dialect;
    struct sim_fill fill = sim_exchange_fill(exchange);
    switch (exchange->fault.action) {
    case SIM_FAULT_RESET: sim_conn_reset(exchange->conn); return true;
    case SIM_FAULT_CLOSE: sim_conn_close(exchange->conn); return true;
    case SIM_FAULT_FREEZE: return true;
    case SIM_FAULT_STATUS:
        fill.status = exchange->fault.status;
        sim_exchange_fail(exchange,
                          fill.status == dialect->failures[SIM_FAILURE_OVERLOADED].status
                              ? SIM_FAILURE_OVERLOADED
                              : SIM_FAILURE_OTHER,
                          &fill);
        return true;
    case SIM_FAULT_UNREADABLE:
        sim_exchange_reply(exchange, 400, "text/plain", SLICE("x-sim-fault: cannot be read\n"));
        return true;
    default: return false;
    }
}

static void route(struct sim_exchange *exchange)
{
    if (!is_fault_all(exchange)) {
        sim_api_route(exchange);
    }
}

static void on_delay_over(struct timer *timer, void *arg)
{
    (void)timer;
    route(arg);
}

void sim_exchange_begin(struct sim_exchange *exchange)
{
    if (exchange->fault.delay_ms > 0) {
        loop_timer_set(exchange->pod->server->loop, &exchange->timer, exchange->fault.delay_ms,
                       on_delay_over, exchange);
        return;
    }
    route(exchange);
}
