#include "endpoint/health.h"

#include "endpoint/endpoint.h"

enum {
    // Long enough to cover a server's last requests, short enough for one that came back on the
    // same address: it is found out by trying.
    LEAVING_MS = 30000,
    WARMTH_LEAST_PERCENT = 10, // below, a pod would hardly be seen to warm up at all
};

// Unless told otherwise atomics are relaxed: they are counts and hints, each meaningful alone.
static uint64_t get_u64(const _Atomic uint64_t *value)
{
    return atomic_load_explicit(value, memory_order_relaxed);
}

static void add_u64(_Atomic uint64_t *value, uint64_t n)
{
    atomic_fetch_add_explicit(value, n, memory_order_relaxed);
}

static uint32_t flags_of(const struct endpoint *endpoint)
{
    return atomic_load_explicit(&endpoint->health_flags, memory_order_relaxed);
}

// ---- leaving ----

// Sequentially consistent, in this order: health_watch takes the bit first and then looks at the
// time again, so that one of the two sees the other.
static void leave_until(struct endpoint *endpoint, enum health_flag flag, uint64_t until_ms)
{
    uint64_t known = atomic_load(&endpoint->health.leaving_until_ms);
    while (known < until_ms && !atomic_compare_exchange_weak(&endpoint->health.leaving_until_ms,
                                                             &known, until_ms)) {
    }
    atomic_fetch_or(&endpoint->health_flags, (uint32_t)flag);
}

bool health_is_leaving(const struct endpoint *endpoint, uint64_t now_ms)
{
    return UNLIKELY((flags_of(endpoint) & (HEALTH_LEAVING | HEALTH_REFUSING)) != 0) &&
           get_u64(&endpoint->health.leaving_until_ms) > now_ms;
}

void health_set_terminating(struct endpoint *endpoint, bool terminating)
{
    if (terminating) {
        leave_until(endpoint, HEALTH_LEAVING, UINT64_MAX);
    } else if (atomic_load(&endpoint->health.leaving_until_ms) == UINT64_MAX) {
        atomic_store(&endpoint->health.leaving_until_ms, 0);
    }
}

// ---- ejection ----

static bool is_ejected(const struct endpoint *endpoint, uint64_t now_ms)
{
    return (flags_of(endpoint) & HEALTH_EJECTED) != 0 &&
           get_u64(&endpoint->health.ejected_until_ms) > now_ms;
}

// Is there room for one more? It must be one of the set: what left it is judged no more.
static bool has_room(const struct endpoint_set *set, const struct endpoint *endpoint,
                     const struct health_config *config, uint64_t now_ms)
{
    size_t ejected = 0;
    bool found = false;
    for (size_t i = 0; i < set->count; i++) {
        ejected += is_ejected(set->items[i], now_ms);
        found = found || set->items[i] == endpoint;
    }
    size_t most = set->count * config->max_ejected_percent / 100;
    if (config->max_ejected_percent > 0) {
        most = MAX_OF(most, (size_t)1);
    }
    return found && ejected < most && ejected + 1 < set->count; // the last one stays
}

static bool says_goodbye(const struct endpoint *endpoint, uint64_t now_ms)
{
    return (flags_of(endpoint) & HEALTH_LEAVING) != 0 &&
           get_u64(&endpoint->health.leaving_until_ms) > now_ms;
}

void health_judge_panic(struct backend_state *backend, uint64_t now_ms)
{
    const struct endpoint_set *set = backend_state_endpoints(backend);
    size_t stay = 0;
    size_t available = 0;
    for (size_t i = 0; i < set->count; i++) {
        const struct endpoint *endpoint = set->items[i];
        if (!says_goodbye(endpoint, now_ms)) { // who goes says nothing about those that stay
            stay++;
            available += (flags_of(endpoint) & HEALTH_UNHEALTHY) == 0 &&
                         !is_ejected(endpoint, now_ms);
        }
    }
    bool panic = available * 100 < stay * backend_state_health(backend)->panic_percent;
    if (atomic_load_explicit(&backend->panic, memory_order_relaxed) != panic) {
        atomic_store_explicit(&backend->panic, panic, memory_order_relaxed);
    }
}

uint64_t health_eject_ms(const struct health_config *config, uint32_t times)
{
    uint64_t longest = MAX_OF(config->max_eject_for_ms, config->eject_for_ms);
    return MIN_OF((uint64_t)config->eject_for_ms * times, longest);
}

static void eject(const struct health_config *config, struct endpoint *endpoint,
                  enum health_reason reason, uint64_t now_ms)
{
    struct endpoint_health *health = &endpoint->health;
    uint32_t times = atomic_load_explicit(&health->times, memory_order_relaxed) + 1;
    atomic_store_explicit(&health->times, times, memory_order_relaxed);
    atomic_store_explicit(&health->reason, (uint32_t)reason, memory_order_relaxed);
    add_u64(&health->ejections[reason], 1);
    atomic_store_explicit(&health->errors_in_row, 0, memory_order_relaxed);
    atomic_store_explicit(&health->ejected_until_ms, now_ms + health_eject_ms(config, times),
                          memory_order_relaxed);
    // Release: who sees the bit sees why and for how long. Partner: the acquire in watch_endpoint.
    atomic_fetch_or_explicit(&endpoint->health_flags, HEALTH_EJECTED, memory_order_release);
}

bool health_eject(struct backend_state *backend, struct endpoint *endpoint,
                  enum health_reason reason, uint64_t now_ms)
{
    // Acquire and release: the counts of ejected endpoints are those of the holder before. Nobody
    // waits: whoever finds it taken leaves it to the next error.
    if (atomic_exchange_explicit(&backend->judging, true, memory_order_acquire)) {
        return false;
    }
    const struct health_config *config = backend_state_health(backend);
    bool out = !is_ejected(endpoint, now_ms) &&
               has_room(backend_state_endpoints(backend), endpoint, config, now_ms);
    if (out) {
        eject(config, endpoint, reason, now_ms);
        health_judge_panic(backend, now_ms);
    }
    atomic_store_explicit(&backend->judging, false, memory_order_release);
    return out;
}

// ---- reports ----

static void count_error(struct backend_state *backend, struct endpoint *endpoint, uint64_t now_ms)
{
    struct endpoint_health *health = &endpoint->health;
    add_u64(&health->answers, 1);
    add_u64(&health->errors, 1);
    uint32_t row =
        atomic_fetch_add_explicit(&health->errors_in_row, 1, memory_order_relaxed) + 1;
    uint32_t limit = backend_state_health(backend)->consecutive_errors;
    if (limit != 0 && row >= limit && !is_ejected(endpoint, now_ms)) {
        health_eject(backend, endpoint, HEALTH_REASON_ERRORS, now_ms);
    }
}

static void count_success(struct endpoint *endpoint)
{
    struct endpoint_health *health = &endpoint->health;
    endpoint_report_success(endpoint);
    add_u64(&health->answers, 1);
    if (UNLIKELY(atomic_load_explicit(&health->errors_in_row, memory_order_relaxed) != 0)) {
        atomic_store_explicit(&health->errors_in_row, 0, memory_order_relaxed);
    }
}

void health_report(struct backend_state *backend, struct endpoint *endpoint,
                   enum health_report report, uint64_t now_ms)
{
    switch (report) {
    case HEALTH_REPORT_OK:
        count_success(endpoint);
        break;
    case HEALTH_REPORT_ERROR:
        endpoint_report_success(endpoint); // it can be reached, and it answers
        count_error(backend, endpoint, now_ms);
        break;
    case HEALTH_REPORT_REFUSED:
        leave_until(endpoint, HEALTH_REFUSING, now_ms + LEAVING_MS);
        endpoint_report_failure(endpoint, now_ms);
        count_error(backend, endpoint, now_ms);
        break;
    case HEALTH_REPORT_RESET:
    case HEALTH_REPORT_TIMEOUT:
    case HEALTH_REPORT_UNREACHED:
        endpoint_report_failure(endpoint, now_ms);
        count_error(backend, endpoint, now_ms);
        break;
    case HEALTH_REPORT_OVERLOADED:
        endpoint_report_reached(endpoint);
        endpoint_report_overloaded(endpoint, now_ms);
        break;
    case HEALTH_REPORT_LEAVING:
        leave_until(endpoint, HEALTH_LEAVING, now_ms + LEAVING_MS);
        add_u64(&endpoint->health.leavings, 1);
        break;
    }
}

void health_report_ttft(struct endpoint *endpoint, uint64_t ttft_ms)
{
    add_u64(&endpoint->health.ttft_count, 1);
    add_u64(&endpoint->health.ttft_sum_ms, ttft_ms);
}

// ---- checks ----

void health_set_checked(struct endpoint *endpoint, bool healthy, uint32_t slow_start_ms,
                        uint64_t now_ms)
{
    if (healthy) {
        atomic_fetch_and(&endpoint->health_flags, ~(uint32_t)HEALTH_UNHEALTHY);
        health_warm(endpoint, slow_start_ms, now_ms);
    } else {
        atomic_fetch_or(&endpoint->health_flags, (uint32_t)HEALTH_UNHEALTHY);
    }
}

// ---- slow start ----

void health_warm(struct endpoint *endpoint, uint32_t slow_start_ms, uint64_t now_ms)
{
    if (slow_start_ms == 0) {
        return;
    }
    atomic_store(&endpoint->health.warm_from_ms, now_ms);
    atomic_store(&endpoint->health.warm_for_ms, slow_start_ms);
    atomic_fetch_or(&endpoint->health_flags, (uint32_t)HEALTH_WARMING);
}

double health_warmth(const struct endpoint *endpoint, uint64_t now_ms)
{
    uint64_t from = get_u64(&endpoint->health.warm_from_ms);
    uint32_t length = atomic_load_explicit(&endpoint->health.warm_for_ms, memory_order_relaxed);
    uint64_t age = now_ms > from ? now_ms - from : 0;
    if (age >= length) {
        return 1;
    }
    double share = (double)age / length;
    return MAX_OF(share, WARMTH_LEAST_PERCENT / 100.0);
}

void health_forget(struct endpoint *endpoint)
{
    struct endpoint_health *health = &endpoint->health;
    atomic_store_explicit(&health->errors_in_row, 0, memory_order_relaxed);
    atomic_store_explicit(&health->times, 0, memory_order_relaxed);
    atomic_store_explicit(&health->ejected_until_ms, 0, memory_order_relaxed);
    atomic_store(&health->leaving_until_ms, 0);
    atomic_store(&endpoint->health_flags, 0);
}
