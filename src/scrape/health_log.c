#include "scrape/health_log.h"

#include <stdio.h>

#include "base/log.h"
#include "endpoint/endpoint.h"

static const char *const messages[] = {
    [HEALTH_CHANGE_EJECTED] = "endpoint ejected",
    [HEALTH_CHANGE_RETURNED] = "endpoint is back after its ejection",
    [HEALTH_CHANGE_LEAVING] = "endpoint says that it shuts down, it gets no new requests",
    [HEALTH_CHANGE_UNHEALTHY] = "endpoint fails its health checks",
    [HEALTH_CHANGE_HEALTHY] = "endpoint passes its health checks again",
    [HEALTH_CHANGE_PANIC] =
        "so few endpoints are available that ejections and health checks are ignored",
    [HEALTH_CHANGE_CALM] = "enough endpoints are available again",
};

void health_log_take(void *arg, const struct health_event *event)
{
    struct health_log *log = arg;
    if (log->count == HEALTH_LOG_LINES_MAX) {
        log->suppressed++;
        return;
    }
    struct health_log_line *line = &log->lines[log->count++];
    *line = (struct health_log_line){.change = event->change, .reason = event->reason,
                                     .for_ms = event->for_ms, .times = event->times};
    snprintf(line->backend, sizeof(line->backend), "%s", event->backend->key);
    if (event->endpoint != NULL) {
        snprintf(line->endpoint, sizeof(line->endpoint), "%s", event->endpoint->text);
        snprintf(line->pod, sizeof(line->pod), "%s", event->endpoint->pod);
        snprintf(line->problem, sizeof(line->problem), "%s", event->endpoint->check_problem);
    }
}

static void write_line(const struct health_log_line *line, uint64_t suppressed)
{
    struct log_field fields[7];
    size_t n = 0;
    fields[n++] = LOG_STR("backend", line->backend);
    if (line->endpoint[0] != '\0') {
        fields[n++] = LOG_STR("endpoint", line->endpoint);
    }
    if (line->pod[0] != '\0') {
        fields[n++] = LOG_STR("pod", line->pod);
    }
    if (line->change == HEALTH_CHANGE_EJECTED) {
        fields[n++] = LOG_STR("reason", health_reason_text(line->reason));
        fields[n++] = LOG_U64("for_ms", line->for_ms);
        fields[n++] = LOG_U64("in_row", line->times);
    }
    if (line->change == HEALTH_CHANGE_UNHEALTHY && line->problem[0] != '\0') {
        fields[n++] = LOG_STR("reason", line->problem);
    }
    if (suppressed > 0) {
        fields[n++] = LOG_U64("suppressed", suppressed);
    }
    bool bad = line->change == HEALTH_CHANGE_PANIC;
    enum log_level level = bad ? LOG_LEVEL_WARN : LOG_LEVEL_INFO;
    if (level >= log_current_level()) {
        log_write(level, messages[line->change], fields, n);
    }
}

void health_log_flush(struct health_log *log, uint64_t now_ms)
{
    if (now_ms - log->while_began_ms >= HEALTH_LOG_WHILE_MS) {
        log->while_began_ms = now_ms;
        log->written = 0;
    }
    for (size_t i = 0; i < log->count; i++) {
        if (log->written == HEALTH_LOG_LINES_MAX) {
            log->suppressed++;
            continue;
        }
        log->written++;
        write_line(&log->lines[i], log->suppressed);
        log->suppressed = 0;
    }
    log->count = 0;
}
