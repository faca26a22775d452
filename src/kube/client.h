// A client of one API server over libcurl: credentials renewed when they are refused, connections
// reused, errors read from Status objects. HTTP/1.1, so that a watch that stalls holds up no other.
#pragma once

#include "base/error.h"
#include "base/macros.h"
#include "event/loop.h"
#include "kube/api.h"
#include "kube/config.h"
#include "net/curl_loop.h"

struct kube_client;

// Takes config over (also on failure). The loops are borrowed. 0 or -ENOMEM.
MUST_CHECK int kube_client_new(struct loop *loop, struct curl_loop *curl,
                               struct kube_config *config, const char *user_agent,
                               struct kube_client **ret_client, struct error *err);

// Cancels every call. Not from inside a callback of the client. NULL is fine.
void kube_client_free(struct kube_client *client);

struct kube_api *kube_client_api(struct kube_client *client);

// Reads a Status object, as an error's body or as the object of a watch's ERROR event. Fields of
// *ret that the object does not say stay as they are; the strings are the object's. False when it
// is no Status.
struct kube_status {
    long code;
    const char *reason;
    const char *message;
    bool too_large_version;
    uint64_t retry_after_ms;
};
bool kube_status_read(struct json_object *object, struct kube_status *ret);
