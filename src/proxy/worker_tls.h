// What a worker has for TLS: made when first needed, brought in line with the configuration.
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "base/macros.h"
#include "observe/metrics.h"
#include "tls/client.h"
#include "tls/fault.h"
#include "tls/server.h"
#include "tls/worker.h"

struct worker;

struct worker_tls {
    struct tls_worker *worker; // NULL: nobody has needed TLS yet
    struct tls_server *server;
    struct tls_client *client;
    uint64_t generation;  // of the snapshot for which contexts were last looked through
    uint64_t said_ms;     // when the current burst of log lines began
    unsigned said;        // lines of it
};

// For a worker with a TLS listener. 0 or negative.
MUST_CHECK int worker_tls_start_server(struct worker *worker, struct error *err);
void worker_tls_fini(struct worker *worker);

// For a connection to a server. NULL: *err says why.
struct tls_client *worker_tls_client(struct worker *worker, struct error *err);

// Now and then: lets go of what was made for certificates that the snapshot does not have any more.
void worker_tls_refresh(struct worker *worker);

// A handshake failed: counts it, and logs it unless there were many just now. peer: whose.
void worker_tls_failed(struct worker *worker, enum metric_tls_side side, enum tls_fault fault,
                       const char *peer, const char *text);
