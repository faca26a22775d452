// --instant: answers of a fixed size at once, and streams of fixed events at a fixed rate. For
// measuring what stands between, so it costs as little as it can: everything is made beforehand, and
// one timer drives all streams, spread over the phases of a period.
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "json/scan.h"
#include "sim/exchange.h"

enum { PHASES_MAX = 32 };

struct sim_pacer {
    struct list_node phases[PHASES_MAX];
    uint32_t phase_count;
    uint32_t next_phase;   // for the next stream
    uint64_t tick;         // phases served so far
    double tick_ns;
    uint64_t started_ns;
    size_t streams;
    struct timer timer;
};

// {"pad":"xxxx"} of exactly the wanted size where that is possible, else x's.
static void make_body(struct strbuf *out, uint32_t size)
{
    static const char before[] = "{\"pad\":\"";
    static const char after[] = "\"}";
    bool json = size >= sizeof(before) - 1 + sizeof(after) - 1;
    uint32_t fill = json ? size - (uint32_t)(sizeof(before) - 1 + sizeof(after) - 1) : size;
    strbuf_add_str(out, json ? before : "");
    for (uint32_t i = 0; i < fill; i++) {
        strbuf_add_char(out, 'x');
    }
    strbuf_add_str(out, json ? after : "");
}

// One chat completion chunk as a whole HTTP chunk; the event has the wanted size, or what it needs.
static void make_event(struct strbuf *out, const char *model, uint32_t size)
{
    struct strbuf event;
    strbuf_init(&event, 1 << 24);
    strbuf_printf(&event,
                  "data: {\"id\":\"chatcmpl-0\",\"object\":\"chat.completion.chunk\",\"created\":0,"
                  "\"model\":\"%s\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" w",
                  model);
    static const char tail[] = "\"},\"finish_reason\":null}]}\n\n";
    while (!event.failed && event.len + sizeof(tail) - 1 < size) {
        strbuf_add_char(&event, 'x');
    }
    strbuf_add_str(&event, tail);
    char head[H1_CHUNK_HEAD_MAX];
    strbuf_add(out, slice_of(head, h1_chunk_head(head, event.len)));
    strbuf_add(out, strbuf_slice(&event));
    strbuf_add_str(out, "\r\n");
    strbuf_fini(&event);
}

int sim_pace_init(struct sim_server *server)
{
    const struct sim_options *options = server->options;
    struct sim_pacer *pacer = calloc(1, sizeof(*pacer));
    if (pacer == NULL) {
        return -ENOMEM;
    }
    make_body(&server->instant_body, options->reply_bytes);
    make_event(&server->instant_event, options->models.items[0], options->sse_bytes);
    double period_ms = 1000 / options->sse_rate;
    pacer->phase_count = period_ms < 1            ? 1
                         : period_ms > (double)PHASES_MAX ? PHASES_MAX
                                                  : (uint32_t)period_ms;
    pacer->tick_ns = period_ms * 1e6 / pacer->phase_count;
    for (size_t i = 0; i < PHASES_MAX; i++) {
        list_init(&pacer->phases[i]);
    }
    server->pacer = pacer;
    return server->instant_body.failed || server->instant_event.failed ? -ENOMEM : 0;
}

void sim_pace_fini(struct sim_server *server)
{
    if (server->pacer != NULL) {
        loop_timer_cancel(server->loop, &server->pacer->timer);
    }
    free(server->pacer);
    server->pacer = NULL;
}

static void end_stream(struct sim_exchange *exchange)
{
    struct sim_conn *conn = exchange->conn;
    bool keep_alive = exchange->keep_alive;
    sim_conn_send(conn, SLICE("e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"));
    if (!exchange->freed) {
        sim_exchange_end(exchange);
        sim_conn_done(conn, keep_alive);
    }
}

static void serve_phase(struct sim_server *server, struct list_node *phase)
{
    struct slice event = strbuf_slice(&server->instant_event);
    list_for_each(phase, at) {
        struct sim_exchange *exchange = container_of(at, struct sim_exchange, pace_node);
        if (sim_conn_is_congested(exchange->conn) || exchange->pod->hang) {
            continue; // nothing is lost, it is only later
        }
        sim_conn_send(exchange->conn, event);
        if (!exchange->freed && --exchange->paced_left == 0) {
            end_stream(exchange);
        }
    }
}

static void on_tick(struct timer *timer, void *arg)
{
    (void)timer;
    struct sim_server *server = arg;
    struct sim_pacer *pacer = server->pacer;
    uint64_t due = (uint64_t)((double)(clock_mono_ns() - pacer->started_ns) / pacer->tick_ns);
    // After a long pause the schedule starts anew rather than in a flood.
    if (due > pacer->tick + 4 * PHASES_MAX) {
        pacer->tick = due - 1;
    }
    while (pacer->tick < due) {
        pacer->tick++;
        serve_phase(server, &pacer->phases[pacer->tick % pacer->phase_count]);
    }
    if (pacer->streams > 0) {
        uint64_t next_ns = pacer->started_ns + (uint64_t)((double)(due + 1) * pacer->tick_ns);
        uint64_t next_ms = next_ns / 1000000u + 1;
        uint64_t now_ms = loop_now_ms(server->loop);
        loop_timer_set(server->loop, &pacer->timer, next_ms > now_ms ? next_ms - now_ms : 1,
                       on_tick, server);
    }
}

static void begin_stream(struct sim_exchange *exchange)
{
    struct sim_server *server = exchange->pod->server;
    struct sim_pacer *pacer = server->pacer;
    struct strbuf *out = &server->out;
    strbuf_reset(out);
    sim_exchange_head(exchange, out, 200, "text/event-stream; charset=utf-8", -1,
                      exchange->keep_alive);
    exchange->paced_left = server->options->sse_events;
    pacer->next_phase = (pacer->next_phase + 1) % pacer->phase_count;
    list_push_back(&pacer->phases[pacer->next_phase], &exchange->pace_node);
    exchange->stream = true;
    if (pacer->streams++ == 0) {
        pacer->started_ns = clock_mono_ns();
        pacer->tick = 0;
        loop_timer_set(server->loop, &pacer->timer, 1, on_tick, server);
    }
    sim_conn_send(exchange->conn, strbuf_slice(out));
}

void sim_pace_drop(struct sim_exchange *exchange)
{
    if (!list_empty(&exchange->pace_node)) {
        list_remove(&exchange->pace_node);
        exchange->pod->server->pacer->streams--;
    }
}

static bool wants_stream(const struct sim_exchange *exchange)
{
    static const struct slice keys[] = {SLICE("stream")};
    struct json_scan scan;
    json_scan_init(&scan, keys, 1);
    return json_scan_feed(&scan, strbuf_slice(&exchange->body)) == JSON_OK &&
           json_scan_finish(&scan) == JSON_OK && scan.captures[0].type == JSON_TRUE;
}

void sim_pace_reply(struct sim_exchange *exchange)
{
    struct sim_server *server = exchange->pod->server;
    if (server->options->sse_events > 0 && wants_stream(exchange)) {
        begin_stream(exchange);
        return;
    }
    sim_exchange_reply(exchange, 200, "application/json", strbuf_slice(&server->instant_body));
}
