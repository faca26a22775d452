#include "proxy/peek.h"

#include "ai/oip_grpc.h"
#include "http/multipart.h"
#include "proxy/body.h"
#include "proxy/reply.h"
#include "proxy/worker.h"

static bool refuse_form(struct request *request, enum multipart_error error)
{
    reply_fault(request, FAULT_INVALID_FORM, slice_of_str(multipart_error_text(error)));
    return false;
}

static bool refuse_message(struct request *request, enum oip_error error)
{
    reply_fault(request, FAULT_INVALID_MESSAGE, slice_of_str(oip_error_text(error)));
    return false;
}

static bool refuse_memory(struct request *request)
{
    reply_fault(request, FAULT_INTERNAL, SLICE(""));
    return false;
}

static bool begin_message(struct request *request)
{
    enum oip_method method = oip_method_of(request->head.path);
    if (method == OIP_METHOD_NONE) {
        request->body_buffered = false; // it may never end
        return true;
    }
    request->rpc = arena_alloc(&request->arena, sizeof(*request->rpc));
    if (request->rpc == NULL) {
        return refuse_memory(request);
    }
    oip_scan_init(request->rpc, method);
    return true;
}

static bool begin_form(struct request *request, struct slice content_type)
{
    request->form = arena_alloc(&request->arena, sizeof(*request->form));
    if (request->form == NULL) {
        return refuse_memory(request);
    }
    enum multipart_error error = multipart_init(request->form, content_type);
    return error == MULTIPART_NONE || refuse_form(request, error);
}

bool peek_begin(struct request *request)
{
    const struct http_request *head = &request->head;
    const struct http_header *type =
        http_header_find(head->headers, head->header_count, HTTP_TOKEN_CONTENT_TYPE);
    if (request->grpc) {
        return begin_message(request);
    }
    if (type == NULL || head->framing == HTTP_FRAMING_NONE ||
        !http_content_type_is(type->value, SLICE("multipart/form-data"))) {
        return true;
    }
    return begin_form(request, type->value);
}

bool peek_add(struct request *request, struct slice piece)
{
    if (request->rpc != NULL) {
        enum oip_error error = oip_scan_feed(request->rpc, piece);
        return error == OIP_ERROR_NONE || refuse_message(request, error);
    }
    enum multipart_error error = multipart_feed(request->form, piece);
    if (error != MULTIPART_NONE) {
        return refuse_form(request, error);
    }
    request->stream = multipart_wants_stream(request->form);
    return true;
}

bool peek_is_ready(const struct request *request)
{
    bool known = request->rpc != NULL ? oip_scan_has_model(request->rpc)
                                      : request->form != NULL && request->form->model.found;
    return known && request->body_buffered;
}

// False: replied.
static bool take_model(struct request *request)
{
    struct slice name;
    if (request->rpc != NULL) {
        name = oip_scan_model(request->rpc);
        request->model_place = MODEL_IN_MESSAGE;
        request->model_start = request->rpc->model.length_at;
        request->model_end = request->rpc->model.start + request->rpc->model.len;
    } else {
        name = multipart_value(&request->form->model);
        if (name.ptr == NULL) {
            return true;
        }
        request->model_place = MODEL_IN_FORM;
        request->model_start = request->form->model.start;
        request->model_end = request->model_start + name.len;
    }
    request->model = arena_dup(&request->arena, name);
    return request->model.ptr != NULL || refuse_memory(request);
}

void peek_route(struct request *request)
{
    request->body_buffered = false;
    request->body.max = MAX_OF(request->body.max, request->body.len + BODY_WINDOW_MAX);
    request->up_chunked = request->head.framing == HTTP_FRAMING_CHUNKED;
    request->prompt_bytes = request->head.content_length;
    if (take_model(request)) {
        request_route(request);
    }
}

bool peek_end(struct request *request)
{
    if (request->rpc != NULL) {
        enum oip_error error = oip_scan_finish(request->rpc);
        if (error != OIP_ERROR_NONE) {
            return refuse_message(request, error);
        }
    } else {
        enum multipart_error error = multipart_finish(request->form);
        if (error != MULTIPART_NONE) {
            return refuse_form(request, error);
        }
    }
    return !request->body_buffered || take_model(request); // else it is on its way already
}

void peek_settle_message(struct request *request)
{
    char *prefix = request->body_inline.len != 0 ? (char *)(uintptr_t)request->body_inline.ptr
                                                 : request->body.ptr;
    uint64_t length = request->rpc->message_len;
    if (request->model_sent.ptr != NULL) {
        length += request->model_sent.len - (request->model_end - request->model_start);
    }
    for (size_t i = 0; i < 4; i++) {
        prefix[1 + i] = (char)(length >> (24 - 8 * i) & 0xff);
    }
}
