// Streamed answers: a head, events as the engine gives tokens, faults in the middle of them, an end.
#include "sim/exchange.h"
#include "sim/words.h"

enum { BATCH_BYTES = 16384 }; // written at a time to a client that fell behind

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

static bool has_output(const struct sim_exchange *exchange)
{
    for (uint32_t i = 0; i < exchange->choice_count; i++) {
        if (exchange->choices[i].request.output > 0) {
            return true;
        }
    }
    return false;
}

static bool step_head(struct sim_exchange *exchange, struct strbuf *out)
{
    const struct sim_dialect *dialect = exchange->pod->server->dialect;
    bool has_data = has_output(exchange) || exchange->finished || exchange->overloaded;
    if ((!dialect->head_at_once && !has_data) || sim_exchange_holds_head(exchange)) {
        return false;
    }
    bool plain = dialect->headers == SIM_HEADERS_LLAMACPP;
    sim_exchange_head(exchange, out, 200,
                      plain ? "text/event-stream" : "text/event-stream; charset=utf-8", -1,
                      sim_exchange_stays(exchange));
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
    sim_exchange_abort(exchange);
    return true;
}

// Once for each choice, before its first token.
static void add_role(struct sim_choice *choice, struct strbuf *out)
{
    const char *text = sim_exchange_texts(choice->exchange)->role;
    if (!choice->has_role && text != NULL) {
        struct sim_fill fill = sim_choice_fill(choice);
        add_event(choice->exchange, out, text, &fill);
    }
    choice->has_role = true;
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
    if (!has_output(exchange)) {
        return false;
    }
    if (exchange->events != NULL) {
        sim_named_begin(exchange, out);
    } else if (dialect->roles_together) {
        for (uint32_t i = 0; i < exchange->choice_count; i++) {
            add_role(&exchange->choices[i], out);
        }
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
        sim_exchange_hold(exchange, fault->stall_ms);
        return true;
    }
    return false;
}

// The choice that has got least of what is there: they take turns, as the engine gives them tokens.
static struct sim_choice *next_choice(struct sim_exchange *exchange)
{
    struct sim_choice *found = NULL;
    for (uint32_t i = 0; i < exchange->choice_count; i++) {
        struct sim_choice *choice = &exchange->choices[i];
        if (choice->sent < choice->request.output &&
            (found == NULL || choice->sent < found->sent)) {
            found = choice;
        }
    }
    return found;
}

static bool is_through(const struct sim_choice *choice)
{
    return choice->request.state == SIM_REQUEST_FINISHED && choice->sent == choice->request.output;
}

static void add_token(struct sim_choice *choice, struct strbuf *out)
{
    struct sim_exchange *exchange = choice->exchange;
    const struct sim_texts *texts = sim_exchange_texts(exchange);
    add_role(choice, out);
    exchange->sent++;
    struct slice word = sim_word(choice->seed, choice->sent++);
    struct sim_fill fill = sim_choice_fill(choice);
    fill.text = word;
    bool last = is_through(choice) && texts->last_token != NULL;
    fill.finish = last ? sim_choice_finish(choice) : NULL;
    const char *text = last ? texts->last_token : texts->token;
    if (last && !exchange->include_usage && texts->last_plain != NULL) {
        text = texts->last_plain;
    }
    add_event(exchange, out, text, &fill);
}

static void add_finish(struct sim_choice *choice, struct strbuf *out)
{
    struct sim_exchange *exchange = choice->exchange;
    const struct sim_texts *texts = sim_exchange_texts(exchange);
    const char *text = exchange->include_usage && texts->finish_usage != NULL ? texts->finish_usage
                                                                              : texts->finish;
    choice->has_finish = true;
    if (text != NULL) {
        struct sim_fill fill = sim_choice_fill(choice);
        fill.finish = sim_choice_finish(choice);
        add_event(exchange, out, text, &fill);
    }
}

static bool step_token(struct sim_exchange *exchange, struct strbuf *out)
{
    const struct sim_fault *fault = &exchange->fault;
    if (strikes(exchange, out)) {
        return false;
    }
    if (fault->action == SIM_FAULT_ERROR_EVENT && exchange->sent >= fault->error_after) {
        return step_error_event(exchange, out, exchange->pod->server->dialect->error_event,
                                fault->status);
    }
    struct sim_choice *choice = next_choice(exchange);
    if (choice == NULL) {
        exchange->stage = exchange->finished ? SIM_STAGE_FINISH : exchange->stage;
        return exchange->finished;
    }
    if (exchange->events != NULL) {
        exchange->sent++;
        sim_named_token(exchange, out, sim_word(choice->seed, choice->sent++));
        return true;
    }
    add_token(choice, out);
    if (is_through(choice) && !exchange->pod->server->dialect->finish_together) {
        add_finish(choice, out);
    }
    return true;
}

static bool step_finish(struct sim_exchange *exchange, struct strbuf *out)
{
    if (exchange->events != NULL) {
        sim_named_end(exchange, out);
        exchange->stage = SIM_STAGE_END; // no usage of its own, no [DONE]
        return true;
    }
    // Those that are due together, and those of choices without any token.
    for (uint32_t i = 0; i < exchange->choice_count; i++) {
        if (!exchange->choices[i].has_finish) {
            add_finish(&exchange->choices[i], out);
        }
    }
    exchange->stage = SIM_STAGE_USAGE;
    return true;
}

static bool step_usage(struct sim_exchange *exchange, struct strbuf *out)
{
    const char *text = sim_exchange_texts(exchange)->usage;
    if (exchange->include_usage && text != NULL) {
        struct sim_fill fill = sim_choice_fill(&exchange->choices[0]);
        fill.output_tokens = exchange->sent; // of all
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

void sim_stream_pump(struct sim_exchange *exchange)
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
            sim_exchange_complete(exchange, sim_exchange_stays(exchange) && !dialect->close_after_stream);
            return;
        }
    }
}
