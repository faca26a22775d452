#include "proxy/account.h"

#include "base/clock.h"
#include "observe/access_log.h"
#include "observe/decision.h"
#include "observe/metrics.h"
#include "proxy/attempt.h"
#include "proxy/client_tls.h"
#include "proxy/mirror.h"
#include "proxy/warn.h"
#include "proxy/worker.h"

_Static_assert((int)FAULT_COUNT <= (int)METRIC_FAULTS_MAX, "each fault has a cell");

// The cells of the request's route and backend. NULL: no route takes it, or out of memory.
static struct traffic *traffic_cells(struct request *request)
{
    const struct snap_target *target = request->target;
    if (request->rule == NULL || request->role == REQUEST_MIRROR) {
        return NULL;
    }
    bool has_backend = target != NULL && target->backend != NULL;
    return traffic_of(&request->worker->metrics->traffic, request->rule->route_key,
                      has_backend ? target->backend->key : SLICE_NULL);
}

static struct slice retry_reason(const struct request *request, uint32_t why)
{
    switch (why) {
    case SNAP_RETRY_CONNECT_FAILURE:
        return SLICE("connect_failure");
    case SNAP_RETRY_RESET:
        return SLICE("reset");
    case SNAP_RETRY_OVERLOADED:
        return SLICE("overloaded");
    case SNAP_RETRY_SERVER_ERROR:
        return SLICE("server_error");
    case SNAP_RETRY_TIMEOUT:
        return SLICE("timeout");
    case ATTEMPT_HEDGE:
        return SLICE("hedge_delay");
    default:
        return request->attempts != 0 ? SLICE("no_endpoint") : SLICE("");
    }
}

struct pick_trace *account_pick_begin(struct request *request)
{
    return &decision_begin(request->worker->decisions)->trace;
}

void account_pick(struct request *request, struct pick_trace *trace,
                  const struct snap_target *target, uint32_t why, bool picked)
{
    const struct snap_rule *rule = request->rule;
    struct decision *decision = container_of(trace, struct decision, trace);
    decision->wall_ns = clock_wall_ns();
    decision->attempt = request->attempts + 1;
    decision->fallback =
        target >= rule->fallbacks && target < rule->fallbacks + rule->fallback_count;
    decision->prompt_tokens =
        backend_state_estimate_tokens(target->backend->state, request->prompt_bytes);
    decision->failed = !picked;
    trace->policy = target->backend->policy;
    decision_set(decision, DECISION_REQUEST_ID, request->id);
    decision_set(decision, DECISION_ROUTE, rule->route_key);
    decision_set(decision, DECISION_RULE, rule->name);
    decision_set(decision, DECISION_BACKEND, target->backend->key);
    decision_set(decision, DECISION_AFTER, retry_reason(request, why));
    if (request->model.ptr != NULL) {
        decision_set(decision, DECISION_MODEL, request->model);
        decision_set(decision, DECISION_UPSTREAM_MODEL,
                     snapshot_upstream_model(target, request->model));
    }
    decision_commit(request->worker->decisions);
    if (picked) {
        metrics_add(request->worker->metrics, METRIC_PICKS, 1);
    }
}

void account_retry(struct request *request, uint32_t why)
{
    static const struct {
        uint32_t why;
        enum metric metric;
    } rows[] = {
        {SNAP_RETRY_CONNECT_FAILURE, METRIC_RETRIES_CONNECT},
        {SNAP_RETRY_RESET, METRIC_RETRIES_RESET},
        {SNAP_RETRY_OVERLOADED, METRIC_RETRIES_OVERLOADED},
        {SNAP_RETRY_SERVER_ERROR, METRIC_RETRIES_SERVER_ERROR},
        {SNAP_RETRY_TIMEOUT, METRIC_RETRIES_TIMEOUT},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (rows[i].why == why) {
            metrics_add(request->worker->metrics, rows[i].metric, 1);
        }
    }
    struct traffic *cells = traffic_cells(request);
    if (cells != NULL) {
        traffic_add(cells, TRAFFIC_RETRIES, 1);
    }
}

void account_hedge(struct request *request)
{
    struct traffic *cells = traffic_cells(request);
    if (cells != NULL) {
        traffic_add(cells, TRAFFIC_HEDGES, 1);
    }
}

static bool hedge_won(const struct request *request)
{
    return request->hedged == HEDGED_LEADS && request->first_token_ns != 0;
}

// A quick refusal is no quick token.
static uint64_t ttft_ns(const struct request *request)
{
    bool token = request->first_token_ns != 0 && request->status < 300;
    return token ? request->first_token_ns - request->started_ns : 0;
}

void account_first_token(struct request *request)
{
    struct traffic *cells = traffic_cells(request);
    if (cells != NULL && ttft_ns(request) != 0 && request->target->backend != NULL) {
        uint64_t ttft_ms = (request->first_token_ns - request->sent_ns) / 1000000;
        traffic_record(cells, TRAFFIC_LATENCY_TTFT, ttft_ns(request));
        backend_state_learn_ttft(request->target->backend->state, ttft_ms);
        if (request->sse) { // of another answer this is the time for all of it
            health_report_ttft(request->reservation.endpoint, ttft_ms);
        }
    }
}

void account_event(struct request *request)
{
    uint64_t now = clock_mono_ns();
    struct traffic *cells = traffic_cells(request);
    if (cells != NULL) {
        traffic_record(cells, TRAFFIC_LATENCY_INTER_TOKEN, now - request->last_event_ns);
    }
    request->last_event_ns = now;
}

static void count_usage(struct request *request, struct traffic *cells)
{
    const struct answer_usage *usage = &request->answer.usage;
    const struct snap_target *target = request->target;
    if (!usage->found) {
        return;
    }
    traffic_add(cells, TRAFFIC_PROMPT_TOKENS, usage->prompt_tokens);
    traffic_add(cells, TRAFFIC_COMPLETION_TOKENS, usage->completion_tokens);
    traffic_add(cells, TRAFFIC_CACHED_TOKENS, usage->cached_tokens);
    if (target != NULL && target->backend != NULL) {
        backend_state_learn_tokens(target->backend->state, request->prompt_bytes,
                                   usage->prompt_tokens);
    }
}

static void count(struct request *request, uint64_t duration_ns)
{
    struct metrics_worker *worker = request->worker->metrics;
    unsigned class = request->answered || request->committed ? request->status / 100 : 0;
    class = class < METRIC_STATUS_CLASSES ? class : 0;
    metrics_cell_add(&worker->requests[class], 1);
    metrics_cell_add(&worker->faults[request->fault], 1);
    if (request->fault == FAULT_CLIENT_ABORT) {
        metrics_add(worker, METRIC_CLIENT_ABORTS, 1);
    }
    struct traffic *cells = traffic_cells(request);
    if (cells == NULL) {
        return;
    }
    metrics_cell_add(&cells->requests[class], 1);
    metrics_cell_add(&cells->outcomes[request->fault], 1);
    traffic_record(cells, TRAFFIC_LATENCY_DURATION, duration_ns);
    traffic_add(cells, TRAFFIC_BYTES_IN, request->client->bytes_in);
    traffic_add(cells, TRAFFIC_BYTES_OUT, request->client->bytes_out);
    traffic_add(cells, TRAFFIC_FALLBACKS, request->on_fallback ? 1 : 0);
    traffic_add(cells, TRAFFIC_HEDGES_WON, hedge_won(request) ? 1 : 0);
    count_usage(request, cells);
}

static void write_log(struct request *request, uint64_t duration_ns)
{
    const struct answer_usage *usage = &request->answer.usage;
    const struct snap_backend *backend = request->target != NULL ? request->target->backend : NULL;
    struct access_record record = {
        .wall_ns = clock_wall_ns() - duration_ns,
        .request_id = request->id,
        .client = request->client_address,
        .protocol = request->client->version == STREAM_HTTP2 ? SLICE("HTTP/2") : SLICE("HTTP/1.1"),
        .tls = request->client->tls != NULL ? &request->client->tls->log : NULL,
        .method = request->method_log,
        .path = request->path_log,
        .host = request->host_log,
        .user_agent = request->user_agent_log,
        .status = request->answered || request->committed ? request->status : 0,
        .model = request->model,
        .upstream_model = request->upstream_model,
        .route = request->rule != NULL ? request->rule->route_key : SLICE_NULL,
        .rule = request->rule != NULL ? request->rule->name : SLICE_NULL,
        .backend = backend != NULL ? backend->key : SLICE_NULL,
        .endpoint = request->endpoint_text,
        .attempts = request->attempts,
        .fallback = request->on_fallback,
        .hedged = request->hedged == HEDGED_NOT ? SLICE_NULL
                  : hedge_won(request)          ? SLICE("won")
                                                : SLICE("lost"),
        .stream = request->sse,
        .ttft_ns = ttft_ns(request),
        .duration_ns = duration_ns,
        .bytes_in = request->client->bytes_in,
        .bytes_out = request->client->bytes_out,
        .has_usage = usage->found,
        .prompt_tokens = usage->prompt_tokens,
        .completion_tokens = usage->completion_tokens,
        .cached_tokens = usage->cached_tokens,
        .outcome = fault_label(request->fault),
        .finish = answer_reason(&request->answer),
        .reject = request->reject != HTTP_REJECT_NONE
                      ? slice_of_str(http_reject_label(request->reject))
                      : SLICE_NULL,
    };
    access_log_write(request->worker->access_log, &record);
}

void account_request(struct request *request)
{
    if (UNLIKELY(request->role != REQUEST_OF_CLIENT)) {
        if (request->role == REQUEST_MIRROR) {
            mirror_settle(request);
        }
        return;
    }
    uint64_t duration_ns = clock_mono_ns() - request->started_ns;
    count(request, duration_ns);
    if (UNLIKELY(request->fault != FAULT_NONE)) {
        warn_request(request);
    }
    if (request->worker->access_log != NULL) {
        write_log(request, duration_ns);
    }
}
