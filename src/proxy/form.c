#include "proxy/form.h"

#include "http/multipart.h"
#include "proxy/body.h"
#include "proxy/reply.h"
#include "proxy/worker.h"

static bool refuse(struct request *request, enum multipart_error error)
{
    reply_fault(request, FAULT_INVALID_FORM, slice_of_str(multipart_error_text(error)));
    return false;
}

bool form_begin(struct request *request)
{
    const struct http_request *head = &request->head;
    const struct http_header *type =
        http_header_find(head->headers, head->header_count, HTTP_TOKEN_CONTENT_TYPE);
    if (type == NULL || head->framing == HTTP_FRAMING_NONE ||
        !http_content_type_is(type->value, SLICE("multipart/form-data"))) {
        return true;
    }
    request->form = arena_alloc(&request->arena, sizeof(*request->form));
    if (request->form == NULL) {
        reply_fault(request, FAULT_INTERNAL, SLICE(""));
        return false;
    }
    enum multipart_error error = multipart_init(request->form, type->value);
    return error == MULTIPART_NONE || refuse(request, error);
}

bool form_add(struct request *request, struct slice piece)
{
    enum multipart_error error = multipart_feed(request->form, piece);
    if (error != MULTIPART_NONE) {
        return refuse(request, error);
    }
    request->stream = multipart_wants_stream(request->form);
    return true;
}

bool form_is_ready(const struct request *request)
{
    return request->form != NULL && request->body_buffered && request->form->model.found;
}

// False: replied.
static bool take_model(struct request *request)
{
    const struct multipart_field *model = &request->form->model;
    if (!model->found) {
        return true;
    }
    request->model = arena_dup(&request->arena, multipart_value(model));
    request->model_place = MODEL_IN_FORM;
    request->model_start = model->start;
    request->model_end = model->start + model->len;
    if (request->model.ptr == NULL) {
        reply_fault(request, FAULT_INTERNAL, SLICE(""));
        return false;
    }
    return true;
}

void form_route(struct request *request)
{
    request->body_buffered = false;
    request->body.max = MAX_OF(request->body.max, (size_t)BODY_WINDOW_MAX);
    request->up_chunked = request->head.framing == HTTP_FRAMING_CHUNKED;
    request->prompt_bytes = request->head.content_length;
    if (take_model(request)) {
        request_route(request);
    }
}

bool form_end(struct request *request)
{
    enum multipart_error error = multipart_finish(request->form);
    if (error != MULTIPART_NONE) {
        return refuse(request, error);
    }
    return !request->body_buffered || take_model(request); // else it is on its way already
}
