#include "proxy/filters.h"

#include "http/cookie.h"
#include "proxy/reply.h"
#include "proxy/worker.h"

enum { LOCATION_MAX = 160 * 1024 }; // a head's path and query, and what a route adds

static const struct http_header *field_of(const struct request *request, struct slice name)
{
    return http_header_find_name(request->head.headers, request->head.header_count, name);
}

// ---- CORS ---------------------------------------------------------------------------------------

static const struct cors_policy *match_policy(const struct request *request, struct slice method,
                                              struct slice origin)
{
    const struct route_query query = {
        .host = request->head.host, .path = request->head.path, .method = method};
    return snapshot_match_cors(request->hold->snapshot, &query, origin);
}

bool filters_begin(struct request *request)
{
    const struct http_request *head = &request->head;
    struct cors_question question;
    if (LIKELY(!request->hold->snapshot->has_cors)) {
        return false;
    }
    if (head->method != HTTP_METHOD_OPTIONS ||
        !cors_question_read(head->headers, head->header_count, &question)) {
        const struct http_header *origin = field_of(request, SLICE("origin"));
        if (origin != NULL) {
            request->cors = match_policy(request, head->method_text, origin->value);
        }
        return false;
    }
    const struct cors_policy *policy = match_policy(request, question.method, question.origin);
    if (policy == NULL) {
        return false; // somebody else's business
    }
    struct cors_fields fields;
    cors_preflight(policy, &question, &fields);
    const struct reply reply = {
        .status = 204, .fields = fields.items, .field_count = fields.count};
    reply_with(request, &reply);
    return true;
}

// ---- answers of rules ---------------------------------------------------------------------------

static void answer_redirect(struct request *request, const struct snap_answer *answer)
{
    const struct redirect_from from = {
        .scheme = request_scheme(request),
        .authority = request->head.authority,
        .path = request->head.path,
        .query = request->head.query,
    };
    struct strbuf location;
    strbuf_init(&location, LOCATION_MAX);
    redirect_write(answer->redirect, &from, &location);
    if (location.failed) {
        reply_fault(request, FAULT_INTERNAL, SLICE(""));
    } else {
        reply_redirect(request, answer->status, strbuf_slice(&location));
    }
    strbuf_fini(&location);
}

bool filters_answer(struct request *request)
{
    const struct snap_rule *rule = request->rule;
    const struct snap_answer *answer = rule->answer;
    request->cors = rule->cors;
    if (LIKELY(answer == NULL)) {
        return false;
    }
    if (answer->redirect != NULL) {
        answer_redirect(request, answer);
    } else {
        const struct reply reply = {.status = answer->status,
                                    .content_type = answer->content_type,
                                    .body = answer->body};
        reply_with(request, &reply);
    }
    return true;
}

// ---- on the way to the server -----------------------------------------------------------------

static void write_fields(const struct http_header *fields, size_t count, struct strbuf *out)
{
    for (size_t i = 0; i < count; i++) {
        h1_write_header(out, fields[i].name, fields[i].value);
    }
}

void filters_write_request(const struct header_edit *edit, struct strbuf *out)
{
    write_fields(edit->adds, edit->add_count, out);
}

// ---- sessions -----------------------------------------------------------------------------------

// The endpoint that the client's cookie names, if it is one of the target's.
static const struct endpoint *endpoint_of_cookie(const struct request *request,
                                                 const struct snap_target *target)
{
    const struct snap_affinity *affinity = request->rule->affinity;
    struct slice tag = cookie_find(request->head.headers, request->head.header_count,
                                   affinity->cookie_name);
    if (tag.ptr == NULL || target->backend == NULL) {
        return NULL;
    }
    return affinity_find(backend_state_endpoints(target->backend->state), &affinity->key, tag);
}

static const struct snap_target *target_of_cookie(const struct request *request)
{
    const struct snap_rule *rule = request->rule;
    for (size_t i = 0; i < rule->target_count; i++) {
        const struct snap_target *target = &rule->targets[i];
        if (target->weight > 0 && endpoint_of_cookie(request, target) != NULL) {
            return target;
        }
    }
    return NULL;
}

// False: the request has no session.
static bool session_hash(const struct request *request, uint64_t *ret)
{
    const struct http_header *field = field_of(request, request->rule->affinity->header);
    if (field == NULL || field->value.len == 0) {
        return false;
    }
    *ret = affinity_hash(field->value);
    return true;
}

const struct snap_target *filters_draw_target(const struct request *request)
{
    const struct snap_rule *rule = request->rule;
    uint64_t draw = rand_u64(&request->worker->rng);
    if (UNLIKELY(rule->affinity != NULL) && rule->target_count > 1) {
        if (rule->affinity->header.len != 0) {
            (void)session_hash(request, &draw);
        } else {
            const struct snap_target *own = target_of_cookie(request);
            if (own != NULL) {
                return own;
            }
        }
    }
    return snapshot_draw_target(rule, draw);
}

const struct affinity *filters_session(const struct request *request,
                                       const struct snap_target *target, struct affinity *store)
{
    const struct snap_affinity *affinity = request->rule->affinity;
    if (request->role == REQUEST_MIRROR) {
        return NULL;
    }
    *store = (struct affinity){.by_hash = affinity->header.len != 0};
    if (store->by_hash) {
        return session_hash(request, &store->hash) ? store : NULL;
    }
    store->wanted = endpoint_of_cookie(request, target);
    return store->wanted != NULL ? store : NULL;
}

// A client without a cookie of this backend gets one for the endpoint that serves it. One whose
// endpoint is there but was passed over keeps it, and comes back. A fallback is no home, nor is an
// endpoint that was removed while it answered.
static void write_cookie(const struct request *request, struct strbuf *out)
{
    const struct snap_affinity *affinity = request->rule->affinity;
    char tag[AFFINITY_TAG_LEN];
    if (affinity->cookie_name.len == 0 || request->on_fallback ||
        request->reservation.endpoint == NULL || request->target == NULL ||
        endpoint_of_cookie(request, request->target) != NULL) {
        return;
    }
    affinity_tag(&affinity->key, request->reservation.endpoint, tag);
    if (affinity_find(backend_state_endpoints(request->target->backend->state), &affinity->key,
                      slice_of(tag, sizeof(tag))) == NULL) {
        return;
    }
    bool secure = affinity->cookie_secure || slice_eq(request_scheme(request), SLICE("https"));
    strbuf_add(out, SLICE("set-cookie: "));
    strbuf_add(out, affinity->cookie_name);
    strbuf_add_char(out, '=');
    strbuf_add(out, slice_of(tag, sizeof(tag)));
    strbuf_add(out, affinity->cookie_attributes);
    strbuf_add(out, secure ? SLICE("; Secure\r\n") : SLICE("\r\n"));
}

// ---- on the way to the client -----------------------------------------------------------------

bool filters_drop_answer(const struct request *request, struct slice name)
{
    const struct snap_rule *rule = request->rule;
    return (rule != NULL && header_edit_drops(rule->response_edit, name)) ||
           (request->cors != NULL && cors_owns(name));
}

void filters_write_answer(const struct request *request, struct strbuf *out)
{
    const struct snap_rule *rule = request->rule;
    if (rule != NULL && rule->response_edit != NULL) {
        write_fields(rule->response_edit->adds, rule->response_edit->add_count, out);
    }
    if (rule != NULL && rule->affinity != NULL) {
        write_cookie(request, out);
    }
    if (request->cors != NULL) {
        const struct http_header *origin = field_of(request, SLICE("origin"));
        struct cors_fields fields;
        cors_answer(request->cors, origin != NULL ? origin->value : SLICE_NULL, &fields);
        write_fields(fields.items, fields.count, out);
    }
}
