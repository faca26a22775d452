// What the rest of the Kubernetes half needs from a client: start a call, cancel it. The real one
// is kube/client.h; tests put a scripted one in its place.
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/macros.h"
#include "base/slice.h"

struct kube_api;
struct kube_call;

// How a call ended. Everything is borrowed for the time of the callback.
struct kube_response {
    int rc;                   // 0 when the server answered; else -errno: -ECONNREFUSED, -ETIMEDOUT,
                              // -ECONNRESET, -EHOSTUNREACH, -EPROTO (TLS), -EACCES (no
                              // credentials), -EIO …, or what on_data returned
    long status;              // of HTTP; 0 when rc != 0 and no head came
    struct json_object *body; // of an answer without on_data: the object, or NULL
    const char *reason;       // of a Status object: "NotFound", "Expired" …; "" when there is none
    bool too_large_version;   // Status cause ResourceVersionTooLarge
    uint64_t retry_after_ms;  // 0 = the server asked for nothing
    const char *text;         // for people, when rc != 0 or status >= 300; never holds a secret
};

typedef void kube_call_done(const struct kube_response *response, void *arg);

// The head of a 2xx answer came.
typedef void kube_call_open(void *arg);

// Bytes of a 2xx answer's body as they come. Negative ends the call with that rc. Must not cancel
// the call.
typedef int kube_call_data(struct slice bytes, void *arg);

struct kube_call_options {
    const char *method;
    const char *path;         // with its query, from the root of the API: "/api/v1/services?…"
    const char *content_type; // of body
    struct slice body;
    kube_call_open *on_open;  // may be NULL; must not cancel the call
    kube_call_data *on_data;  // NULL: the body is collected (up to 16 MiB) and parsed
    uint64_t timeout_ms;      // for the whole call; 0 = none
    uint64_t stall_ms;        // without a byte; 0 = none. Whole seconds.
};

struct kube_api {
    int (*start)(struct kube_api *api, const struct kube_call_options *options,
                 kube_call_done *done, void *arg, struct kube_call **ret_call);
    void (*cancel)(struct kube_api *api, struct kube_call *call);
};

// Starts a call; the options are copied. done comes once, never from inside this function, and is
// the call's last callback; it may start others and cancel any other. 0 or -ENOMEM.
MUST_CHECK static inline int kube_api_start(struct kube_api *api,
                                            const struct kube_call_options *options,
                                            kube_call_done *done, void *arg,
                                            struct kube_call **ret_call)
{
    return api->start(api, options, done, arg, ret_call);
}

// done does not come. Not from inside the call's own on_open or on_data. NULL is fine.
static inline void kube_api_cancel(struct kube_api *api, struct kube_call *call)
{
    if (call != NULL) {
        api->cancel(api, call);
    }
}
