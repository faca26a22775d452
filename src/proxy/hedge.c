#include "proxy/hedge.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/multipart.h"
#include "proxy/account.h"
#include "proxy/attempt.h"
#include "proxy/mute_stream.h"
#include "proxy/overload.h"
#include "proxy/worker.h"

// ---- the stream of whom nobody hears -----------------------------------------------------------

// Before it says anything it has the client's stream.
static int refuse(struct stream *stream, const struct stream_output *output)
{
    (void)stream;
    (void)output;
    return -ECANCELED;
}

static void end(struct stream *stream)
{
    stream->worker->hedge_count--;
    free(stream);
}

static const struct stream_ops hedge_stream = {
    .send = refuse,
    .send_interim = mute_send_interim, // the client may have those of the other one
    .blocked = mute_blocked,
    .want_body = mute_want_body,
    .done = mute_done,
    .close = end,
};

// What it knows of the client it has from the client's stream, which lives longer.
static struct stream *stream_new(const struct stream *client)
{
    struct stream *stream = calloc(1, sizeof(*stream));
    if (stream != NULL) {
        stream->ops = &hedge_stream;
        stream->worker = client->worker;
        stream->peer = client->peer;
        stream->who = client->who;
        stream->version = client->version;
        stream->worker->hedge_count++;
    }
    return stream;
}

// ---- the copy -----------------------------------------------------------------------------------

// Absent stays absent. False: out of memory.
static bool dup(struct request *copy, struct slice from, struct slice *ret)
{
    *ret = from.ptr != NULL ? arena_dup(&copy->arena, from) : SLICE_NULL;
    return from.ptr == NULL || ret->ptr != NULL;
}

static bool copy_form(struct request *copy, const struct request *from)
{
    if (from->form == NULL) {
        return true;
    }
    copy->form = ARENA_NEW(&copy->arena, struct multipart_scan);
    if (copy->form != NULL) {
        *copy->form = *from->form;
    }
    return copy->form != NULL;
}

// What a copy for a mirror does without: it may become the request. False: out of memory.
static bool copy_the_rest(struct request *copy, const struct request *from)
{
    copy->cors = from->cors;
    copy->client_keep_alive = from->client_keep_alive;
    copy->body_received = from->body_received;
    copy->body_buffered = from->body_buffered;
    copy->body_scanned = from->body_scanned;
    copy->up_chunked = from->up_chunked;
    copy->fallback_at = from->fallback_at;
    copy->on_fallback = from->on_fallback;
    copy->retries_left = from->retries_left;
    copy->moved = from->moved;
    copy->started_ns = from->started_ns;
    copy->started_wall_ns = from->started_wall_ns;
    copy->deadline_ms = from->deadline_ms;
    copy->token_deadline_ms = from->token_deadline_ms;
    return copy_form(copy, from) && dup(copy, from->body_last, &copy->body_last) &&
           dup(copy, from->path_log, &copy->path_log) &&
           dup(copy, from->host_log, &copy->host_log) &&
           dup(copy, from->method_log, &copy->method_log) &&
           dup(copy, from->user_agent_log, &copy->user_agent_log);
}

static struct request *copy_of(const struct request *request)
{
    struct stream *stream = stream_new(request->client);
    if (stream == NULL) {
        return NULL;
    }
    struct request *copy = request_copy(request, stream, REQUEST_HEDGE);
    if (copy == NULL) {
        end(stream);
        return NULL;
    }
    if (!copy_the_rest(copy, request) || !request_charge(copy)) {
        request_abort(copy, FAULT_INTERNAL);
        return NULL;
    }
    return copy;
}

// ---- sending ------------------------------------------------------------------------------------

// What goes on in both directions is not answered by whoever is first.
static bool is_call(const struct request *request)
{
    return request->head.upgrade.ptr == NULL && !request->grpc;
}

void hedge_schedule(struct request *request)
{
    if (request->role == REQUEST_OF_CLIENT && request->hedged == HEDGED_NOT && is_call(request)) {
        request->hedge_ms = worker_now_ms(request->worker) + request->rule->hedge_delay_ms;
    }
}

// It waits for a server, and all that another one needs is here.
static bool may_be_sent_again(const struct request *request)
{
    return request->hedged == HEDGED_NOT && !request->committed && request->up != NULL &&
           request->input != NULL && request->body_complete && request->body_replayable &&
           request->tried_count + 2 <= REQUEST_TRIED_MAX;
}

// A hedge gives way to requests that have nothing else.
static bool is_room(const struct worker *worker)
{
    const struct overload *overload = worker->config->overload;
    return worker->buffered_bytes <= worker->config->max_buffered_bytes / 2 &&
           (overload == NULL || overload_now(overload) == OVERLOAD_NONE);
}

void hedge_start(struct request *request)
{
    request->hedge_ms = 0;
    if (!may_be_sent_again(request) || !is_room(request->worker)) {
        return;
    }
    struct reservation other = {0};
    if (!attempt_reserve_hedge(request, &other)) {
        return;
    }
    struct request *hedge = copy_of(request);
    if (hedge == NULL) {
        reservation_release(&other);
        return;
    }
    hedge->reservation = other;
    hedge->attempts = request->attempts++; // the hedge adds its own when it is sent
    hedge->tried_count = request->tried_count;
    memcpy(hedge->tried, request->tried, sizeof(hedge->tried));
    request->hedged = HEDGED_SENT;
    hedge->hedged = HEDGED_SENT;
    request->rival = hedge;
    hedge->rival = request;
    account_hedge(request);
    attempt_hedge(hedge, request->target);
}

// ---- which of the two ---------------------------------------------------------------------------

// Each is on its own from here on. Returns the other one.
static struct request *separate(struct request *request)
{
    struct request *rival = request->rival;
    request->rival = NULL;
    rival->rival = NULL;
    return rival;
}

// The hedge becomes the request, and the other way round.
static void change_parts(struct request *hedge, struct request *request)
{
    struct stream *client = request->client;
    request->client = hedge->client;
    request->client->request = request;
    request->role = REQUEST_HEDGE;
    hedge->client = client;
    client->request = hedge;
    hedge->role = REQUEST_OF_CLIENT;
    hedge->hedged = HEDGED_LEADS;
    list_remove(&hedge->node); // the worker has them by age
    list_insert_before(&request->node, &hedge->node);
}

void hedge_win(struct request *request)
{
    struct request *rival = separate(request);
    if (request->role == REQUEST_HEDGE) {
        change_parts(request, rival);
    }
    request_abort(rival, FAULT_NONE);
}

void hedge_give_way(struct request *request)
{
    struct request *rival = separate(request);
    if (rival->role == REQUEST_HEDGE) {
        change_parts(rival, request);
    }
    request_abort(request, FAULT_NONE);
}

bool hedge_yields(struct request *request, uint32_t why)
{
    const struct snap_rule *rule = request->rule;
    if ((rule->retry_on & why) == 0 && request->fallback_at == rule->fallback_count) {
        return false; // nothing would be tried after it
    }
    hedge_give_way(request);
    return true;
}

bool hedge_survives(struct request *request, enum fault fault)
{
    // Other than for want of memory it is the time of both that is over.
    if (request->role == REQUEST_HEDGE || fault == FAULT_INTERNAL) {
        hedge_give_way(request);
        return true;
    }
    hedge_part(request);
    return false;
}

void hedge_part(struct request *request)
{
    struct request *rival = separate(request);
    if (rival->role == REQUEST_HEDGE) {
        request_abort(rival, FAULT_NONE);
    }
}
