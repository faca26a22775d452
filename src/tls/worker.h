// What a thread needs for TLS: an OpenSSL library context of its own, so that nothing that OpenSSL
// looks up or counts is shared with another thread, and the buffers that all its connections use
// in turn. Servers (tls/server.h), clients (tls/client.h) and connections (tls/conn.h) of a worker
// are used by its thread only.
#pragma once

#include "base/error.h"
#include "base/macros.h"

struct tls_worker;

// 0 or negative.
MUST_CHECK int tls_worker_new(struct tls_worker **ret_worker, struct error *err);

// After everything that was made with it. NULL is fine.
void tls_worker_free(struct tls_worker *worker);
