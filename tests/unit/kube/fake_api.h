// A scripted API for tests: remembers the calls that run and lets the test answer them.
#pragma once

#include "kube/api.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct kube_call {
    struct kube_call_options options;
    kube_call_done *done;
    void *arg;
    char *path;
    char *body;
    bool open;
};

struct fake_api {
    struct kube_api api;
    struct kube_call *calls[64];
    size_t n_open;
    int n_started;
    int n_cancelled;
};

static int fake_start(struct kube_api *api, const struct kube_call_options *options,
                      kube_call_done *done, void *arg, struct kube_call **ret_call)
{
    struct fake_api *fake = container_of(api, struct fake_api, api);
    struct kube_call *call = calloc(1, sizeof(*call));
    assert_non_null(call);
    *call = (struct kube_call){.options = *options, .done = done, .arg = arg, .open = true};
    call->path = strdup(options->path);
    call->body = options->body.ptr != NULL ? slice_dup(options->body) : NULL;
    assert_true(fake->n_open < ARRAY_LEN(fake->calls));
    fake->calls[fake->n_open++] = call;
    fake->n_started++;
    *ret_call = call;
    return 0;
}

static void fake_forget(struct fake_api *fake, struct kube_call *call)
{
    for (size_t i = 0; i < fake->n_open; i++) {
        if (fake->calls[i] == call) {
            memmove(&fake->calls[i], &fake->calls[i + 1],
                    (fake->n_open - i - 1) * sizeof(fake->calls[0]));
            fake->n_open--;
            free(call->path);
            free(call->body);
            free(call);
            return;
        }
    }
    fail_msg("a call that does not run");
}

static void fake_cancel(struct kube_api *api, struct kube_call *call)
{
    struct fake_api *fake = container_of(api, struct fake_api, api);
    fake->n_cancelled++;
    fake_forget(fake, call);
}

static void fake_api_init(struct fake_api *fake)
{
    *fake = (struct fake_api){.api = {.start = fake_start, .cancel = fake_cancel}};
}

// The only call that runs.
static struct kube_call *fake_call(struct fake_api *fake)
{
    if (fake->n_open != 1) {
        fail_msg("%zu calls run", fake->n_open);
    }
    return fake->calls[0];
}

// Ends a call; what done starts runs afterwards.
static void fake_end(struct fake_api *fake, struct kube_call *call,
                     const struct kube_response *response)
{
    kube_call_done *done = call->done;
    void *arg = call->arg;
    fake_forget(fake, call);
    done(response, arg);
}

static int UNUSED fake_send(struct kube_call *call, const char *bytes)
{
    return call->options.on_data(slice_of_str(bytes), call->arg);
}

static void UNUSED fake_fail(struct fake_api *fake, int rc)
{
    struct kube_response response = {.rc = rc, .reason = "", .text = "it failed"};
    fake_end(fake, fake_call(fake), &response);
}

static void UNUSED fake_status(struct fake_api *fake, long status, const char *reason,
                               uint64_t retry_after_ms)
{
    struct kube_response response = {.status = status, .reason = reason, .text = reason,
                                     .retry_after_ms = retry_after_ms};
    fake_end(fake, fake_call(fake), &response);
}
