// What time does to health: the end of ejections, the comparison of siblings, and telling of it.
#include <stdlib.h>

#include "endpoint/endpoint.h"

enum {
    // An endpoint with few requests is not compared, and collects them over so many intervals.
    WINDOW_INTERVALS_MAX = 6,
    // A TTFT that is many times another may still be short: nobody is ejected for less than this.
    SLOW_LEAST_MS = 1000,
    COMPARED_LEAST = 2,      // with one sibling errors can be told
    COMPARED_LEAST_SLOW = 3, // of two, who is slow and who is lucky?
};

struct watch {
    struct backend_state *backend;
    const struct health_config *config;
    uint64_t now_ms;
    health_event_fn *tell;
    void *arg;
};

static void tell(const struct watch *watch, struct endpoint *endpoint, enum health_change change)
{
    struct health_event event = {
        .change = change, .backend = watch->backend, .endpoint = endpoint};
    if (change == HEALTH_CHANGE_EJECTED) {
        const struct endpoint_health *health = &endpoint->health;
        event.reason =
            (enum health_reason)atomic_load_explicit(&health->reason, memory_order_relaxed);
        event.times = atomic_load_explicit(&health->times, memory_order_relaxed);
        event.for_ms = health_eject_ms(watch->config, event.times);
    }
    watch->tell(watch->arg, &event);
}

// ---- flags ----

// Ends what is over. With `judging` held, so that no ejection comes in between.
static void end_ejection(const struct watch *watch, struct endpoint *endpoint, uint32_t flags)
{
    struct endpoint_health *health = &endpoint->health;
    if ((flags & HEALTH_EJECTED) == 0 ||
        atomic_load_explicit(&health->ejected_until_ms, memory_order_relaxed) > watch->now_ms) {
        return;
    }
    atomic_fetch_and(&endpoint->health_flags, ~(uint32_t)HEALTH_EJECTED);
    health->good_since_ms = watch->now_ms;
    health_warm(endpoint, watch->config->slow_start_ms, watch->now_ms);
}

static void end_leaving(const struct watch *watch, struct endpoint *endpoint, uint32_t flags)
{
    const uint32_t bits = HEALTH_LEAVING | HEALTH_REFUSING;
    if ((flags & bits) == 0 ||
        atomic_load(&endpoint->health.leaving_until_ms) > watch->now_ms) {
        return;
    }
    atomic_fetch_and(&endpoint->health_flags, ~bits);
    // Somebody prolonged it meanwhile; see leave_until.
    if (atomic_load(&endpoint->health.leaving_until_ms) > watch->now_ms) {
        atomic_fetch_or(&endpoint->health_flags, flags & bits);
    } else {
        health_warm(endpoint, watch->config->slow_start_ms, watch->now_ms);
    }
}

static void end_warming(const struct watch *watch, struct endpoint *endpoint, uint32_t flags)
{
    if ((flags & HEALTH_WARMING) != 0 && health_warmth(endpoint, watch->now_ms) >= 1) {
        atomic_fetch_and(&endpoint->health_flags, ~(uint32_t)HEALTH_WARMING);
    }
}

// As long as one ejection lasts without another one takes back one.
static void decay(const struct watch *watch, struct endpoint *endpoint, uint32_t flags)
{
    struct endpoint_health *health = &endpoint->health;
    uint32_t times = atomic_load_explicit(&health->times, memory_order_relaxed);
    if ((flags & HEALTH_EJECTED) == 0 && times > 0 &&
        watch->now_ms - MIN_OF(health->good_since_ms, watch->now_ms) >=
            watch->config->eject_for_ms) {
        health->good_since_ms = watch->now_ms;
        atomic_store_explicit(&health->times, times - 1, memory_order_relaxed);
    }
}

// One that is over may be followed by the next before anybody looks.
static void tell_ejection(const struct watch *watch, struct endpoint *endpoint, uint32_t flags,
                          uint32_t changed)
{
    struct endpoint_health *health = &endpoint->health;
    uint64_t until = atomic_load_explicit(&health->ejected_until_ms, memory_order_relaxed);
    if ((flags & HEALTH_EJECTED) != 0 && until != health->told_until_ms) {
        health->told_until_ms = until;
        tell(watch, endpoint, HEALTH_CHANGE_EJECTED);
    } else if ((changed & ~flags & HEALTH_EJECTED) != 0) {
        tell(watch, endpoint, HEALTH_CHANGE_RETURNED);
    }
}

static void tell_changes(const struct watch *watch, struct endpoint *endpoint)
{
    // Acquire: partner of the release in eject.
    uint32_t flags = atomic_load_explicit(&endpoint->health_flags, memory_order_acquire);
    uint32_t changed = flags ^ endpoint->health.told;
    bool by_itself = atomic_load_explicit(&endpoint->health.leaving_until_ms,
                                          memory_order_relaxed) != UINT64_MAX;
    endpoint->health.told = flags;
    tell_ejection(watch, endpoint, flags, changed);
    if ((changed & HEALTH_UNHEALTHY) != 0) {
        tell(watch, endpoint, (flags & HEALTH_UNHEALTHY) != 0 ? HEALTH_CHANGE_UNHEALTHY
                                                              : HEALTH_CHANGE_HEALTHY);
    }
    if ((changed & flags & HEALTH_LEAVING) != 0 && by_itself) {
        tell(watch, endpoint, HEALTH_CHANGE_LEAVING);
    }
}

static void watch_flags(const struct watch *watch)
{
    struct backend_state *backend = watch->backend;
    const struct endpoint_set *set = backend_state_endpoints(backend);
    // As in health_eject; taken: the next call does it.
    if (!atomic_exchange_explicit(&backend->judging, true, memory_order_acquire)) {
        for (size_t i = 0; i < set->count; i++) {
            struct endpoint *endpoint = set->items[i];
            uint32_t flags = atomic_load_explicit(&endpoint->health_flags, memory_order_relaxed);
            end_ejection(watch, endpoint, flags);
            decay(watch, endpoint, flags);
        }
        health_judge_panic(backend, watch->now_ms);
        atomic_store_explicit(&backend->judging, false, memory_order_release);
    }
    for (size_t i = 0; i < set->count; i++) {
        struct endpoint *endpoint = set->items[i];
        uint32_t flags = atomic_load_explicit(&endpoint->health_flags, memory_order_relaxed);
        if ((flags | endpoint->health.told) != 0) {
            end_leaving(watch, endpoint, flags);
            end_warming(watch, endpoint, flags);
            tell_changes(watch, endpoint);
        }
    }
    bool panic = atomic_load_explicit(&backend->panic, memory_order_relaxed);
    if (panic != backend->told_panic) {
        backend->told_panic = panic;
        tell(watch, NULL, panic ? HEALTH_CHANGE_PANIC : HEALTH_CHANGE_CALM);
    }
}

// ---- siblings ----

// One endpoint's window: what came since it began.
struct row {
    struct endpoint *endpoint;
    double value;
};

struct window {
    uint64_t answers;
    uint64_t errors;
    uint64_t ttft_count;
    uint64_t ttft_sum_ms;
};

static struct window window_of(const struct endpoint_health *health)
{
    return (struct window){
        .answers = atomic_load_explicit(&health->answers, memory_order_relaxed) -
                   health->window_answers,
        .errors = atomic_load_explicit(&health->errors, memory_order_relaxed) -
                  health->window_errors,
        .ttft_count = atomic_load_explicit(&health->ttft_count, memory_order_relaxed) -
                      health->window_ttft_count,
        .ttft_sum_ms = atomic_load_explicit(&health->ttft_sum_ms, memory_order_relaxed) -
                       health->window_ttft_sum_ms,
    };
}

static void window_begin(struct endpoint_health *health, uint64_t now_ms)
{
    struct window window = window_of(health);
    health->window_answers += window.answers;
    health->window_errors += window.errors;
    health->window_ttft_count += window.ttft_count;
    health->window_ttft_sum_ms += window.ttft_sum_ms;
    health->window_began_ms = now_ms;
}

// False: too few requests to say.
typedef bool row_value_fn(const struct watch *watch, const struct window *window,
                          double *ret_value);

static bool error_share(const struct watch *watch, const struct window *window, double *ret_value)
{
    *ret_value = window->answers > 0 ? (double)window->errors * 100 / (double)window->answers : 0;
    return window->answers > 0 && window->answers >= watch->config->min_requests;
}

static bool mean_ttft(const struct watch *watch, const struct window *window, double *ret_value)
{
    *ret_value = window->ttft_count > 0
                     ? (double)window->ttft_sum_ms / (double)window->ttft_count : 0;
    return window->ttft_count > 0 && window->ttft_count >= watch->config->min_requests;
}

static int compare_rows(const void *a, const void *b)
{
    const struct row *x = a;
    const struct row *y = b;
    return (x->value > y->value) - (x->value < y->value);
}

static size_t collect_rows(const struct watch *watch, row_value_fn *value, struct row *rows)
{
    const struct endpoint_set *set = backend_state_endpoints(watch->backend);
    size_t count = 0;
    for (size_t i = 0; i < set->count; i++) {
        struct window window = window_of(&set->items[i]->health);
        struct row row = {.endpoint = set->items[i]};
        if (value(watch, &window, &row.value)) {
            rows[count++] = row;
        }
    }
    qsort(rows, count, sizeof(*rows), compare_rows);
    return count;
}

// Of sorted rows without one; the better one of two in the middle, for then there is more to say
// against those that are worse.
static double median_without(const struct row *rows, size_t count, size_t without)
{
    size_t middle = (count - 2) / 2;
    return rows[middle < without ? middle : middle + 1].value;
}

static void compare_errors(const struct watch *watch, struct row *rows)
{
    size_t count = collect_rows(watch, error_share, rows);
    for (size_t i = count; count >= COMPARED_LEAST && i-- > 0;) { // the worst first
        if (rows[i].value >= median_without(rows, count, i) + watch->config->error_percent) {
            health_eject(watch->backend, rows[i].endpoint, HEALTH_REASON_ERROR_SHARE,
                         watch->now_ms);
        }
    }
}

static void compare_ttft(const struct watch *watch, struct row *rows)
{
    size_t count = collect_rows(watch, mean_ttft, rows);
    for (size_t i = count; count >= COMPARED_LEAST_SLOW && i-- > 0;) {
        double median = median_without(rows, count, i);
        if (rows[i].value >= median * watch->config->slow_factor &&
            rows[i].value >= median + SLOW_LEAST_MS) {
            health_eject(watch->backend, rows[i].endpoint, HEALTH_REASON_SLOW, watch->now_ms);
        }
    }
}

static void roll_windows(const struct watch *watch)
{
    const struct endpoint_set *set = backend_state_endpoints(watch->backend);
    uint64_t longest = (uint64_t)watch->config->interval_ms * WINDOW_INTERVALS_MAX;
    for (size_t i = 0; i < set->count; i++) {
        struct endpoint_health *health = &set->items[i]->health;
        struct window window = window_of(health);
        if (window.answers >= watch->config->min_requests ||
            watch->now_ms - MIN_OF(health->window_began_ms, watch->now_ms) >= longest) {
            window_begin(health, watch->now_ms);
        }
    }
}

static void watch_siblings(const struct watch *watch)
{
    struct backend_state *backend = watch->backend;
    const struct health_config *config = watch->config;
    if (watch->now_ms - MIN_OF(backend->compared_ms, watch->now_ms) < config->interval_ms) {
        return;
    }
    backend->compared_ms = watch->now_ms;
    size_t count = backend_state_endpoints(backend)->count;
    struct row *rows = count >= COMPARED_LEAST ? malloc(count * sizeof(*rows)) : NULL;
    if (rows != NULL && config->error_percent != 0) {
        compare_errors(watch, rows);
    }
    if (rows != NULL && config->slow_factor != 0) {
        compare_ttft(watch, rows);
    }
    free(rows);
    roll_windows(watch);
}

void health_watch(struct endpoint_table *table, uint64_t now_ms, health_event_fn *tell_fn,
                  void *arg)
{
    pthread_mutex_lock(&table->lock);
    list_for_each(&table->backend_list, node) {
        struct backend_state *backend = container_of(node, struct backend_state, node);
        struct watch watch = {.backend = backend, .config = backend_state_health(backend),
                              .now_ms = now_ms, .tell = tell_fn, .arg = arg};
        watch_siblings(&watch);
        watch_flags(&watch);
    }
    pthread_mutex_unlock(&table->lock);
}
