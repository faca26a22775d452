#include "proxy/reply_grpc.h"

#include "http/grpc.h"
#include "proxy/filters.h"
#include "proxy/reply.h"
#include "proxy/worker.h"

static enum grpc_status status_of(enum fault fault)
{
    switch (fault) {
    case FAULT_MODEL_NOT_FOUND:
        return GRPC_NOT_FOUND;
    case FAULT_MODEL_MISSING:
    case FAULT_MODEL_INVALID:
    case FAULT_INVALID_MESSAGE:
        return GRPC_INVALID_ARGUMENT;
    case FAULT_REQUEST_TIMEOUT:
    case FAULT_FIRST_TOKEN_TIMEOUT:
        return GRPC_DEADLINE_EXCEEDED;
    default:
        return grpc_status_of_http(fault_status(fault));
    }
}

void reply_grpc(struct request *request, enum fault fault, struct slice message)
{
    struct strbuf *head = &request->worker->head;
    struct http_header fields[GRPC_ANSWER_FIELDS];
    size_t count = grpc_answer(status_of(fault), message, &request->arena, fields);
    request_drop_upstream(request);
    reservation_release(&request->reservation);
    request->status = 200;
    request->phase = REQUEST_REPLY;
    request->client_framing = CLIENT_NONE;
    strbuf_reset(head);
    h1_write_status(head, 200);
    for (size_t i = 0; i < count; i++) {
        reply_write_field(request, fields[i].name, fields[i].value);
    }
    reply_write_common(request);
    filters_write_answer(request, head);
    h1_write_end(head);
    const struct stream_output output = {.head = strbuf_slice(head), .end = true};
    if (head->failed || request->client->ops->send(request->client, &output) != 0) {
        request_abort(request, head->failed ? FAULT_INTERNAL : FAULT_CLIENT_ABORT);
        return;
    }
    request->answered = true;
    request_finish(request);
}

int reply_grpc_cut(struct request *request, enum fault fault)
{
    struct http_header fields[GRPC_ANSWER_FIELDS];
    size_t count = grpc_answer(status_of(fault), slice_of_str(fault_text(fault)), &request->arena,
                               fields);
    // The first one is the content type, which the client has had.
    const struct stream_output output = {
        .end = true, .trailers = fields + 1, .trailer_count = count - 1};
    return request->client->ops->send(request->client, &output);
}
