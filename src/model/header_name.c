#include "model/header_name.h"

// The CRD's CEL rule has the same list.
static const struct slice ours[] = {
    SLICE("accept-encoding"),
    SLICE("connection"),
    SLICE("content-length"),
    SLICE("expect"),
    SLICE("forwarded"),
    SLICE("host"),
    SLICE("keep-alive"),
    SLICE("proxy-authenticate"),
    SLICE("proxy-authorization"),
    SLICE("proxy-connection"),
    SLICE("te"),
    SLICE("traceparent"),
    SLICE("trailer"),
    SLICE("transfer-encoding"),
    SLICE("upgrade"),
    SLICE("x-real-ip"),
    SLICE("x-request-id"),
};

bool header_name_is_ours(struct slice name)
{
    struct slice forwarded = SLICE("x-forwarded-");
    for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
        if (slice_ieq(ours[i], name)) {
            return true;
        }
    }
    return slice_ieq(slice_first(name, forwarded.len), forwarded);
}
