#include "proxy/upstream.h"

#include <errno.h>

#include "proxy/request.h"
#include "proxy/upstream_h1.h"
#include "proxy/upstream_h2.h"
#include "proxy/worker.h"

bool upstream_speaks_http2(const struct request *request)
{
    return request->target->backend->protocol == SNAP_PROTOCOL_HTTP2;
}

static struct exchange *open_any(struct worker *worker, struct endpoint *endpoint,
                                 struct request *request, int *ret_errno)
{
    return upstream_speaks_http2(request) ? upstream_h2_open(worker, endpoint, request, ret_errno)
                                          : upstream_h1_open(worker, endpoint, request, ret_errno);
}

struct exchange *upstream_open(struct worker *worker, struct endpoint *endpoint,
                               struct request *request, int *ret_errno)
{
    if (address_guard_check(worker->config->endpoints->guard, &endpoint->address) !=
        ADDRESS_ORDINARY) {
        *ret_errno = EACCES;
        return NULL;
    }
    struct exchange *exchange = open_any(worker, endpoint, request, ret_errno);
    if (exchange == NULL && (*ret_errno == EMFILE || *ret_errno == ENFILE)) {
        upstream_sweep_idle(worker, true); // what idles makes room for what is wanted
        *ret_errno = 0;
        exchange = open_any(worker, endpoint, request, ret_errno);
    }
    return exchange;
}

struct exchange *upstream_reuse(struct worker *worker, const struct endpoint *endpoint,
                                struct request *request)
{
    return upstream_speaks_http2(request) ? upstream_h2_reuse(worker, endpoint, request)
                                          : upstream_h1_reuse(worker, endpoint, request);
}

void upstream_sweep_idle(struct worker *worker, bool all)
{
    upstream_h1_sweep(worker, all);
    upstream_h2_sweep(worker, all);
}
