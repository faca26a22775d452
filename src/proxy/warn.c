#include "proxy/warn.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "proxy/fault.h"
#include "proxy/request.h"
#include "proxy/worker.h"

// The others are what clients do, or say nothing about us and the pods.
static bool is_ours(enum fault fault)
{
    switch (fault) {
    case FAULT_BACKEND_UNRESOLVED:
    case FAULT_NO_ENDPOINT:
    case FAULT_OVERLOADED:
    case FAULT_CONNECT_FAILED:
    case FAULT_UPSTREAM_RESET:
    case FAULT_UPSTREAM_PROTOCOL:
    case FAULT_UPSTREAM_ERROR:
    case FAULT_CONNECT_TIMEOUT:
    case FAULT_FIRST_TOKEN_TIMEOUT:
    case FAULT_BETWEEN_TOKENS_TIMEOUT:
    case FAULT_ENDPOINT_FORBIDDEN:
    case FAULT_BUFFERS_FULL:
    case FAULT_MEMORY_LIMIT:
    case FAULT_INTERNAL:
        return true;
    default:
        return false;
    }
}

// What a client does who wears us out, or is broken.
static bool is_clients(enum fault fault)
{
    return fault == FAULT_HEADER_TIMEOUT || fault == FAULT_BODY_TIMEOUT ||
           fault == FAULT_CLIENT_STALLED || fault == FAULT_BODY_TOO_LARGE ||
           fault == FAULT_INVALID_JSON || fault == FAULT_DUPLICATE_KEY;
}

static void warn_client(const struct request *request)
{
    static const char message[] = "client refused or cut";
    struct worker *worker = request->worker;
    const char *label = fault_label(request->fault);
    if (log_limit_allows(&worker->warnings, LOG_LEVEL_INFO, message, slice_of_str(label),
                         worker_now_ms(worker))) {
        log_info(message, LOG_STR("outcome", label), LOG_STR("client", request->client->peer),
                 LOG_SLICE("request_id", request->id));
    }
}

// A message that is no HTTP may be an attack, or a client to be repaired.
static void warn_refused(const struct request *request)
{
    static const char message[] = "message refused";
    struct worker *worker = request->worker;
    struct slice reason = slice_of_str(http_reject_label(request->reject));
    if (log_limit_allows(&worker->warnings, LOG_LEVEL_INFO, message, reason,
                         worker_now_ms(worker))) {
        log_info(message, LOG_SLICE("reason", reason), LOG_STR("client", request->client->peer),
                 LOG_SLICE("request_id", request->id));
    }
}

void warn_request(const struct request *request)
{
    static const char message[] = "request failed";
    struct worker *worker = request->worker;
    if (request->reject != HTTP_REJECT_NONE) {
        warn_refused(request);
        return;
    }
    if (is_clients(request->fault)) {
        warn_client(request);
        return;
    }
    if (!is_ours(request->fault)) {
        return;
    }
    char key[LOG_LIMIT_KEY_MAX];
    const char *label = fault_label(request->fault);
    const struct snap_target *target = request->target;
    struct slice backend =
        target != NULL && target->backend != NULL ? target->backend->key : SLICE("none");
    struct slice route = request->rule != NULL ? request->rule->route_key : SLICE("none");
    snprintf(key, sizeof(key), "%s %.*s", label, SLICE_FMT(slice_first(backend, 64)));
    if (log_limit_allows(&worker->warnings, LOG_LEVEL_WARN, message, slice_of_str(key),
                         worker_now_ms(worker))) {
        log_warn(message, LOG_STR("outcome", label), LOG_SLICE("route", route),
                 LOG_SLICE("backend", backend), LOG_SLICE("endpoint", request->endpoint_text),
                 LOG_U64("attempts", request->attempts), LOG_SLICE("request_id", request->id));
    }
}

void warn_flood(struct worker *worker, const char *client)
{
    static const char message[] = "HTTP/2 connection ended: it sent too much that moves nothing on";
    if (log_limit_allows(&worker->warnings, LOG_LEVEL_WARN, message, slice_of_str(client),
                         worker_now_ms(worker))) {
        log_warn(message, LOG_STR("client", client));
    }
}

void warn_accept(struct worker *worker, int error)
{
    static const char message[] = "client connections cannot be accepted";
    if (log_limit_allows(&worker->warnings, LOG_LEVEL_WARN, message, SLICE_NULL,
                         worker_now_ms(worker))) {
        log_warn(message, LOG_STR("error", strerror(error)), LOG_U64("worker", worker->index));
    }
}

void warn_turned_away(struct worker *worker, const char *reason, const char *client)
{
    static const char message[] = "client connection turned away";
    if (log_limit_allows(&worker->warnings, LOG_LEVEL_WARN, message, slice_of_str(reason),
                         worker_now_ms(worker))) {
        log_warn(message, LOG_STR("reason", reason), LOG_STR("client", client),
                 LOG_U64("worker", worker->index));
    }
}
