// Log lines about health: what health_watch tells, kept while the table's lock is held and written
// after it. So many lines in a while; how many more there were is said with the next one.
#pragma once

#include "endpoint/endpoint.h"
#include "endpoint/health.h"

enum { HEALTH_LOG_LINES_MAX = 20, HEALTH_LOG_WHILE_MS = 10000 };

struct health_log_line {
    enum health_change change;
    char backend[256]; // cut
    char endpoint[64];
    char pod[128];
    enum health_reason reason;
    uint64_t for_ms;
    uint32_t times;
    char problem[ENDPOINT_PROBLEM_MAX]; // why checks fail
};

// Zero-initialised is ready.
struct health_log {
    struct health_log_line lines[HEALTH_LOG_LINES_MAX]; // to be written
    size_t count;
    uint64_t while_began_ms;
    uint32_t written; // in this while
    uint64_t suppressed;
};

// A health_event_fn; `arg` is the log.
void health_log_take(void *arg, const struct health_event *event);

// Writes what was taken.
void health_log_flush(struct health_log *log, uint64_t now_ms);
