// How backends are judged, what the control plane knows of their endpoints, and names for pages.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "endpoint/endpoint.h"

static const struct {
    const char *label;
    const char *text;
} reasons[HEALTH_REASON_COUNT] = {
#define X(name, label_, text_) [HEALTH_REASON_##name] = {.label = label_, .text = text_},
    HEALTH_REASON_TABLE(X)
#undef X
};

const char *health_reason_label(enum health_reason reason)
{
    return reasons[reason].label;
}

const char *health_reason_text(enum health_reason reason)
{
    return reasons[reason].text;
}

void health_config_default(struct health_config *ret_config)
{
    memset(ret_config, 0, sizeof(*ret_config));
    ret_config->consecutive_errors = 5;
    ret_config->eject_for_ms = 30000;
    ret_config->max_eject_for_ms = 300000;
    ret_config->max_ejected_percent = 50;
    ret_config->interval_ms = 10000;
    ret_config->min_requests = 20;
    ret_config->error_percent = 30;
    ret_config->slow_factor = 5;
    ret_config->panic_percent = 50;
}

int backend_state_judge_by(struct backend_state *backend, const struct health_config *config)
{
    struct endpoint_table *table = backend->table;
    struct health_config *old = atomic_load_explicit(&backend->health, memory_order_relaxed);
    if (memcmp(old, config, sizeof(*config)) == 0) {
        return 0;
    }
    struct health_config *next = malloc(sizeof(*next));
    if (next == NULL) {
        return -ENOMEM;
    }
    memcpy(next, config, sizeof(*next));
    pthread_mutex_lock(&table->lock);
    // Release pairs with the acquire in backend_state_health.
    atomic_store_explicit(&backend->health, next, memory_order_release);
    pthread_mutex_unlock(&table->lock);
    epoch_retire(table->epoch, free, old);
    atomic_fetch_add_explicit(&table->version, 1, memory_order_release);
    return 0;
}

static bool is_for(const struct endpoint *endpoint, const struct endpoint_spec *spec)
{
    struct slice pod = slice_first(spec->pod, sizeof(endpoint->pod) - 1);
    return endpoint->address_len == spec->address_len &&
           memcmp(&endpoint->address, &spec->address, spec->address_len) == 0 &&
           (pod.len == 0 || slice_eq_str(pod, endpoint->pod));
}

void backend_state_mark_terminating(struct backend_state *backend,
                                    const struct endpoint_spec *specs, size_t count)
{
    list_for_each(&backend->gone, node) {
        struct endpoint *endpoint = container_of(node, struct endpoint, gone_node);
        for (size_t i = 0; i < count; i++) {
            if (is_for(endpoint, &specs[i])) {
                health_set_terminating(endpoint, true);
            }
        }
    }
}

const char *health_state_name(const struct endpoint *endpoint, uint64_t now_ms)
{
    const struct endpoint_health *health = &endpoint->health;
    uint32_t flags = atomic_load_explicit(&endpoint->health_flags, memory_order_relaxed);
    uint64_t ejected = atomic_load_explicit(&health->ejected_until_ms, memory_order_relaxed);
    uint64_t leaving = atomic_load_explicit(&health->leaving_until_ms, memory_order_relaxed);
    if ((flags & HEALTH_EJECTED) != 0 && ejected > now_ms) {
        return "ejected";
    }
    if ((flags & HEALTH_UNHEALTHY) != 0) {
        return "unhealthy";
    }
    if ((flags & HEALTH_LEAVING) != 0 && leaving > now_ms) {
        return "leaving";
    }
    if ((flags & HEALTH_REFUSING) != 0 && leaving > now_ms) {
        return "refusing";
    }
    return (flags & HEALTH_WARMING) != 0 && health_warmth(endpoint, now_ms) < 1 ? "warming" : "ok";
}
