#include "proxy/upstream.h"

#include "proxy/upstream_h1.h"

struct exchange *upstream_open(struct worker *worker, struct endpoint *endpoint,
                               struct request *request, int *ret_errno)
{
    return upstream_h1_open(worker, endpoint, request, ret_errno);
}

struct exchange *upstream_reuse(struct worker *worker, const struct endpoint *endpoint,
                                struct request *request)
{
    return upstream_h1_reuse(worker, endpoint, request);
}

void upstream_sweep_idle(struct worker *worker, bool all)
{
    upstream_h1_sweep(worker, all);
}
