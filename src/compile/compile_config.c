// What a ModelBackend says about its endpoints beside where they are: scraping and health.
#include <string.h>

#include "compile/compile.h"

static void copy_text(char *to, size_t size, struct slice from)
{
    size_t n = MIN_OF(from.len, size - 1);
    memset(to, 0, size);
    if (n > 0) {
        memcpy(to, from.ptr, n);
    }
}

static enum endpoint_scheme scheme_of(int scheme)
{
    static const enum endpoint_scheme schemes[] = {
        [BACKEND_SCHEME_UNSET] = ENDPOINT_SCHEME_DEFAULT,
        [BACKEND_SCHEME_HTTP] = ENDPOINT_SCHEME_HTTP,
        [BACKEND_SCHEME_HTTPS] = ENDPOINT_SCHEME_HTTPS,
    };
    return schemes[scheme];
}

void compile_scrape_config(const struct modelbackend_spec *spec, struct scrape_config *ret)
{
    const struct backend_metrics *metrics = spec->metrics;
    memset(ret, 0, sizeof(*ret)); // padding too: configurations are compared as bytes
    ret->engine = (enum engine)spec->engine;
    ret->is_tls = spec->tls != NULL;
    ret->scheme = scheme_of(metrics->scheme);
    ret->port = (uint16_t)metrics->port;
    ret->interval_ms = (uint32_t)metrics->interval_ms;
    ret->stale_after_ms = (uint32_t)metrics->stale_after_ms;
    copy_text(ret->path, sizeof(ret->path), metrics->path);
    if (metrics->mapping != NULL) {
        copy_text(ret->map_waiting, sizeof(ret->map_waiting), metrics->mapping->waiting);
        copy_text(ret->map_running, sizeof(ret->map_running), metrics->mapping->running);
        copy_text(ret->map_kv, sizeof(ret->map_kv), metrics->mapping->kv_utilization);
    }
}

static void copy_check(const struct backend_active_check *active, struct health_config *ret)
{
    ret->active = true;
    ret->check_connects = active->type == BACKEND_CHECK_TCP;
    ret->check_scheme = (uint8_t)scheme_of(active->scheme);
    ret->check_port = (uint16_t)active->port;
    ret->check_interval_ms = (uint32_t)active->interval_ms;
    ret->check_timeout_ms = (uint32_t)active->timeout_ms;
    ret->healthy_threshold = (uint32_t)active->healthy_threshold;
    ret->unhealthy_threshold = (uint32_t)active->unhealthy_threshold;
    copy_text(ret->check_path, sizeof(ret->check_path), active->path);
}

void compile_health_config(const struct modelbackend_spec *spec, struct health_config *ret)
{
    const struct backend_outlier *outlier = spec->health->outlier;
    memset(ret, 0, sizeof(*ret)); // as above
    ret->consecutive_errors = (uint32_t)outlier->consecutive_errors;
    ret->eject_for_ms = (uint32_t)outlier->eject_for_ms;
    ret->max_eject_for_ms = (uint32_t)outlier->max_eject_for_ms;
    ret->max_ejected_percent = (uint32_t)outlier->max_ejected_percent;
    ret->interval_ms = (uint32_t)outlier->interval_ms;
    ret->min_requests = (uint32_t)outlier->min_requests;
    ret->error_percent = (uint32_t)outlier->error_percent;
    ret->slow_factor = (uint32_t)outlier->slow_factor;
    ret->panic_percent = (uint32_t)spec->balancing->panic_threshold;
    ret->slow_start_ms = (uint32_t)spec->balancing->slow_start_ms;
    if (spec->health->active != NULL) {
        copy_check(spec->health->active, ret);
    }
}
