#include "proxy/relay.h"

#include <errno.h>

#include <string.h>

#include "base/clock.h"
#include "endpoint/load_metrics.h"
#include "observe/metrics.h"
#include "proxy/account.h"
#include "proxy/attempt.h"
#include "proxy/filters.h"
#include "proxy/grpc_verdict.h"
#include "proxy/hedge.h"
#include "proxy/hold.h"
#include "proxy/reply.h"
#include "proxy/secure.h"
#include "proxy/tunnel.h"
#include "proxy/worker.h"

// ---- time ---------------------------------------------------------------------------------------

static void on_timer(struct timer *timer, void *arg);

// The earlier of two; 0 is none.
static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

static uint64_t next_deadline(const struct request *request)
{
    uint64_t at = request->phase_limit_ms != 0 ? request->phase_ms + request->phase_limit_ms : 0;
    at = earlier(at, request->deadline_ms);
    return request->committed ? at
                              : earlier(earlier(at, request->token_deadline_ms),
                                        request->hedge_ms);
}

// While tokens are waited for it is looked now and then whether the endpoint leaves meanwhile.
static bool waits_for_tokens(const struct request *request)
{
    return request->phase == REQUEST_RELAY ? !request->tunnel
                                           : request->phase == REQUEST_WAIT && request->stream;
}

static void arm_timer(struct request *request)
{
    uint64_t at = next_deadline(request);
    uint64_t now = worker_now_ms(request->worker);
    if (at != 0 && waits_for_tokens(request)) {
        at = MIN_OF(at, now + request->target->backend->between_tokens_when_leaving_ms);
    }
    if (at == 0 || (timer_is_set(&request->timer) && request->timer.deadline_ms <= at)) {
        return; // an early timer finds the later deadline when it fires
    }
    loop_timer_set(request->worker->loop, &request->timer, at > now ? at - now : 0, on_timer,
                   request);
}

void relay_set_phase(struct request *request, enum request_phase phase, uint32_t limit_ms)
{
    request->phase = phase;
    request->phase_ms = worker_now_ms(request->worker);
    request->phase_limit_ms = limit_ms;
    arm_timer(request);
}

// The client is the one that is waited for: its body, or room in its socket.
static bool client_is_late(const struct request *request)
{
    return request->phase == REQUEST_WAIT && !request->body_complete && !request->body_paused;
}

// How long nothing may move while the answer has not begun.
static uint32_t wait_limit(const struct request *request)
{
    const struct proxy_config *config = request->worker->config;
    if (client_is_late(request)) {
        return config->body_timeout_ms;
    }
    if (request->rule->per_try_timeout_ms != 0) {
        return request->rule->per_try_timeout_ms;
    }
    // Only a stream has a first token to wait for; another answer comes when all of it is ready.
    return request->stream ? request->target->backend->first_token_timeout_ms
                           : config->unary_timeout_ms;
}

void relay_wait_changed(struct request *request)
{
    if (request->phase == REQUEST_WAIT) {
        relay_set_phase(request, REQUEST_WAIT, wait_limit(request));
    }
}

static bool endpoint_leaves(const struct request *request)
{
    return health_is_leaving(request->reservation.endpoint, worker_now_ms(request->worker));
}

// Engines that are told to end may leave open streams without a byte and without an end (vLLM,
// llama.cpp after SIGTERM), so silence says more there than elsewhere.
static uint32_t between_tokens_limit(const struct request *request)
{
    const struct snap_backend *backend = request->target->backend;
    return endpoint_leaves(request) ? MIN_OF(backend->between_tokens_timeout_ms,
                                             backend->between_tokens_when_leaving_ms)
                                    : backend->between_tokens_timeout_ms;
}

// How long nothing may move once the answer has begun. In a gRPC stream there may be nothing to
// say, on either side; only where the endpoint leaves is silence taken for what it is elsewhere.
static uint32_t relay_limit(const struct request *request)
{
    uint32_t idle = request->worker->config->tunnel_idle_timeout_ms;
    if (request->tunnel) {
        return tunnel_limit(request);
    }
    if (request->grpc && !endpoint_leaves(request)) {
        return idle;
    }
    return request->grpc ? MIN_OF(idle, request->target->backend->between_tokens_timeout_ms)
                         : between_tokens_limit(request);
}

// The same before the first token: nothing is lost yet, so another endpoint may do it all. Where
// there is none, the wait goes on as usual. True: it was moved.
static bool move_from_leaving(struct request *request)
{
    uint64_t waited = worker_now_ms(request->worker) - request->phase_ms;
    if (request->phase != REQUEST_WAIT || !request->stream || request->moved ||
        client_is_late(request) ||
        waited < request->target->backend->between_tokens_when_leaving_ms ||
        !endpoint_leaves(request)) {
        return false;
    }
    request->moved = true;
    return attempt_again(request, SNAP_RETRY_RESET);
}

static void on_phase_timeout(struct request *request)
{
    switch (request->phase) {
    case REQUEST_BODY:
        reply_fault(request, FAULT_BODY_TIMEOUT, SLICE(""));
        break;
    case REQUEST_CONNECT:
        attempt_report(request, HEALTH_REPORT_UNREACHED);
        request_drop_upstream(request);
        attempt_failed(request, SNAP_RETRY_CONNECT_FAILURE, FAULT_CONNECT_TIMEOUT);
        break;
    case REQUEST_WAIT:
        if (client_is_late(request)) {
            reply_fault(request, FAULT_BODY_TIMEOUT, SLICE(""));
            break;
        }
        // Frozen, or so full that it should be spared for a while: either way not the next choice.
        attempt_report(request, HEALTH_REPORT_TIMEOUT);
        request_drop_upstream(request);
        attempt_failed(request, SNAP_RETRY_TIMEOUT, FAULT_FIRST_TOKEN_TIMEOUT);
        break;
    case REQUEST_RELAY:
        if (stream_blocked(request->client)) {
            request_abort(request, FAULT_CLIENT_STALLED);
        } else if (request->tunnel) {
            tunnel_idle(request);
        } else if (request->grpc && !endpoint_leaves(request)) {
            reply_fault(request, FAULT_STREAM_IDLE, SLICE(""));
        } else {
            bool left = endpoint_leaves(request);
            attempt_report(request, HEALTH_REPORT_TIMEOUT);
            reply_fault(request, left ? FAULT_SERVER_LEFT : FAULT_BETWEEN_TOKENS_TIMEOUT,
                        SLICE(""));
        }
        break;
    case REQUEST_REPLY:
        break;
    }
}

static void on_timer(struct timer *timer, void *arg)
{
    (void)timer;
    struct request *request = arg;
    struct worker *worker = request->worker;
    uint64_t now = worker_now_ms(worker);
    if (request->deadline_ms != 0 && now >= request->deadline_ms) {
        reply_fault(request, FAULT_REQUEST_TIMEOUT, SLICE(""));
        return;
    }
    if (request->token_deadline_ms != 0 && !request->committed &&
        now >= request->token_deadline_ms) {
        reply_fault(request, FAULT_FIRST_TOKEN_TIMEOUT, SLICE(""));
        return;
    }
    if (request->hedge_ms != 0 && now >= request->hedge_ms) {
        hedge_start(request);
    }
    if (request->phase == REQUEST_RELAY && stream_blocked(request->client)) {
        // What counts now is whether the client takes anything.
        request->phase_ms = request->client->progress_ms;
        request->phase_limit_ms = worker->config->write_timeout_ms;
    } else if (request->phase == REQUEST_RELAY) {
        request->phase_limit_ms = relay_limit(request);
    } else if (move_from_leaving(request)) {
        return;
    }
    if (request->phase_limit_ms != 0 && now >= request->phase_ms + request->phase_limit_ms) {
        on_phase_timeout(request);
        return;
    }
    arm_timer(request);
}

// ---- before the head ----------------------------------------------------------------------------

void relay_on_connected(struct request *request)
{
    request->sent_ns = clock_mono_ns();
    request->phase = REQUEST_WAIT;
    relay_wait_changed(request);
}

void relay_on_connect_failed(struct request *request, int error)
{
    if (attempt_is_our_failure(error)) {
        reply_fault(request, FAULT_INTERNAL, SLICE(""));
        return;
    }
    attempt_report_connect(request, error);
    attempt_failed(request, SNAP_RETRY_CONNECT_FAILURE, attempt_connect_fault(error));
}

void relay_on_tls_failed(struct request *request)
{
    attempt_report_connect(request, EPROTO);
    attempt_failed(request, SNAP_RETRY_CONNECT_FAILURE, FAULT_UPSTREAM_TLS);
}

void relay_on_broken(struct request *request, enum fault fault)
{
    if (!request->tunnel) { // which end as they like
        attempt_report(request, HEALTH_REPORT_RESET);
    }
    if (request->committed) {
        reply_fault(request, fault, SLICE(""));
        return;
    }
    attempt_failed(request, SNAP_RETRY_RESET, fault);
}

// ---- the head -----------------------------------------------------------------------------------

bool relay_passes_to_client(const struct http_header *header)
{
    switch ((enum http_token)header->token) {
    case HTTP_TOKEN_CONTENT_LENGTH:
    case HTTP_TOKEN_ENDPOINT_LOAD_METRICS: // for us, not for clients
    case HTTP_TOKEN_X_REQUEST_ID:
        return false;
    default:
        return !header->drop && !http_token_is_hop_by_hop((enum http_token)header->token);
    }
}

static enum client_framing choose_framing(const struct request *request,
                                          const struct http_response *response)
{
    if (response->framing == HTTP_FRAMING_NONE) {
        return CLIENT_NONE;
    }
    if (response->framing == HTTP_FRAMING_LENGTH) {
        return CLIENT_LENGTH;
    }
    return request->head.minor_version >= 1 ? CLIENT_CHUNKED : CLIENT_CLOSE;
}

static void render_framing(struct request *request, const struct http_response *response)
{
    struct strbuf *out = &request->held;
    switch (request->client_framing) {
    case CLIENT_NONE: {
        // HEAD and 304 tell the length of what is not sent.
        const struct http_header *length = http_header_find(
            response->headers, response->header_count, HTTP_TOKEN_CONTENT_LENGTH);
        if (length != NULL && response->status != 204) {
            h1_write_header(out, SLICE("content-length"), length->value);
        }
        break;
    }
    case CLIENT_LENGTH:
        h1_write_header_u64(out, SLICE("content-length"), response->content_length);
        break;
    case CLIENT_CHUNKED:
        h1_write_header(out, SLICE("transfer-encoding"), SLICE("chunked"));
        break;
    case CLIENT_CLOSE:
        request->client_keep_alive = false;
        break;
    }
    if (!request->client_keep_alive || !request->body_complete || request->worker->leaving) {
        request->client_keep_alive = false;
        h1_write_header(out, SLICE("connection"), SLICE("close"));
    } else if (request->head.minor_version == 0) {
        h1_write_header(out, SLICE("connection"), SLICE("keep-alive"));
    }
}

static void render_head(struct request *request, const struct http_response *response)
{
    struct strbuf *out = &request->held;
    bool edit = filters_edit_answer(request);
    if (out->max == 0) {
        strbuf_init(out, WORKER_HEAD_MAX + REQUEST_FIRST_EVENT_MAX + SCRATCH_SIZE);
    }
    strbuf_reset(out);
    if (!strbuf_reserve(out, 384)) {
        return;
    }
    h1_write_status(out, response->status);
    struct slice hsts = secure_hsts(request);
    for (size_t i = 0; i < response->header_count; i++) {
        const struct http_header *header = &response->headers[i];
        if (relay_passes_to_client(header) &&
            (hsts.len == 0 || !slice_ieq(header->name, SLICE("strict-transport-security"))) &&
            !(edit && filters_drop_answer(request, header->name))) {
            h1_write_header(out, header->name, header->value);
        }
    }
    if (hsts.len != 0) {
        h1_write_header(out, SLICE("strict-transport-security"), hsts);
    }
    h1_write_header(out, SLICE("x-request-id"), request->id);
    if (UNLIKELY(edit)) {
        filters_write_answer(request, out);
    }
    render_framing(request, response);
    h1_write_end(out);
    request->held_head = out->len;
}

bool relay_on_head(struct request *request, const struct http_response *response)
{
    struct endpoint *endpoint = request->reservation.endpoint;
    const struct http_header *orca = http_header_find(response->headers, response->header_count,
                                                      HTTP_TOKEN_ENDPOINT_LOAD_METRICS);
    if (orca != NULL) {
        endpoint_load_metrics_apply(endpoint, orca->value, worker_now_ms(request->worker));
    }
    const struct http_header *type =
        http_header_find(response->headers, response->header_count, HTTP_TOKEN_CONTENT_TYPE);
    bool sse = type != NULL && http_content_type_is(type->value, SLICE("text/event-stream"));
    bool gone = false;
    if (!grpc_verdict_on_head(request, response, &gone) && !hold_waits(response->status, sse)) {
        gone = hold_judge(request, response->status, SLICE_NULL);
    }
    if (gone) {
        return false;
    }
    if (response->status == 101) {
        return tunnel_open(request, response);
    }
    if (UNLIKELY(request_connects(request)) && response->status < 300) {
        reply_fault(request, FAULT_UPGRADE_DECLINED, SLICE(""));
        return false;
    }
    request->status = response->status;
    request->sse = sse;
    request->tells_usage =
        response->status < 300 &&
        (sse || (type != NULL && http_content_type_is(type->value, SLICE("application/json"))));
    request->client_framing = choose_framing(request, response);
    render_head(request, response);
    if (request->held.failed) {
        reply_fault(request, FAULT_INTERNAL, SLICE(""));
        return false;
    }
    return true;
}

void relay_set_trailers(struct request *request, const struct http_header *trailers, size_t count)
{
    request->trailers = trailers;
    request->trailer_count = count;
}

// ---- the body -----------------------------------------------------------------------------------

static void note_first_token(struct request *request)
{
    request->first_token_ns = clock_mono_ns();
    request->last_event_ns = request->first_token_ns;
    reservation_first_token(&request->reservation);
    account_first_token(request);
}

static void commit(struct request *request)
{
    if (UNLIKELY(request->rival != NULL)) {
        hedge_win(request);
    }
    request->committed = true;
    if (attempt_all_sent(request)) {
        request_drop_input(request);
    }
    relay_set_phase(request, REQUEST_RELAY, relay_limit(request));
}

// Sends what is held and data[0..len). 0 or -errno.
static int send_on(struct request *request, char *data, size_t len, bool done)
{
    const struct stream_output output = {
        .head = slice_of(request->held.ptr, request->held_head),
        .first = slice_skip(strbuf_slice(&request->held), request->held_head),
        .data = data,
        .len = len,
        .room = request->up->room,
        .end = done,
        .trailers = request->trailers,
        .trailer_count = done ? request->trailer_count : 0,
    };
    int rc = request->client->ops->send(request->client, &output);
    if (request->held.cap != 0) {
        strbuf_fini(&request->held);
        request->held_head = 0;
    }
    return rc;
}

bool relay_head_alone(struct request *request)
{
    if (!request->grpc || request->committed) {
        return true;
    }
    commit(request);
    if (send_on(request, NULL, 0, false) != 0) {
        request_abort(request, FAULT_CLIENT_ABORT);
        return false;
    }
    return true;
}

static void finish(struct request *request)
{
    struct exchange *up = request->up;
    request->up = NULL;
    request->answered = true;
    request->fault =
        fault_of_answer(request->grpc_blames != 0 ? request->grpc_blames : request->status);
    // Answered before it had everything: what is left must not follow.
    up->ops->release(up, attempt_all_sent(request) || request->input == NULL);
    request_finish(request);
}

bool relay_on_data(struct request *request, char *data, size_t len, bool done)
{
    if (len == 0 && !done) {
        return true;
    }
    request->upstream_bytes += len;
    if (grpc_verdict_on_data(request, len, done)) {
        return false;
    }
    if (!request->committed) {
        enum hold hold = hold_back(request, data, len, done);
        if (hold != HOLD_GO) {
            return hold == HOLD_MORE;
        }
        commit(request);
    } else {
        request->phase_ms = worker_now_ms(request->worker);
        if (request->sse && len != 0) {
            account_event(request);
        }
    }
    if (request->first_token_ns == 0 && !request->tunnel) {
        note_first_token(request);
    }
    if (request->tells_usage && len != 0) {
        answer_feed(&request->answer, slice_of(data, len));
    }
    if (request->sse && len != 0) {
        // Ends that came in two pieces count as open: an empty line too many does no harm.
        request->tail_open =
            len < 2 || data[len - 1] != '\n' ||
            (data[len - 2] != '\n' && (len < 3 || data[len - 2] != '\r' || data[len - 3] != '\n'));
    }
    if (done) {
        reservation_release(&request->reservation); // who has the end finds the books settled
    }
    if (send_on(request, data, len, done) != 0) {
        request_abort(request, FAULT_CLIENT_ABORT);
        return false;
    }
    if (done) {
        finish(request);
        return false;
    }
    if (stream_blocked(request->client)) {
        request->up->paused = true;
        relay_set_phase(request, REQUEST_RELAY, request->worker->config->write_timeout_ms);
    }
    return true;
}
