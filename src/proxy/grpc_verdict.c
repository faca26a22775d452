#include "proxy/grpc_verdict.h"

#include "http/grpc.h"
#include "proxy/attempt.h"
#include "proxy/hold.h"

// 0: the fields do not say.
static unsigned blamed_by(const struct http_header *fields, size_t count)
{
    const struct http_header *status = http_header_find_name(fields, count, SLICE("grpc-status"));
    return status != NULL ? grpc_status_blames(grpc_status_parse(status->value)) : 0;
}

bool grpc_verdict_on_head(struct request *request, const struct http_response *response,
                          bool *ret_gone)
{
    if (!request->grpc || response->status != 200) {
        return false;
    }
    request->grpc_blames = blamed_by(response->headers, response->header_count);
    request->grpc_due = request->grpc_blames == 0;
    request->grpc_spoke = false;
    *ret_gone = !request->grpc_due && hold_judge(request, request->grpc_blames, SLICE_NULL);
    return true;
}

bool grpc_verdict_on_data(struct request *request, size_t len, bool done)
{
    if (LIKELY(!request->grpc_due)) {
        return false;
    }
    if (len != 0 && !request->grpc_spoke) {
        request->grpc_spoke = true;
        attempt_report(request, HEALTH_REPORT_OK);
    }
    if (!done) {
        return false;
    }
    request->grpc_due = false;
    request->grpc_blames = blamed_by(request->trailers, request->trailer_count);
    // Clients take an end without a status for an error; of the server it says nothing.
    unsigned status = request->grpc_blames != 0 ? request->grpc_blames : 200;
    return (status != 200 || !request->grpc_spoke) && hold_judge(request, status, SLICE_NULL);
}
