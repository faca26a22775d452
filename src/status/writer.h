// Writes wanted statuses to the API server: only what differs from what the server has, one write
// at a time for an object, the newest wish only, slower while it fails.
//
// What others undo is written again at growing intervals, up to five minutes.
//
// Writes are server-side applies of the status subresource under a field manager of our own, so
// that conditions of others stay and nothing but status is ever touched, each for the version that
// was looked at. The control thread only.
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"
#include "base/slice.h"
#include "compile/status.h"
#include "event/loop.h"
#include "kube/api.h"

struct status_writer;

struct status_writer_options {
    // The object as the server was last heard to have it (borrowed for the call), or NULL.
    struct json_object *(*current)(void *arg, enum object_kind kind, struct slice namespace,
                                   struct slice name);
    void *arg;
    uint32_t settle_ms;   // waited after a wish, so that several become one; 0 = 100
    uint32_t interval_ms; // between two writes of one object, at least; 0 = 1000
};

struct status_writer_counters {
    uint64_t wishes;
    uint64_t written;   // withdrawals among them
    uint64_t unchanged; // the server had it already
    uint64_t conflicts;
    uint64_t undone;    // found changed by others, and to be written again
    uint64_t refused;   // 403, 422: nothing that waiting mends
    uint64_t failed;    // everything else
    uint64_t pending;   // now
};

MUST_CHECK int status_writer_new(struct loop *loop, struct kube_api *api,
                                 const struct status_writer_options *options,
                                 struct status_writer **ret_writer);
// Drops what is not written. NULL is fine.
void status_writer_free(struct status_writer *writer);

// The status of an AIRoute or ModelBackend shall be this; copied. Replaces an earlier wish. 0 or
// -ENOMEM.
MUST_CHECK int status_writer_want(struct status_writer *writer, const struct object_status *status);

// The object is not ours any more: takes back, once, what was written of it, unless somebody else
// has written a status since. A later wish goes before. Of an object without a wish: nothing.
void status_writer_withdraw(struct status_writer *writer, enum object_kind kind,
                            struct slice namespace, struct slice name);

// The object is gone.
void status_writer_gone(struct status_writer *writer, enum object_kind kind, struct slice namespace,
                        struct slice name);

// Only the leader writes. While closed, wishes are kept (the newest for each object) and written
// once it opens. Open at first, and for good until there is leader election.
void status_writer_set_open(struct status_writer *writer, bool is_open);

void status_writer_counters(const struct status_writer *writer, struct status_writer_counters *ret);
