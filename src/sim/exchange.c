#include "sim/exchange.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "sim/embeddings.h"
#include "sim/words.h"

enum {
    ARENA_CHUNK = 512,
    ARENA_MAX = 1 << 20,
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
    free(exchange->first.request.hashes);
    free(exchange);
}

void sim_exchange_abort(struct sim_exchange *exchange)
{
    for (uint32_t i = 0; i < exchange->choice_count; i++) {
        sim_engine_abort(&exchange->pod->engine, &exchange->choices[i].request);
    }
}

void sim_exchange_end(struct sim_exchange *exchange)
{
    if (exchange->freed) {
        return;
    }
    exchange->freed = true;
    struct sim_pod *pod = exchange->pod;
    sim_exchange_abort(exchange);
    sim_pace_drop(exchange);
    loop_timer_cancel(pod->server->loop, &exchange->timer);
    list_remove(&exchange->node);
    pod->exchange_count--;
    exchange->conn = NULL;
    loop_task_set(pod->server->loop, &exchange->free_task, exchange_free, exchange);
    sim_server_maybe_exit(pod->server);
}

void sim_exchange_complete(struct sim_exchange *exchange, bool keep_alive)
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
    exchange->first.exchange = exchange;
    exchange->choices = &exchange->first;
    exchange->choice_count = 1;
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
    const struct sim_request *request = &exchange->choices[0].request;
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

bool sim_exchange_stays(const struct sim_exchange *exchange)
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
    sim_exchange_complete(exchange, keep_alive);
}

void sim_exchange_reply(struct sim_exchange *exchange, unsigned status, const char *content_type,
                        struct slice body)
{
    reply(exchange, status, content_type, body, sim_exchange_stays(exchange));
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
    bool keep_alive = sim_exchange_stays(exchange) && !dialect->close_after_error;
    bool is_json = text->len > 0 && text->ptr[0] == '{';
    const char *type = text->len > 0 ? "text/plain; charset=utf-8" : NULL;
    type = is_json ? sim_exchange_json_type(exchange) : type;
    reply(exchange, own.status, type, strbuf_slice(text), keep_alive);
}

// ---- generated answers, whole -----------------------------------------------------------------

struct sim_fill sim_choice_fill(const struct sim_choice *choice)
{
    const struct sim_request *request = &choice->request;
    struct sim_fill fill = sim_exchange_fill(choice->exchange);
    fill.id = choice->id.len > 0 ? choice->id : fill.id;
    fill.index = (uint32_t)(choice - choice->exchange->choices);
    fill.output_tokens = choice->sent;
    fill.cached_tokens = request->cached;
    fill.prompt_ms = (double)(request->first_token_ns - request->admitted_ns) * 1e-6;
    fill.output_ms = (double)(request->last_token_ns - request->first_token_ns) * 1e-6;
    return fill;
}

const char *sim_choice_finish(const struct sim_choice *choice)
{
    return choice->request.finish == SIM_FINISH_STOP ? "stop" : "length";
}

const struct sim_texts *sim_exchange_texts(const struct sim_exchange *exchange)
{
    const struct sim_dialect *dialect = exchange->pod->server->dialect;
    return exchange->api == SIM_API_TEXT ? &dialect->text : &dialect->chat;
}

void sim_choice_text(const struct sim_choice *choice, struct strbuf *out)
{
    for (uint32_t i = 0; i < choice->sent; i++) {
        strbuf_add(out, sim_word(choice->seed, i));
    }
}

static void write_choices(const struct sim_exchange *exchange, struct strbuf *out)
{
    struct strbuf words;
    strbuf_init(&words, 64u << 20);
    for (uint32_t i = 0; i < exchange->choice_count; i++) {
        const struct sim_choice *choice = &exchange->choices[i];
        struct sim_fill fill = sim_choice_fill(choice);
        strbuf_reset(&words);
        sim_choice_text(choice, &words);
        fill.text = strbuf_slice(&words);
        fill.finish = sim_choice_finish(choice);
        strbuf_add_str(out, i > 0 ? "," : "");
        sim_fill_text(out, sim_exchange_texts(exchange)->choice, &fill);
    }
    strbuf_fini(&words);
}

static void send_whole(struct sim_exchange *exchange)
{
    struct strbuf choices;
    struct strbuf body;
    strbuf_init(&choices, 64u << 20);
    strbuf_init(&body, 64u << 20);
    for (uint32_t i = 0; i < exchange->choice_count; i++) {
        exchange->choices[i].sent = exchange->choices[i].request.output;
        exchange->sent += exchange->choices[i].sent;
    }
    if (exchange->api == SIM_API_EMBEDDINGS) {
        sim_embeddings_write(exchange, &body);
    } else if (exchange->events != NULL) {
        sim_named_whole(exchange, &body);
    } else {
        write_choices(exchange, &choices);
        struct sim_fill fill = sim_choice_fill(&exchange->choices[0]);
        fill.output_tokens = exchange->sent;
        fill.choices = strbuf_slice(&choices);
        sim_fill_text(&body, sim_exchange_texts(exchange)->whole, &fill);
    }
    reply(exchange, 200, sim_exchange_json_type(exchange), strbuf_slice(&body),
          sim_exchange_stays(exchange));
    strbuf_fini(&choices);
    strbuf_fini(&body);
}

// ---- going on --------------------------------------------------------------------------------

static void on_held(struct timer *timer, void *arg)
{
    (void)timer;
    struct sim_exchange *exchange = arg;
    exchange->held = false;
    sim_exchange_pump(exchange);
}

void sim_exchange_hold(struct sim_exchange *exchange, uint32_t ms)
{
    exchange->held = true;
    if (ms > 0) {
        loop_timer_set(exchange->pod->server->loop, &exchange->timer, ms, on_held, exchange);
    }
}

bool sim_exchange_holds_head(struct sim_exchange *exchange)
{
    uint64_t due = exchange->arrived_ms + exchange->fault.slow_head_ms;
    uint64_t now = loop_now_ms(exchange->pod->server->loop);
    if (exchange->fault.slow_head_ms == 0 || now >= due) {
        return false;
    }
    sim_exchange_hold(exchange, (uint32_t)(due - now));
    return true;
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
        sim_stream_pump(exchange);
    } else if (exchange->finished && !sim_exchange_holds_head(exchange)) {
        send_whole(exchange);
    }
}

void sim_exchange_on_progress(struct sim_request *request, void *arg)
{
    (void)arg;
    struct sim_choice *choice = container_of(request, struct sim_choice, request);
    struct sim_exchange *exchange = choice->exchange;
    exchange->finished = true;
    for (uint32_t i = 0; i < exchange->choice_count && exchange->finished; i++) {
        exchange->finished = exchange->choices[i].request.state == SIM_REQUEST_FINISHED;
    }
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
