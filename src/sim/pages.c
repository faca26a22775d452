#include "sim/pages.h"

#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "sim/family.h"

enum { HEALTH_LATE_MS = 20000 }; // SGLang, as seen

static void write_models(struct sim_exchange *exchange, const char *text, struct strbuf *out)
{
    const struct sim_options *options = exchange->pod->server->options;
    const struct sim_list *lists[] = {&options->models, &options->adapters};
    struct sim_fill fill = sim_exchange_fill(exchange);
    fill.created = clock_wall_ns() / 1000000000u;
    for (size_t l = 0, n = 0; l < ARRAY_LEN(lists); l++) {
        for (size_t i = 0; i < lists[l]->len; i++, n++) {
            fill.model = slice_of_str(lists[l]->items[i]);
            strbuf_add_str(out, n > 0 ? "," : "");
            sim_fill_text(out, text, &fill);
        }
    }
}

static void answer_models(struct sim_exchange *exchange)
{
    const struct sim_dialect *dialect = exchange->pod->server->dialect;
    struct strbuf body;
    strbuf_init(&body, 1 << 20);
    if (dialect->models_names != NULL) {
        strbuf_add_str(&body, "{\"models\":[");
        write_models(exchange, dialect->models_names, &body);
    }
    strbuf_add_str(&body, dialect->models_head);
    write_models(exchange, dialect->models_entry, &body);
    strbuf_add_str(&body, "]}");
    sim_exchange_reply(exchange, 200, sim_exchange_json_type(exchange), strbuf_slice(&body));
    strbuf_fini(&body);
}

static void reply_health(struct sim_exchange *exchange, bool failing)
{
    struct sim_pod *pod = exchange->pod;
    const struct sim_dialect *dialect = pod->server->dialect;
    unsigned status = pod->health_status != 0 ? pod->health_status : failing ? 503 : 200;
    struct slice body = status == 200 ? slice_of_str(dialect->health) : SLICE("");
    bool is_json = body.len > 0 && body.ptr[0] == '{';
    const char *type = body.len > 0 ? "text/plain" : NULL;
    type = is_json ? sim_exchange_json_type(exchange) : type;
    sim_exchange_reply(exchange, status, type, body);
}

static void on_health_late(struct timer *timer, void *arg)
{
    (void)timer;
    struct sim_exchange *exchange = arg;
    reply_health(exchange, exchange->pod->engine.frozen);
}

static void answer_health(struct sim_exchange *exchange)
{
    struct sim_pod *pod = exchange->pod;
    const struct sim_dialect *dialect = pod->server->dialect;
    if (dialect->health_generates && pod->engine.frozen && pod->health_status == 0) {
        double ms = HEALTH_LATE_MS * pod->engine.config.time_scale;
        loop_timer_set(pod->server->loop, &exchange->timer, ms < 1 ? 1 : (uint64_t)ms,
                       on_health_late, exchange);
        return;
    }
    reply_health(exchange, pod->server->terminating && dialect->term == SIM_TERM_SERVE);
}

// Adapters of requests in a list, comma between.
static void list_adapters(const struct sim_pod *pod, bool running, struct strbuf *out)
{
    const struct sim_list *adapters = &pod->server->options->adapters;
    for (size_t i = 0; i < adapters->len; i++) {
        struct slice name = slice_of_str(adapters->items[i]);
        const struct list_node *head = running ? &pod->engine.running : &pod->engine.waiting;
        for (const struct list_node *at = head->next; at != head; at = at->next) {
            const struct sim_request *request = container_of(at, struct sim_request, node);
            const struct sim_choice *choice = container_of(request, struct sim_choice, request);
            if (slice_eq(choice->exchange->adapter, name)) {
                strbuf_add_str(out, out->len > 0 ? "," : "");
                strbuf_add(out, name);
                break;
            }
        }
    }
}

static void answer_metrics(struct sim_exchange *exchange)
{
    struct sim_pod *pod = exchange->pod;
    struct sim_server *server = pod->server;
    struct rusage usage = {0};
    getrusage(RUSAGE_SELF, &usage);
    struct strbuf running;
    struct strbuf waiting;
    struct strbuf body;
    strbuf_init(&running, 8192);
    strbuf_init(&waiting, 8192);
    strbuf_init(&body, 4 << 20);
    list_adapters(pod, true, &running);
    list_adapters(pod, false, &waiting);
    struct sim_figures figures = {
        .engine = &pod->engine,
        .dialect = server->dialect,
        .model = slice_of_str(server->options->models.items[0]),
        .running = sim_pod_running(pod),
        .waiting = sim_pod_waiting(pod),
        .kv_usage = sim_pod_kv_usage(pod),
        .last_kv_usage = MIN_OF(1.0, pod->last_kv_usage + pod->fake.kv_usage),
        .running_adapters = strbuf_slice(&running),
        .waiting_adapters = strbuf_slice(&waiting),
        .has_adapters = server->options->adapters.len > 0,
        .query = exchange->query,
        .cpu_seconds = (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec * 1e-6,
        .resident_bytes = (double)usage.ru_maxrss * 1024,
        .open_fds = (double)pod->conn_count + 16,
        .uptime_seconds =
            (double)(clock_wall_ns() - pod->engine.stats.started_wall_ns) * 1e-9,
    };
    sim_family_write(&body, &figures);
    sim_exchange_reply(exchange, 200, server->dialect->metrics_type, strbuf_slice(&body));
    strbuf_fini(&running);
    strbuf_fini(&waiting);
    strbuf_fini(&body);
}

// The pod's own fault for scrapes, once: the exchange comes back here without it.
static void begin_metrics(struct sim_exchange *exchange)
{
    const struct sim_fault *fault = &exchange->pod->metrics_fault;
    bool is_own = exchange->fault.action != SIM_FAULT_NONE || exchange->fault.delay_ms > 0;
    if (!is_own && (fault->action != SIM_FAULT_NONE || fault->delay_ms > 0)) {
        exchange->fault = *fault;
        sim_exchange_begin(exchange);
        return;
    }
    answer_metrics(exchange);
}

static bool is_health_path(const struct sim_dialect *dialect, struct slice path)
{
    struct slice rest = slice_of_str(dialect->health_paths);
    struct slice part;
    if (slice_eq(path, SLICE("/health"))) {
        return true;
    }
    while (slice_split(&rest, ' ', &part)) {
        if (part.len > 0 && slice_eq(part, path)) {
            return true;
        }
    }
    return false;
}

static void answer_plain_metrics(struct sim_exchange *exchange)
{
    sim_exchange_reply(exchange, 200, "application/json",
                       slice_of_str(exchange->pod->server->dialect->plain_metrics));
}

static void answer_version(struct sim_exchange *exchange)
{
    sim_exchange_reply(exchange, 200, "application/json",
                       slice_of_str(exchange->pod->server->dialect->version));
}

sim_page_fn *sim_page_find(const struct sim_exchange *exchange)
{
    const struct sim_dialect *dialect = exchange->pod->server->dialect;
    struct slice path = exchange->path;
    if (slice_eq(path, SLICE("/v1/models"))) {
        return answer_models;
    }
    if (dialect->metrics_path != NULL && slice_eq_str(path, dialect->metrics_path)) {
        return begin_metrics;
    }
    if (dialect->metrics_path != NULL && slice_eq(path, SLICE("/metrics"))) {
        return dialect->plain_metrics != NULL ? answer_plain_metrics : begin_metrics;
    }
    if (dialect->version != NULL && slice_eq(path, SLICE("/version"))) {
        return answer_version;
    }
    return is_health_path(dialect, path) ? answer_health : NULL;
}
