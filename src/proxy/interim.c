#include "proxy/relay.h"
#include "proxy/worker.h"

// Interim responses are hints: none is worth waiting for a client that is slow, or holding bytes.
static bool passes(const struct request *request, const struct http_response *response)
{
    return response->status != 100 && request->head.minor_version >= 1 && !request->committed &&
           !stream_blocked(request->client);
}

bool relay_on_interim(struct request *request, const struct http_response *response)
{
    struct strbuf *head = &request->worker->head;
    if (!passes(request, response)) {
        return true;
    }
    strbuf_reset(head);
    h1_write_status(head, response->status);
    for (size_t i = 0; i < response->header_count; i++) {
        if (relay_passes_to_client(&response->headers[i])) {
            h1_write_header(head, response->headers[i].name, response->headers[i].value);
        }
    }
    h1_write_end(head);
    if (!head->failed &&
        request->client->ops->send_interim(request->client, strbuf_slice(head)) != 0) {
        request_abort(request, FAULT_CLIENT_ABORT);
        return false;
    }
    return true;
}
