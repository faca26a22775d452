#include "proxy/tunnel.h"

#include "observe/metrics.h"
#include "proxy/attempt.h"
#include "proxy/body.h"
#include "proxy/filters.h"
#include "proxy/relay.h"
#include "proxy/reply.h"
#include "proxy/worker.h"

static void render_head(const struct request *request, const struct http_response *response,
                        struct strbuf *head)
{
    bool edit = filters_edit_answer(request);
    strbuf_reset(head);
    h1_write_status(head, response->status);
    for (size_t i = 0; i < response->header_count; i++) {
        const struct http_header *header = &response->headers[i];
        if (relay_passes_to_client(header) &&
            !(edit && filters_drop_answer(request, header->name))) {
            h1_write_header(head, header->name, header->value);
        }
    }
    if (edit) {
        filters_write_answer(request, head);
    }
    h1_write_header(head, SLICE("connection"), SLICE("upgrade"));
    h1_write_header(head, SLICE("upgrade"), request->head.upgrade);
    h1_write_header(head, SLICE("x-request-id"), request->id);
    h1_write_end(head);
}

// From here on the request's body is whatever the client sends.
static void become_tunnel(struct request *request)
{
    request->status = 101;
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
    if (!attempt_all_sent(request)) {
        struct exchange *up = request->up;
        request->up = NULL;
        up->ops->close(up);
        relay_on_broken(request, FAULT_UPSTREAM_PROTOCOL);
        return false;
    }
    render_head(request, response, head);
    if (head->failed) {
        reply_fault(request, FAULT_INTERNAL, SLICE(""));
        return false;
    }
    become_tunnel(request);
    reservation_first_token(&request->reservation);
    metrics_add(request->worker->metrics, METRIC_UPGRADES, 1);
    relay_set_phase(request, REQUEST_RELAY, request->worker->config->tunnel_idle_timeout_ms);
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
    request->body_complete = true;
    if (request->body.len > request->up_sent) {
        return; // the server ends it, or the time limit
    }
    request->answered = true;
    request_finish(request);
}

void tunnel_idle(struct request *request)
{
    reply_fault(request, FAULT_TUNNEL_IDLE, SLICE(""));
}
