// /endpoints: what is known of each pod, our own books beside what the engines said.
#include <string.h>

#include "admin/page.h"
#include "base/clock.h"

static double load_u64(const _Atomic uint64_t *value)
{
    return (double)atomic_load_explicit(value, memory_order_relaxed);
}

static double load_u32(const _Atomic uint32_t *value)
{
    return (double)atomic_load_explicit(value, memory_order_relaxed);
}

static double left_ms(const _Atomic uint64_t *until_ms, uint64_t now_ms)
{
    uint64_t until = atomic_load_explicit(until_ms, memory_order_relaxed);
    return until > now_ms ? (double)(until - now_ms) : 0;
}

static void write_sample(const struct backend_state *backend, const struct endpoint *endpoint,
                         uint64_t now_ms, struct strbuf *out)
{
    struct endpoint_sample sample;
    endpoint_sample_read(endpoint, &sample);
    if (sample.taken_ms == 0) {
        return; // nothing was ever heard: no member
    }
    page_open(out, "sample", '{');
    page_num(out, "age_ms", now_ms > sample.taken_ms ? (double)(now_ms - sample.taken_ms) : 0);
    page_num(out, "share", backend_state_sample_share(backend, sample.taken_ms, now_ms));
    page_num(out, "waiting", sample.waiting);
    page_num(out, "running", sample.running);
    if (sample.kv_utilisation >= 0) {
        page_num(out, "kv_utilisation", sample.kv_utilisation);
    }
    if (sample.kv_capacity_tokens > 0) {
        page_num(out, "kv_capacity_tokens", sample.kv_capacity_tokens);
    }
    page_num(out, "others_requests", sample.others_requests);
    page_num(out, "others_waiting", sample.others_waiting);
    page_close(out, '}');
}

static void write_health(const struct backend_state *backend, const struct endpoint *endpoint,
                         uint64_t now_ms, struct strbuf *out)
{
    const struct endpoint_health *health = &endpoint->health;
    const char *state = health_state_name(endpoint, now_ms);
    double ejections = 0;
    for (int i = 0; i < HEALTH_REASON_COUNT; i++) {
        ejections += load_u64(&health->ejections[i]);
    }
    page_open(out, "health", '{');
    page_str(out, "state", slice_of_str(state));
    if (strcmp(state, "ejected") == 0) {
        enum health_reason reason =
            (enum health_reason)atomic_load_explicit(&health->reason, memory_order_relaxed);
        page_str(out, "reason", slice_of_str(health_reason_label(reason)));
        page_num(out, "for_ms", left_ms(&health->ejected_until_ms, now_ms));
    } else if (strcmp(state, "warming") == 0) {
        page_num(out, "share", health_warmth(endpoint, now_ms));
    }
    page_num(out, "errors_in_row", load_u32(&health->errors_in_row));
    page_num(out, "answers", load_u64(&health->answers));
    page_num(out, "errors", load_u64(&health->errors));
    page_num(out, "ejections", ejections);
    page_num(out, "ejections_in_row", load_u32(&health->times));
    if (backend_state_health(backend)->active) {
        page_num(out, "checks_passed", load_u64(&health->checks_passed));
        page_num(out, "checks_failed", load_u64(&health->checks_failed));
        if (endpoint->check_problem[0] != '\0') {
            page_str(out, "check_problem", slice_of_str(endpoint->check_problem));
        }
    }
    page_close(out, '}');
}

static void write_endpoint(const struct backend_state *backend, const struct endpoint *endpoint,
                           uint64_t now_ms, struct strbuf *out)
{
    uint64_t load = atomic_load_explicit(&endpoint->load, memory_order_relaxed);
    page_open(out, "", '{');
    page_str(out, "address", slice_of_str(endpoint->text));
    if (endpoint->pod[0] != '\0') {
        page_str(out, "pod", slice_of_str(endpoint->pod));
    }
    page_num(out, "weight", load_u32(&endpoint->weight));
    page_num(out, "known_ms",
             now_ms > endpoint->added_ms ? (double)(now_ms - endpoint->added_ms) : 0);
    page_num(out, "outstanding_requests", load_requests(load));
    page_num(out, "outstanding_prompt_tokens", (double)load_tokens(load));
    page_num(out, "picks", load_u64(&endpoint->picks));
    page_num(out, "failures", load_u64(&endpoint->failures));
    page_num(out, "failures_in_row", load_u32(&endpoint->failures_in_row));
    page_num(out, "avoided_for_ms", left_ms(&endpoint->avoid_until_ms, now_ms));
    page_num(out, "overloads", load_u64(&endpoint->overloads));
    page_num(out, "overloaded_for_ms", left_ms(&endpoint->overloaded_until_ms, now_ms));
    page_num(out, "scrapes", load_u64(&endpoint->scrapes));
    page_num(out, "scrape_failures", load_u64(&endpoint->scrape_failures));
    if (endpoint->scrape_problem[0] != '\0') {
        page_str(out, "scrape_problem", slice_of_str(endpoint->scrape_problem));
    }
    write_health(backend, endpoint, now_ms, out);
    write_sample(backend, endpoint, now_ms, out);
    page_close(out, '}');
}

static const struct snap_backend *find_backend(const struct snapshot *snapshot,
                                               const struct backend_state *state)
{
    for (size_t i = 0; snapshot != NULL && i < snapshot->backend_count; i++) {
        if (snapshot->backends[i]->state == state) {
            return snapshot->backends[i];
        }
    }
    return NULL;
}

// Under the table's lock.
static void write_backend(struct backend_state *backend, const struct snapshot *snapshot,
                          uint64_t now_ms, struct strbuf *out)
{
    enum engine detected =
        (enum engine)atomic_load_explicit(&backend->detected_engine, memory_order_relaxed);
    const struct snap_backend *in_snapshot = find_backend(snapshot, backend);
    enum engine engine = backend->scrape.engine != ENGINE_AUTO ? backend->scrape.engine : detected;
    page_open(out, "", '{');
    page_str(out, "name", slice_of_str(backend->key));
    if (in_snapshot != NULL) {
        page_str(out, "policy", slice_of_str(pick_policy_name(in_snapshot->policy)));
    }
    page_str(out, "engine", slice_of_str(engine_name(engine)));
    page_bool(out, "detected", backend->scrape.engine == ENGINE_AUTO && detected != ENGINE_AUTO);
    page_str(out, "metrics_found", slice_of_str(backend->metrics_found));
    page_num(out, "bytes_per_token", load_u32(&backend->bytes_per_token_q10) / 1024);
    page_num(out, "mean_prompt_tokens", load_u32(&backend->mean_prompt_tokens));
    page_num(out, "mean_ttft_ms", load_u32(&backend->mean_ttft_ms));
    page_bool(out, "panic", atomic_load_explicit(&backend->panic, memory_order_relaxed));
    page_open(out, "endpoints", '[');
    struct endpoint_set *set = backend_state_endpoints(backend);
    for (size_t i = 0; i < set->count; i++) {
        write_endpoint(backend, set->items[i], now_ms, out);
    }
    page_close(out, ']');
    page_close(out, '}');
}

void page_backends(const struct admin_config *config, struct strbuf *out)
{
    struct endpoint_table *table = config->endpoints;
    const struct snapshot *snapshot = publisher_current(config->publisher);
    uint64_t now_ms = clock_mono_ms();
    page_open(out, "backends", '[');
    pthread_mutex_lock(&table->lock);
    list_for_each(&table->backend_list, node) {
        write_backend(container_of(node, struct backend_state, node), snapshot, now_ms, out);
    }
    pthread_mutex_unlock(&table->lock);
    page_close(out, ']');
}

unsigned page_endpoints(struct page_context *context, struct strbuf *out)
{
    const struct snapshot *snapshot = publisher_current(context->config->publisher);
    page_open(out, "", '{');
    page_num(out, "generation", snapshot != NULL ? (double)snapshot->generation : 0);
    page_backends(context->config, out);
    page_close(out, '}');
    return 200;
}
