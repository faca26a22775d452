// The credentials of the moment: tokens and certificates that change on disk, and those that a
// program hands out. One for a client; the loop's thread only.
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "base/list.h"
#include "base/macros.h"
#include "base/slice.h"
#include "event/loop.h"
#include "kube/config.h"

struct kube_auth;

// Borrowed until the next call into the same kube_auth. Empty slices are absent.
struct kube_credentials {
    struct slice token;
    struct slice ca_pem;
    struct slice cert_pem;
    struct slice key_pem;
    uint64_t serial; // changes with every renewal that kube_auth_reject caused
};

// rc 0: call kube_auth_get again. Negative: no credentials to be had now; err says why.
typedef void kube_auth_ready(int rc, const struct error *err, void *arg);

// Embedded in who waits; zero-initialised is idle.
struct kube_auth_waiter {
    struct list_node node;
    kube_auth_ready *ready;
    void *arg;
    bool is_waiting;
};

// config is borrowed. 0 or -ENOMEM.
MUST_CHECK int kube_auth_new(struct loop *loop, const struct kube_config *config,
                             struct kube_auth **ret_auth);
// Ends a running program. Nobody may be waiting any more. NULL is fine.
void kube_auth_free(struct kube_auth *auth);

// 0 with *ret; -EINPROGRESS when a program must run first: then wait. Another negative code when a
// file that the configuration names cannot be read, or when the program failed a moment ago (it is
// not started more than once a second).
MUST_CHECK int kube_auth_get(struct kube_auth *auth, struct kube_credentials *ret,
                             struct error *err);

// ready comes once, never from inside this call.
void kube_auth_wait(struct kube_auth *auth, struct kube_auth_waiter *waiter, kube_auth_ready *ready,
                    void *arg);
void kube_auth_wait_cancel(struct kube_auth_waiter *waiter);

// The API server answered 401 to the credentials with that serial: fetch them anew. Ignored when
// they were renewed since.
void kube_auth_reject(struct kube_auth *auth, uint64_t serial);

// TLS failed: the authority or the client certificate may be new on disk. Read them again next
// time.
void kube_auth_reread_certificates(struct kube_auth *auth);
