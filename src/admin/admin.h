// The admin face: probes, metrics, and what the instance knows and decided. Unencrypted, for a
// loopback or pod address; no route of the data plane can reach it. It only reads, but for the log
// level, which only the same machine or pod may change.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/error.h"
#include "endpoint/endpoint.h"
#include "event/epoch.h"
#include "observe/decision.h"
#include "observe/metrics.h"
#include "proxy/proxy.h"
#include "snapshot/publish.h"

struct admin_config {
    struct sockaddr_storage address;
    socklen_t address_len;
    const char *version;
    struct epoch *epoch; // one reader is added
    struct publisher *publisher;
    struct endpoint_table *endpoints;
    struct metrics *metrics;
    struct decisions *decisions;
    struct proxy *proxy; // must outlive the admin; NULL: its state is not shown
    uint64_t started_ms; // of the instance, monotonic
    // May the instance get traffic? If not, why (a short text). Called on the admin thread.
    bool (*ready)(void *arg, char *why, size_t why_size);
    void *ready_arg;
};

struct admin;

// Listens and serves on a thread of its own. The config is copied, what it points to must outlive
// the admin.
MUST_CHECK int admin_start(const struct admin_config *config, struct admin **ret_admin,
                           struct error *err);

// The port that is bound (for port 0).
uint16_t admin_port(const struct admin *admin);

void admin_stop(struct admin *admin);
