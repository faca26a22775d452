#include "proxy/secure.h"

#include <stdio.h>

#include "proxy/client_tls.h"
#include "proxy/reply.h"

static bool is_in_the_clear(const struct request *request)
{
    return slice_eq(request_scheme(request), SLICE("http"));
}

bool secure_redirects(struct request *request, const struct snap_rule *rule)
{
    if (rule->https_port == 0 || !is_in_the_clear(request)) {
        return false;
    }
    const struct http_request *head = &request->head;
    if (head->host.len == 0) {
        reply_fault(request, FAULT_TLS_REQUIRED, SLICE("")); // where to is not known
        return true;
    }
    char port[8] = "";
    if (rule->https_port != 443) {
        snprintf(port, sizeof(port), ":%u", rule->https_port);
    }
    struct slice location = arena_printf(&request->arena, "https://%.*s%s%.*s%s%.*s",
                                         SLICE_FMT(head->host), port, SLICE_FMT(head->path),
                                         head->query.ptr != NULL ? "?" : "",
                                         SLICE_FMT(head->query));
    if (location.ptr == NULL) {
        reply_fault(request, FAULT_INTERNAL, SLICE(""));
    } else {
        reply_redirect(request, 308, location);
    }
    return true;
}

bool secure_admits(struct request *request)
{
    switch (snapshot_admit(request->rule, request->head.host, request->client->who)) {
    case SNAP_ADMIT_YES:
        break;
    case SNAP_ADMIT_NEEDS_TLS:
        reply_fault(request, FAULT_TLS_REQUIRED, SLICE(""));
        return false;
    case SNAP_ADMIT_MISDIRECTED:
        reply_fault(request, FAULT_MISDIRECTED, SLICE(""));
        return false;
    }
    return true;
}

struct slice secure_client_cert(const struct request *request)
{
    const struct stream *client = request->client;
    bool is_told = client->tls != NULL &&
                   snapshot_tells_client(request->rule, request->head.host, client->who);
    return is_told ? client->tls->forwarded : SLICE("");
}

struct slice secure_hsts(const struct request *request)
{
    const struct snap_rule *rule = request->rule != NULL ? request->rule : request->way;
    return rule != NULL && rule->hsts.len != 0 && !is_in_the_clear(request) ? rule->hsts
                                                                            : SLICE_NULL;
}
