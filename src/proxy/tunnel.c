#include "proxy/tunnel.h"

#include <errno.h>

#include "http/websocket.h"
#include "observe/metrics.h"
#include "proxy/attempt.h"
#include "proxy/body.h"
#include "proxy/filters.h"
#include "proxy/relay.h"
#include "proxy/reply.h"
#include "proxy/upstream.h"
#include "proxy/worker.h"

#define KEY SLICE("sec-websocket-key")
#define ACCEPT SLICE("sec-websocket-accept")

// Of a tunnel whose client has said all. (A WebSocket ends with frames of its own, and a client
// that is gone may be known to us alone.)
enum { HALF_OPEN_MS = 60000 };

// ---- the handshake ------------------------------------------------------------------------------

// The one value of a field; ptr NULL: it is not there, or more than once.
static struct slice only_value(const struct http_header *headers, size_t count, struct slice name)
{
    struct slice value = SLICE_NULL;
    for (size_t i = 0; i < count; i++) {
        if (slice_ieq(headers[i].name, name)) {
            if (value.ptr != NULL) {
                return SLICE_NULL;
            }
            value = headers[i].value;
        }
    }
    return value;
}

static struct slice key_of_client(const struct request *request)
{
    return only_value(request->head.headers, request->head.header_count, KEY);
}

int tunnel_prepare(struct request *request)
{
    char key[WEBSOCKET_KEY_LEN + 1];
    bool connects = request_connects(request);
    request->websocket_key = SLICE_NULL;
    if (request->head.upgrade.ptr == NULL || connects == upstream_speaks_http2(request)) {
        return 0;
    }
    if (!connects) {
        return websocket_key_is_valid(key_of_client(request)) ? 0 : EBADMSG;
    }
    if (websocket_key_make(key) != 0) {
        return ENOMEM;
    }
    request->websocket_key = arena_dup(&request->arena, slice_of(key, WEBSOCKET_KEY_LEN));
    return request->websocket_key.ptr != NULL ? 0 : ENOMEM;
}

void tunnel_write_key(const struct request *request, struct strbuf *out)
{
    if (request->websocket_key.ptr != NULL) {
        h1_write_header(out, KEY, request->websocket_key);
    }
}

// What is said to the client of its key, or must have been said to us of ours; the server's own
// words pass between two sides of HTTP/1. 0, or negative: FAULT_* is why not.
static int judge_key(const struct request *request, const struct http_response *response,
                     char accept[WEBSOCKET_ACCEPT_LEN + 1], enum fault *ret_fault)
{
    struct slice key = request->websocket_key;
    accept[0] = '\0';
    bool ours = key.ptr != NULL;
    if (!ours && upstream_speaks_http2(request) && !request_connects(request)) {
        key = key_of_client(request);
    }
    if (key.ptr == NULL) {
        return 0;
    }
    *ret_fault = FAULT_INTERNAL;
    if (websocket_accept_of(key, accept) != 0) {
        return -ENOMEM;
    }
    *ret_fault = FAULT_UPSTREAM_PROTOCOL;
    return !ours || slice_eq_str(only_value(response->headers, response->header_count, ACCEPT),
                                 accept)
               ? 0
               : -EPROTO;
}

static bool passes(const struct request *request, const struct http_header *header, bool edit)
{
    bool mixed = request_connects(request) || upstream_speaks_http2(request);
    return relay_passes_to_client(header) && !(mixed && slice_ieq(header->name, ACCEPT)) &&
           !(edit && filters_drop_answer(request, header->name));
}

static void render_head(const struct request *request, const struct http_response *response,
                        const char *accept, struct strbuf *head)
{
    bool edit = filters_edit_answer(request);
    bool connects = request_connects(request);
    strbuf_reset(head);
    h1_write_status(head, connects ? 200 : 101);
    for (size_t i = 0; i < response->header_count; i++) {
        if (passes(request, &response->headers[i], edit)) {
            h1_write_header(head, response->headers[i].name, response->headers[i].value);
        }
    }
    if (edit) {
        filters_write_answer(request, head);
    }
    if (!connects) {
        h1_write_header(head, SLICE("connection"), SLICE("upgrade"));
        h1_write_header(head, SLICE("upgrade"), request->head.upgrade);
    }
    if (!connects && accept[0] != '\0') {
        h1_write_header(head, ACCEPT, slice_of_str(accept));
    }
    h1_write_header(head, SLICE("x-request-id"), request->id);
    h1_write_end(head);
}

// ---- the tunnel ---------------------------------------------------------------------------------

// From here on the request's body is whatever the client sends.
static void become_tunnel(struct request *request)
{
    request->status = request_connects(request) ? 200 : 101;
    request->tunnel = true;
    request->committed = true;
    request->client_keep_alive = false;
    request->client_framing = CLIENT_CLOSE;
    request_drop_input(request);
    request->head.upgrade = SLICE_NULL;
    request->up_sent = 0;
    request->model_sent = SLICE_NULL;
    request->body_complete = false;
    request->body_buffered = false;
    request->body_received = 0;
    strbuf_init(&request->body, BODY_WINDOW_MAX);
}

bool tunnel_open(struct request *request, const struct http_response *response)
{
    struct strbuf *head = &request->worker->head;
    char accept[WEBSOCKET_ACCEPT_LEN + 1];
    enum fault fault = FAULT_UPSTREAM_PROTOCOL;
    if (!attempt_all_sent(request) || judge_key(request, response, accept, &fault) != 0) {
        request_drop_upstream(request);
        if (fault == FAULT_INTERNAL) {
            reply_fault(request, fault, SLICE(""));
        } else {
            relay_on_broken(request, fault);
        }
        return false;
    }
    render_head(request, response, accept, head);
    if (head->failed) {
        reply_fault(request, FAULT_INTERNAL, SLICE(""));
        return false;
    }
    become_tunnel(request);
    reservation_first_token(&request->reservation);
    metrics_add(request->worker->metrics, METRIC_UPGRADES, 1);
    relay_set_phase(request, REQUEST_RELAY, tunnel_limit(request));
    const struct stream_output output = {.head = strbuf_slice(head)};
    if (request->client->ops->send(request->client, &output) != 0) {
        request_abort(request, FAULT_CLIENT_ABORT);
        return false;
    }
    request->client->ops->want_body(request->client);
    return true;
}

void tunnel_client_ended(struct request *request)
{
    if (!request->body_complete) {
        request->body_complete = true;
        request->up->ops->send(request->up);
        relay_set_phase(request, REQUEST_RELAY, tunnel_limit(request));
    }
}

uint32_t tunnel_limit(const struct request *request)
{
    uint32_t idle = request->worker->config->tunnel_idle_timeout_ms;
    return request->body_complete ? MIN_OF(idle, (uint32_t)HALF_OPEN_MS) : idle;
}

void tunnel_idle(struct request *request)
{
    reply_fault(request, FAULT_TUNNEL_IDLE, SLICE(""));
}
