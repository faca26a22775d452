#include "proxy/attempt.h"

#include <errno.h>
#include <string.h>

#include "http/grpc.h"
#include "observe/metrics.h"
#include "proxy/account.h"
#include "proxy/body.h"
#include "proxy/filters.h"
#include "proxy/hedge.h"
#include "proxy/model_place.h"
#include "proxy/origin.h"
#include "proxy/peek.h"
#include "proxy/relay.h"
#include "proxy/reply.h"
#include "proxy/tunnel.h"
#include "proxy/upstream.h"
#include "proxy/worker.h"

enum { UPSTREAM_HEAD_MAX = 256 * 1024 };

// ---- the request as it goes upstream ----------------------------------------------------------

// What we write ourselves, or what must not pass.
static bool is_regenerated(const struct request *request, const struct http_header *header)
{
    switch ((enum http_token)header->token) {
    case HTTP_TOKEN_HOST:
    case HTTP_TOKEN_CONTENT_LENGTH:
    case HTTP_TOKEN_EXPECT:
    case HTTP_TOKEN_X_REQUEST_ID:
        return true;
    case HTTP_TOKEN_ACCEPT_ENCODING:
        // Answers of models are read on their way (first event, usage): they must be plain text.
        return (request->body_buffered && request->body_scanned) || request->form != NULL;
    default:
        return header->drop || http_token_is_hop_by_hop((enum http_token)header->token) ||
               origin_takes(request, header);
    }
}

// The client asked for them; gRPC's servers insist on being told.
static bool asks_for_trailers(const struct request *request)
{
    return request->wants_trailers &&
           http_header_find(request->head.headers, request->head.header_count,
                            HTTP_TOKEN_TE) != NULL;
}

// What belongs to the connection. (HTTP/2 leaves out what it does not have.)
static void write_connection(const struct request *request, struct strbuf *out)
{
    if (request->head.upgrade.ptr != NULL) {
        h1_write_header(out, SLICE("connection"), SLICE("upgrade"));
        h1_write_header(out, SLICE("upgrade"), request->head.upgrade);
        tunnel_write_key(request, out);
    } else if (asks_for_trailers(request)) {
        h1_write_header(out, SLICE("connection"), SLICE("te"));
        h1_write_header(out, SLICE("te"), SLICE("trailers"));
    }
}

static void write_framing(struct request *request, struct strbuf *out)
{
    if (request->up_chunked) {
        h1_write_header(out, SLICE("transfer-encoding"), SLICE("chunked"));
    } else if (request->body_buffered) {
        uint64_t length = body_upstream_length(request);
        if (length != 0 || request->head.framing != HTTP_FRAMING_NONE) {
            h1_write_header_u64(out, SLICE("content-length"), length);
        }
    } else if (request->head.framing == HTTP_FRAMING_LENGTH) {
        uint64_t length = request->head.content_length;
        if (peek_is_on(request) && request->model_sent.ptr != NULL) {
            length += request->model_sent.len - (request->model_end - request->model_start);
        }
        h1_write_header_u64(out, SLICE("content-length"), length);
    }
}

static bool render_head(struct request *request)
{
    const struct http_request *head = &request->head;
    const struct header_edit *edit = request->rule->request_edit;
    struct strbuf *out = &request->up_head;
    if (out->max == 0) {
        strbuf_init(out, UPSTREAM_HEAD_MAX);
    }
    strbuf_reset(out);
    if (!strbuf_reserve(out, 768 + head->path.len + head->query.len)) {
        return false;
    }
    strbuf_add(out, head->method_text);
    strbuf_add_char(out, ' ');
    model_place_write_target(request, out);
    strbuf_add(out, SLICE(" HTTP/1.1\r\n"));
    h1_write_header(out, SLICE("host"), head->authority.len != 0 ? head->authority
                                                                  : request->endpoint_text);
    for (size_t i = 0; i < head->header_count; i++) {
        const struct http_header *header = &head->headers[i];
        if (!is_regenerated(request, header) && !header_edit_drops(edit, header->name)) {
            h1_write_header(out, header->name, header->value);
        }
    }
    if (UNLIKELY(edit != NULL)) {
        filters_write_request(edit, out);
    }
    write_connection(request, out);
    h1_write_header(out, SLICE("x-request-id"), request->id);
    origin_write(request, out);
    if (request->body_buffered && !request->stream) {
        // A free scrape with the answer (ORCA): queue and cache of the pod that served it.
        h1_write_header(out, SLICE("endpoint-load-metrics-format"), SLICE("TEXT"));
    }
    write_framing(request, out);
    h1_write_end(out);
    return !out->failed;
}

int attempt_pieces(const struct request *request, uint64_t offset, struct iovec *iov, int max)
{
    int filled = 0;
    struct slice head = strbuf_slice(&request->up_head);
    if (offset < head.len) {
        struct slice rest = slice_skip(head, (size_t)offset);
        iov[filled++] =
            (struct iovec){.iov_base = (void *)(uintptr_t)rest.ptr, .iov_len = rest.len};
        offset = head.len;
    }
    return filled + body_pieces(request, offset - head.len, iov + filled, max - filled);
}

size_t attempt_head_left(const struct request *request)
{
    return request->up_sent < request->up_head.len
               ? (size_t)(request->up_head.len - request->up_sent)
               : 0;
}

static uint64_t attempt_length(const struct request *request)
{
    return request->up_head.len + body_upstream_length(request);
}

void attempt_sent(struct request *request, size_t sent)
{
    request->up_sent += sent;
    request->phase_ms = worker_now_ms(request->worker);
    metrics_add(request->worker->metrics, METRIC_UPSTREAM_BYTES_OUT, sent);
    if (request->up_sent == attempt_length(request)) {
        body_sent(request);
    }
}

bool attempt_all_sent(const struct request *request)
{
    return request->body_complete && request->up_sent == attempt_length(request);
}

// ---- choosing -----------------------------------------------------------------------------------

static bool pick(struct request *request, const struct snap_target *target, bool allow_tried,
                 uint32_t why, struct reservation *ret)
{
    struct worker *worker = request->worker;
    struct affinity affinity;
    struct pick_request query = {
        .policy = target->backend->policy,
        .prompt_bytes = request->prompt_bytes,
        .tried = request->tried,
        .tried_count = request->tried_count,
        .only_well = why == ATTEMPT_HEDGE,
        .now_ms = worker_now_ms(worker),
        .rng = &worker->rng,
        .affinity = filters_affinity(request, target, &affinity),
    };
    if (request->role == REQUEST_MIRROR) {
        return pick_endpoint(target->backend->state, &query, allow_tried, ret, NULL) == 0;
    }
    struct pick_trace *trace = account_pick_begin(request);
    bool picked = pick_endpoint(target->backend->state, &query, allow_tried, ret, trace) == 0;
    if (picked || why != ATTEMPT_HEDGE) { // which may as well not be
        account_pick(request, trace, target, why, picked);
    }
    return picked;
}

// Makes the target current, with its own word for the model when that differs from the client's.
// False: out of memory, and nothing was changed.
static bool set_target(struct request *request, const struct snap_target *target)
{
    struct slice name = SLICE_NULL;
    struct slice sent = SLICE_NULL;
    if (request->model.ptr != NULL) {
        name = snapshot_upstream_model(target, request->model);
    }
    if (slice_eq(name, request->model)) {
        name = SLICE_NULL;
    } else {
        sent = model_place_encode(request, name);
        if (sent.ptr == NULL) {
            return false;
        }
    }
    request->target = target;
    request->upstream_model = name;
    request->model_sent = sent;
    if (request->rpc != NULL && request->body_replayable) {
        peek_settle_message(request);
    }
    return true;
}

static void note_tried(struct request *request)
{
    if (request->reservation.endpoint != NULL && request->tried_count < REQUEST_TRIED_MAX) {
        request->tried[request->tried_count++] = request->reservation.endpoint->id;
    }
}

static void drop_current(struct request *request)
{
    request_drop_upstream(request);
    reservation_release(&request->reservation);
    strbuf_reset(&request->held);
    request->held_head = 0;
    request->events = (struct sse_scan){0};
    request->answer = (struct answer_scan){.number = 0};
    request->sse = false;
    request->tells_usage = false;
    request->grpc_due = false;
    request->grpc_blames = 0;
    request->trailers = NULL;
    request->trailer_count = 0;
    request->status = 0;
    if (request->hedged == HEDGED_LEADS) {
        request->hedged = HEDGED_SENT; // what comes now is neither of the two
    }
}

static bool was_left(const struct request *request)
{
    const struct endpoint *last = request->reservation.endpoint;
    return last != NULL && health_is_leaving(last, worker_now_ms(request->worker));
}

// Another endpoint of the target, as far as its retry budget goes. What no server has seen adds
// nothing to their load, and a server that shuts down says nothing of its siblings: always fine.
static bool pick_retry(struct request *request, const struct snap_target *target, uint32_t why,
                       struct reservation *ret)
{
    struct backend_state *state = target->backend->state;
    bool counts = why != SNAP_RETRY_CONNECT_FAILURE && !was_left(request);
    if (counts && !retry_budget_take(state, &request->rule->retry_budget)) {
        metrics_add(request->worker->metrics, METRIC_RETRIES_REFUSED, 1);
        return false;
    }
    if (!pick(request, target, false, why, ret)) {
        if (counts) {
            retry_budget_give(state);
        }
        return false;
    }
    ret->retry_of = counts ? state : NULL;
    account_retry(request, why);
    return true;
}

bool attempt_reserve_hedge(struct request *request, struct reservation *ret)
{
    struct backend_state *state = request->target->backend->state;
    note_tried(request);
    if (!retry_budget_take(state, &request->rule->retry_budget)) {
        metrics_add(request->worker->metrics, METRIC_RETRIES_REFUSED, 1);
        return false;
    }
    if (!pick(request, request->target, false, ATTEMPT_HEDGE, ret)) {
        retry_budget_give(state);
        return false;
    }
    ret->retry_of = state;
    request->tried[request->tried_count++] = ret->endpoint->id;
    return true;
}

// Finds the next thing to try after a failure of kind `why` and makes it current. False: nothing.
static bool advance(struct request *request, uint32_t why)
{
    if (!request->body_replayable || request->committed) {
        return false;
    }
    struct reservation fresh = {0};
    const struct snap_target *target = request->target;
    note_tried(request);
    bool found = false;
    if ((request->rule->retry_on & why) != 0 && request->retries_left > 0 && target != NULL &&
        target->backend != NULL) {
        request->retries_left--;
        found = pick_retry(request, target, why, &fresh);
    }
    while (!found && request->fallback_at < request->rule->fallback_count) {
        target = &request->rule->fallbacks[request->fallback_at++];
        found = target->backend != NULL && pick(request, target, true, why, &fresh);
        if (found) {
            request->on_fallback = true;
            metrics_add(request->worker->metrics, METRIC_FALLBACKS, 1);
        }
    }
    if (!found) {
        return false;
    }
    // All that can fail comes before the change: the answer at hand may still be needed.
    if (!set_target(request, target)) {
        reservation_release(&fresh);
        return false;
    }
    drop_current(request);
    request->reservation = fresh;
    return true;
}

// ---- connecting ---------------------------------------------------------------------------------

void attempt_report(struct request *request, enum health_report report)
{
    health_report(request->target->backend->state, request->reservation.endpoint, report,
                  worker_now_ms(request->worker));
}

// The server is as well as ever: it only cannot have this request.
static bool is_no_fault(int error)
{
    return error == EPROTONOSUPPORT || error == EBADMSG;
}

void attempt_report_connect(struct request *request, int error)
{
    if (is_no_fault(error)) {
        return;
    }
    attempt_report(request, error == ECONNREFUSED ? HEALTH_REPORT_REFUSED
                                                  : HEALTH_REPORT_UNREACHED);
}

enum fault attempt_connect_fault(int error)
{
    switch (error) {
    case EACCES:
        return FAULT_ENDPOINT_FORBIDDEN;
    case EPROTO:
        return FAULT_UPSTREAM_TLS;
    case EPROTONOSUPPORT:
        return FAULT_UPGRADE_DECLINED;
    case EBADMSG:
        return FAULT_WEBSOCKET_KEY;
    default:
        return FAULT_CONNECT_FAILED;
    }
}

bool attempt_is_our_failure(int error)
{
    return error == ENOMEM || error == ENOBUFS || error == EMFILE || error == ENFILE;
}

// The reserved endpoint gets the request. 0, or an errno.
static int connect_reserved(struct request *request, bool fresh_connection)
{
    struct worker *worker = request->worker;
    struct endpoint *endpoint = request->reservation.endpoint;
    request->attempts++;
    request->up_sent = 0;
    int unfit = tunnel_prepare(request);
    if (unfit != 0) {
        return unfit;
    }
    request->endpoint_text = arena_dup(&request->arena, slice_of_str(endpoint->text));
    if (!render_head(request)) {
        return ENOMEM;
    }
    struct exchange *up = fresh_connection ? NULL : upstream_reuse(worker, endpoint, request);
    if (up != NULL) {
        request->up = up;
        relay_on_connected(request);
        up->ops->send(up);
        return 0;
    }
    int error = 0;
    request->up = upstream_open(worker, endpoint, request, &error);
    if (request->up == NULL) {
        return error;
    }
    relay_set_phase(request, REQUEST_CONNECT, request->target->backend->connect_timeout_ms);
    return 0;
}

static void connect_or_advance(struct request *request)
{
    for (;;) {
        if (hedge_is_on(request)) {
            hedge_schedule(request);
        }
        int error = connect_reserved(request, false);
        if (error == 0) {
            return;
        }
        if (attempt_is_our_failure(error)) {
            reply_fault(request, FAULT_INTERNAL, SLICE(""));
            return;
        }
        attempt_report_connect(request, error);
        // Of a hedge nothing comes after.
        if (request->rival != NULL || !advance(request, SNAP_RETRY_CONNECT_FAILURE)) {
            reply_fault(request, attempt_connect_fault(error), SLICE(""));
            return;
        }
    }
}

// A gRPC client says how long it waits (the server is told, too): an answer after that is for
// nobody.
static void note_client_deadline(struct request *request)
{
    const struct http_header *timeout = http_header_find_name(
        request->head.headers, request->head.header_count, SLICE("grpc-timeout"));
    uint64_t ms;
    if (!request->grpc || timeout == NULL || grpc_timeout_ms(timeout->value, &ms) != 0) {
        return;
    }
    uint64_t at = worker_now_ms(request->worker) + ms;
    request->deadline_ms = request->deadline_ms != 0 ? MIN_OF(request->deadline_ms, at) : at;
}

static void start_on(struct request *request, const struct snap_target *target)
{
    if (target != NULL && target->backend != NULL &&
        pick(request, target, true, 0, &request->reservation)) {
        if (!set_target(request, target)) {
            reply_fault(request, FAULT_INTERNAL, SLICE(""));
            return;
        }
        connect_or_advance(request);
        return;
    }
    request->target = target;
    if (advance(request, 0)) {
        connect_or_advance(request);
        return;
    }
    bool unresolved = target == NULL || target->backend == NULL;
    reply_fault(request, unresolved ? FAULT_BACKEND_UNRESOLVED : FAULT_NO_ENDPOINT, SLICE(""));
}

void attempt_first(struct request *request)
{
    const struct snap_rule *rule = request->rule;
    request->retries_left = rule->retry_attempts;
    if (rule->request_timeout_ms != 0) {
        request->deadline_ms = worker_now_ms(request->worker) + rule->request_timeout_ms;
    }
    if (rule->first_token_timeout_ms != 0) {
        request->token_deadline_ms = worker_now_ms(request->worker) + rule->first_token_timeout_ms;
    }
    note_client_deadline(request);
    start_on(request, filters_draw_target(request));
}

void attempt_copy(struct request *request, const struct snap_target *target)
{
    request->fallback_at = request->rule->fallback_count;
    start_on(request, target);
}

void attempt_hedge(struct request *hedge, const struct snap_target *target)
{
    if (!set_target(hedge, target)) {
        reply_fault(hedge, FAULT_INTERNAL, SLICE(""));
        return;
    }
    connect_or_advance(hedge);
}

bool attempt_again(struct request *request, uint32_t why)
{
    if (UNLIKELY(request->rival != NULL)) {
        return hedge_yields(request, why);
    }
    if (!advance(request, why)) {
        return false;
    }
    connect_or_advance(request);
    return true;
}

void attempt_failed(struct request *request, uint32_t why, enum fault fault)
{
    if (UNLIKELY(request->rival != NULL)) {
        hedge_give_way(request);
    } else if (!attempt_again(request, why)) {
        reply_fault(request, fault, SLICE(""));
    }
}

bool attempt_stale_connection(struct request *request)
{
    if (request->retried_stale || !request->body_replayable || request->committed) {
        return false;
    }
    request->retried_stale = true;
    int error = connect_reserved(request, true);
    if (error == 0) {
        return true;
    }
    relay_on_connect_failed(request, error);
    return true;
}

void attempt_move(struct request *request)
{
    request->attempts--;
    int error = connect_reserved(request, false);
    if (error != 0) {
        relay_on_connect_failed(request, error);
    }
}
