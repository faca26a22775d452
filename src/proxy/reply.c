#include "proxy/reply.h"

#include <string.h>

#include "proxy/filters.h"
#include "proxy/hedge.h"
#include "proxy/reply_grpc.h"
#include "proxy/secure.h"
#include "proxy/worker.h"

enum { REPLY_BODY_MAX = 4 * 1024 * 1024 };

void reply_write_field(struct request *request, struct slice name, struct slice value)
{
    if (value.len != 0 && !filters_drop_answer(request, name)) {
        h1_write_header(&request->worker->head, name, value);
    }
}

void reply_write_common(struct request *request)
{
    struct worker *worker = request->worker;
    struct slice hsts = secure_hsts(request);
    if (hsts.len != 0) {
        h1_write_header(&worker->head, SLICE("strict-transport-security"), hsts);
    }
    reply_write_field(request, SLICE("date"), slice_of_str(worker->date));
    h1_write_header(&worker->head, SLICE("x-request-id"), request->id);
}

static void write_head(struct request *request, const struct reply *reply)
{
    struct strbuf *head = &request->worker->head;
    unsigned status = reply->status;
    strbuf_reset(head);
    h1_write_status(head, status);
    reply_write_field(request, SLICE("content-type"), reply->content_type);
    if (status != 204 && status != 304) { // RFC 9110 section 8.6
        h1_write_header_u64(head, SLICE("content-length"), reply->body.len);
    }
    reply_write_common(request);
    if (status == 503 || status == 429) {
        reply_write_field(request, SLICE("retry-after"), SLICE("1"));
    }
    for (size_t i = 0; i < reply->field_count; i++) {
        h1_write_header(head, reply->fields[i].name, reply->fields[i].value);
    }
    filters_write_answer(request, head);
    if (!request->client_keep_alive) {
        h1_write_header(head, SLICE("connection"), SLICE("close"));
    } else if (request->head.minor_version == 0) {
        h1_write_header(head, SLICE("connection"), SLICE("keep-alive"));
    }
    h1_write_end(head);
}

void reply_with(struct request *request, const struct reply *reply)
{
    struct strbuf *head = &request->worker->head;
    if (UNLIKELY(request_connects(request)) && reply->status < 300) {
        reply_fault(request, FAULT_UPGRADE_DECLINED, SLICE(""));
        return;
    }
    request_drop_upstream(request);
    reservation_release(&request->reservation); // who has its answer finds the books settled
    request->status = reply->status;
    request->phase = REQUEST_REPLY;
    if (!request->body_complete || request->worker->leaving) {
        request->client_keep_alive = false;
    }
    write_head(request, reply);
    bool no_body = request->head.method == HTTP_METHOD_HEAD;
    const struct stream_output output = {
        .head = strbuf_slice(head),
        .first = no_body ? SLICE_NULL : reply->body,
        .end = true,
    };
    request->client_framing = CLIENT_LENGTH;
    if (head->failed || request->client->ops->send(request->client, &output) != 0) {
        request_abort(request, head->failed ? FAULT_INTERNAL : FAULT_CLIENT_ABORT);
        return;
    }
    request->answered = true;
    request_finish(request);
}

static void send_reply(struct request *request, unsigned status, struct slice body)
{
    const struct reply reply = {
        .status = status, .content_type = SLICE("application/json"), .body = body};
    reply_with(request, &reply);
}

void reply_redirect(struct request *request, unsigned status, struct slice location)
{
    const struct http_header field = {.name = SLICE("location"), .value = location};
    const struct reply reply = {.status = status, .fields = &field, .field_count = 1};
    reply_with(request, &reply);
}

// Sends a body that was rendered for this; when there was no memory for it, says that instead.
static void send_rendered(struct request *request, unsigned status, struct strbuf *body)
{
    if (!body->failed) {
        send_reply(request, status, strbuf_slice(body));
    } else {
        request->fault = FAULT_INTERNAL;
        send_reply(request, 500,
                   SLICE("{\"error\":{\"message\":\"the gateway ran out of memory\",\"type\":"
                         "\"server_error\",\"param\":null,\"code\":\"internal\"}}"));
    }
    strbuf_fini(body);
}

void reply_json(struct request *request, unsigned status, struct slice body)
{
    if (UNLIKELY(request->rival != NULL)) {
        hedge_win(request);
    }
    if (request->fault == FAULT_NONE) {
        request->fault = fault_of_answer(status);
    }
    send_reply(request, status, body);
}

static struct slice fault_message(struct request *request, enum fault fault, struct slice detail)
{
    struct slice text = slice_of_str(fault_text(fault));
    if (detail.len == 0) {
        return text;
    }
    struct slice both = arena_printf(&request->arena, "%.*s: %.*s", SLICE_FMT(text),
                                     SLICE_FMT(detail));
    return both.ptr != NULL ? both : text;
}

// The client has had a part of the answer: a stream gets an error event, and in every case the
// connection closes without the end of the message, so that nobody takes it for complete.
static void cut_answer(struct request *request, enum fault fault)
{
    request_drop_upstream(request);
    reservation_release(&request->reservation);
    request->client_keep_alive = false;
    if (request->tunnel) {
        request->client->reset = true;
        request_abort(request, fault);
        return;
    }
    if (request->grpc && reply_grpc_cut(request, fault) != 0) {
        request_abort(request, fault);
        return;
    }
    if (request->sse && request->client_framing != CLIENT_LENGTH &&
        !stream_blocked(request->client)) {
        struct strbuf event;
        strbuf_init(&event, 4096);
        strbuf_add_str(&event, request->tail_open ? "\n\ndata: " : "data: ");
        openai_error_write(&event, fault_status(fault), slice_of_str(fault_type(fault)),
                           slice_of_str(fault_label(fault)), SLICE_NULL,
                           slice_of_str(fault_text(fault)));
        strbuf_add_str(&event, "\n\n");
        const struct stream_output output = {.first = strbuf_slice(&event)};
        int rc = event.failed ? 0 : request->client->ops->send(request->client, &output);
        strbuf_fini(&event);
        if (rc != 0) {
            request_abort(request, fault);
            return;
        }
    }
    request->answered = true;
    request_finish(request);
}

void reply_fault(struct request *request, enum fault fault, struct slice detail)
{
    if (UNLIKELY(request->rival != NULL) && hedge_survives(request, fault)) {
        return;
    }
    request->fault = fault;
    if (request->committed) {
        cut_answer(request, fault);
        return;
    }
    if (request->grpc) {
        reply_grpc(request, fault, fault_message(request, fault, detail));
        return;
    }
    unsigned status = request->reject_status != 0 ? request->reject_status : fault_status(fault);
    struct strbuf body;
    strbuf_init(&body, REPLY_BODY_MAX);
    openai_error_write(&body, status, slice_of_str(fault_type(fault)),
                       slice_of_str(fault_label(fault)), SLICE_NULL,
                       fault_message(request, fault, detail));
    send_rendered(request, status, &body);
}

// ---- models -------------------------------------------------------------------------------------

// That the client may ask for: of others it does not learn the names.
static int each_model(const struct request *request, snapshot_model_fn *fn, void *arg)
{
    return snapshot_each_model(request->hold->snapshot, request->head.host, request->client->who,
                               fn, arg);
}

static void on_close_name(struct slice model, void *arg)
{
    openai_close_names_offer(arg, model);
}

void reply_model_not_found(struct request *request)
{
    struct openai_close_names close;
    openai_close_names_init(&close, request->model);
    int rc = each_model(request, on_close_name, &close);
    struct strbuf text;
    strbuf_init(&text, 4096);
    strbuf_printf(&text, "the model \"%.*s\" does not exist or no route takes it",
                  SLICE_FMT(request->model));
    if (rc == 0) {
        openai_close_names_write(&close, &text);
    }
    request->fault = FAULT_MODEL_NOT_FOUND;
    if (request->grpc) {
        reply_grpc(request, FAULT_MODEL_NOT_FOUND, strbuf_slice(&text));
        strbuf_fini(&text);
        return;
    }
    struct strbuf body;
    strbuf_init(&body, REPLY_BODY_MAX);
    openai_error_write(&body, 404, slice_of_str(fault_type(FAULT_MODEL_NOT_FOUND)),
                       slice_of_str(fault_label(FAULT_MODEL_NOT_FOUND)), SLICE("model"),
                       strbuf_slice(&text));
    body.failed = body.failed || text.failed;
    strbuf_fini(&text);
    send_rendered(request, 404, &body);
}

struct model_list {
    struct strbuf body;
    struct slice wanted; // ptr NULL = all
    size_t count;
};

static void on_model(struct slice model, void *arg)
{
    struct model_list *list = arg;
    if (list->wanted.ptr != NULL && !slice_eq(list->wanted, model)) {
        return;
    }
    if (list->wanted.ptr == NULL && list->count != 0) {
        strbuf_add_char(&list->body, ',');
    }
    openai_model_write(&list->body, model);
    list->count++;
}

void reply_models(struct request *request, struct slice name)
{
    struct model_list list = {.wanted = name};
    strbuf_init(&list.body, REPLY_BODY_MAX);
    if (name.ptr == NULL) {
        strbuf_add_str(&list.body, "{\"object\":\"list\",\"data\":[");
    }
    int rc = each_model(request, on_model, &list);
    if (name.ptr == NULL) {
        strbuf_add_str(&list.body, "]}");
    }
    list.body.failed = list.body.failed || rc != 0;
    if (!list.body.failed && name.ptr != NULL && list.count == 0) {
        request->model = arena_dup(&request->arena, name);
        reply_model_not_found(request);
        strbuf_fini(&list.body);
    } else {
        send_rendered(request, 200, &list.body);
    }
}
