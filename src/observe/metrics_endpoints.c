// The part of the exposition that is not counted by workers: endpoints, build, process.
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "observe/metrics.h"

// One endpoint of one backend, copied under the table's lock.
struct view {
    const struct backend_state *backend;
    const struct endpoint *endpoint;
    struct endpoint_sample sample;
    uint64_t load;
    uint64_t now_ms;
};

static double cell(const _Atomic uint64_t *value)
{
    return (double)atomic_load_explicit(value, memory_order_relaxed);
}

// The value, or a negative one when there is nothing to say.
static double outstanding_requests(const struct view *v)
{
    return load_requests(v->load);
}

static double outstanding_tokens(const struct view *v)
{
    return (double)load_tokens(v->load);
}

static double picks(const struct view *v)
{
    return cell(&v->endpoint->picks);
}

static double failures(const struct view *v)
{
    return cell(&v->endpoint->failures);
}

static double overloads(const struct view *v)
{
    return cell(&v->endpoint->overloads);
}

static double ejected(const struct view *v)
{
    return strcmp(health_state_name(v->endpoint, v->now_ms), "ejected") == 0;
}

static double unhealthy(const struct view *v)
{
    return (atomic_load_explicit(&v->endpoint->health_flags, memory_order_relaxed) &
            HEALTH_UNHEALTHY) != 0;
}

static double leaving(const struct view *v)
{
    return health_is_leaving(v->endpoint, v->now_ms);
}

static double ejections_errors(const struct view *v)
{
    return cell(&v->endpoint->health.ejections[HEALTH_REASON_ERRORS]);
}

static double ejections_error_share(const struct view *v)
{
    return cell(&v->endpoint->health.ejections[HEALTH_REASON_ERROR_SHARE]);
}

static double ejections_slow(const struct view *v)
{
    return cell(&v->endpoint->health.ejections[HEALTH_REASON_SLOW]);
}

static double leavings(const struct view *v)
{
    return cell(&v->endpoint->health.leavings);
}

static double checks_passed(const struct view *v)
{
    return cell(&v->endpoint->health.checks_passed);
}

static double checks_failed(const struct view *v)
{
    return cell(&v->endpoint->health.checks_failed);
}

static double scrapes(const struct view *v)
{
    return cell(&v->endpoint->scrapes);
}

static double scrape_failures(const struct view *v)
{
    return cell(&v->endpoint->scrape_failures);
}

static double waiting(const struct view *v)
{
    return v->sample.taken_ms != 0 ? v->sample.waiting : -1;
}

static double running(const struct view *v)
{
    return v->sample.taken_ms != 0 ? v->sample.running : -1;
}

static double kv_utilisation(const struct view *v)
{
    return v->sample.taken_ms != 0 ? v->sample.kv_utilisation : -1;
}

static double sample_age(const struct view *v)
{
    if (v->sample.taken_ms == 0) {
        return -1;
    }
    return v->now_ms > v->sample.taken_ms ? (double)(v->now_ms - v->sample.taken_ms) / 1000 : 0;
}

// Rows of one metric stand together, and the help of the first counts. `label` is what they have
// beside backend and endpoint.
static const struct {
    const char *name;
    const char *label;
    const char *type;
    const char *help;
    double (*value)(const struct view *v);
} rows[] = {
    {"headrace_endpoint_outstanding_requests", "", "gauge",
     "Requests that Headrace has there now", outstanding_requests},
    {"headrace_endpoint_outstanding_prompt_tokens", "", "gauge",
     "Uncached prompt tokens of these that have no first token yet (estimated)",
     outstanding_tokens},
    {"headrace_endpoint_picks_total", "", "counter", "Requests that were given to the endpoint",
     picks},
    {"headrace_endpoint_failures_total", "", "counter", "Failed connects, resets and time-outs",
     failures},
    {"headrace_endpoint_overloads_total", "", "counter", "Refusals for want of room", overloads},
    {"headrace_endpoint_ejected", "", "gauge", "1 while the endpoint is ejected", ejected},
    {"headrace_endpoint_ejections_total", "reason=\"consecutive_errors\"", "counter",
     "Ejections, by reason", ejections_errors},
    {"headrace_endpoint_ejections_total", "reason=\"error_share\"", "counter", "",
     ejections_error_share},
    {"headrace_endpoint_ejections_total", "reason=\"slow\"", "counter", "", ejections_slow},
    {"headrace_endpoint_unhealthy", "", "gauge", "1 while its health checks fail", unhealthy},
    {"headrace_endpoint_checks_total", "result=\"passed\"", "counter",
     "Active health checks, by result", checks_passed},
    {"headrace_endpoint_checks_total", "result=\"failed\"", "counter", "", checks_failed},
    {"headrace_endpoint_leaving", "", "gauge",
     "1 while it is terminating, says that it shuts down, or refuses connections", leaving},
    {"headrace_endpoint_shutdown_answers_total", "", "counter",
     "Answers by which it said that it shuts down", leavings},
    {"headrace_endpoint_scrapes_total", "", "counter", "Scrapes that were read", scrapes},
    {"headrace_endpoint_scrape_failures_total", "", "counter", "Scrapes that failed",
     scrape_failures},
    {"headrace_endpoint_waiting_requests", "", "gauge",
     "Requests queued in the engine, as it says", waiting},
    {"headrace_endpoint_running_requests", "", "gauge",
     "Requests in the engine's batch, as it says", running},
    {"headrace_endpoint_kv_cache_utilisation_ratio", "", "gauge",
     "Part of the KV cache that is in use, as the engine says", kv_utilisation},
    {"headrace_endpoint_sample_age_seconds", "", "gauge", "Age of what the engine said last",
     sample_age},
};

static void write_value(const struct view *v, size_t row, double value, struct strbuf *out)
{
    strbuf_printf(out, "%s{backend=\"", rows[row].name);
    series_label(out, slice_of_str(v->backend->key));
    strbuf_add(out, SLICE("\",endpoint=\""));
    series_label(out, slice_of_str(v->endpoint->text));
    strbuf_printf(out, "\"%s%s} %.10g\n", rows[row].label[0] != '\0' ? "," : "", rows[row].label,
                  value);
}

// Under the table's lock. Returns how many endpoints there are.
static size_t write_endpoints(struct endpoint_table *table, size_t row, uint64_t now_ms,
                              struct strbuf *out)
{
    size_t seen = 0;
    list_for_each(&table->backend_list, node) {
        struct backend_state *backend = container_of(node, struct backend_state, node);
        struct endpoint_set *set = backend_state_endpoints(backend);
        for (size_t i = 0; i < set->count; i++) {
            if (seen++ >= METRIC_ENDPOINTS_MAX) {
                continue;
            }
            struct view v = {.backend = backend, .endpoint = set->items[i], .now_ms = now_ms};
            v.load = atomic_load_explicit(&v.endpoint->load, memory_order_relaxed);
            endpoint_sample_read(v.endpoint, &v.sample);
            double value = rows[row].value(&v);
            if (value >= 0) {
                write_value(&v, row, value, out);
            }
        }
    }
    return seen;
}

// ---- pools --------------------------------------------------------------------------------------

// What autoscalers and dashboards of the Gateway API's inference extension ask an endpoint picker
// for. Its pools are our backends.
struct pool {
    double ready;
    double waiting; // sum over those that say so
    double waiting_known;
    double kv;
    double kv_known;
};

static struct pool pool_of(struct backend_state *backend)
{
    struct pool pool = {0};
    struct endpoint_set *set = backend_state_endpoints(backend);
    for (size_t i = 0; i < set->count; i++) {
        struct endpoint_sample sample;
        endpoint_sample_read(set->items[i], &sample);
        pool.ready++;
        if (sample.taken_ms == 0) {
            continue;
        }
        pool.waiting += sample.waiting;
        pool.waiting_known++;
        if (sample.kv_utilisation >= 0) {
            pool.kv += sample.kv_utilisation;
            pool.kv_known++;
        }
    }
    return pool;
}

static double pool_ready(const struct pool *pool)
{
    return pool->ready;
}

static double pool_queue(const struct pool *pool)
{
    return pool->waiting_known > 0 ? pool->waiting / pool->waiting_known : -1;
}

static double pool_kv(const struct pool *pool)
{
    return pool->kv_known > 0 ? pool->kv / pool->kv_known : -1;
}

static const struct {
    const char *name;
    const char *help;
    double (*value)(const struct pool *pool);
} pool_rows[] = {
    {"inference_pool_ready_pods", "Endpoints of the backend", pool_ready},
    {"inference_pool_average_queue_size",
     "Requests queued in an endpoint's engine, on average over those that say so", pool_queue},
    {"inference_pool_average_kv_cache_utilization",
     "Part of the KV cache that is in use, on average over the endpoints that say so", pool_kv},
};

// The labels hold no slash, since a HorizontalPodAutoscaler's selector could not name it.
static void write_pool(const struct backend_state *backend, const char *name, double value,
                       struct strbuf *out)
{
    struct slice rest = slice_of_str(backend->key);
    struct slice namespace;
    if (!slice_split(&rest, '/', &namespace)) {
        return;
    }
    strbuf_printf(out, "%s{name=\"", name);
    series_label(out, rest);
    strbuf_add(out, SLICE("\",pool_namespace=\""));
    series_label(out, namespace);
    strbuf_printf(out, "\"} %.10g\n", value);
}

// Under the table's lock.
static void write_pools(struct endpoint_table *table, struct strbuf *out)
{
    for (size_t row = 0; row < ARRAY_LEN(pool_rows); row++) {
        size_t seen = 0;
        series_head(out, pool_rows[row].name, pool_rows[row].help, "gauge");
        list_for_each(&table->backend_list, node) {
            struct backend_state *backend = container_of(node, struct backend_state, node);
            struct pool pool = pool_of(backend);
            double value = pool_rows[row].value(&pool);
            if (value >= 0 && seen++ < METRIC_POOLS_MAX) {
                write_pool(backend, pool_rows[row].name, value, out);
            }
        }
    }
}

// Under the table's lock.
static void write_panics(struct endpoint_table *table, struct strbuf *out)
{
    const char *name = "headrace_backend_panic";
    series_head(out, name,
                "1 while so few endpoints are available that ejections and health checks are "
                "ignored",
                "gauge");
    list_for_each(&table->backend_list, node) {
        const struct backend_state *backend = container_of(node, struct backend_state, node);
        strbuf_printf(out, "%s{backend=\"", name);
        series_label(out, slice_of_str(backend->key));
        strbuf_printf(out, "\"} %d\n",
                      atomic_load_explicit(&backend->panic, memory_order_relaxed) ? 1 : 0);
    }
}

static void write_scraper_tls(const struct endpoint_table *table, struct strbuf *out)
{
    const char *name = "headrace_scraper_tls_handshakes_total";
    series_head(out, name, "TLS handshakes for metrics and health checks that succeeded",
                "counter");
    for (int resumed = 0; resumed < 2; resumed++) {
        strbuf_printf(out, "%s{resumed=\"%s\"} %.17g\n", name, resumed ? "true" : "false",
                      cell(&table->scraper_handshakes[resumed]));
    }
    name = "headrace_scraper_tls_failures_total";
    series_head(out, name, "Reads of metrics and health checks that failed for TLS, by reason",
                "counter");
    for (unsigned fault = 1; fault < TLS_FAULT_COUNT; fault++) {
        strbuf_printf(out, "%s{reason=\"%s\"} %.17g\n", name,
                      tls_fault_label((enum tls_fault)fault),
                      cell(&table->scraper_tls_faults[fault]));
    }
}

void metrics_write_endpoints(struct endpoint_table *table, uint64_t now_ms, struct strbuf *out)
{
    size_t seen = 0;
    pthread_mutex_lock(&table->lock);
    for (size_t row = 0; row < ARRAY_LEN(rows); row++) {
        if (row == 0 || strcmp(rows[row].name, rows[row - 1].name) != 0) {
            series_head(out, rows[row].name, rows[row].help, rows[row].type);
        }
        seen = write_endpoints(table, row, now_ms, out);
    }
    write_panics(table, out);
    write_pools(table, out);
    pthread_mutex_unlock(&table->lock);
    write_scraper_tls(table, out);
    const char *name = "headrace_endpoints";
    series_head(out, name, "Endpoints of all backends; beyond 2000 only counted here",
                       "gauge");
    strbuf_printf(out, "%s %zu\n", name, seen);
}

// ---- process ------------------------------------------------------------------------------------

static void write_gauge(struct strbuf *out, const char *name, const char *help, const char *type,
                        double value)
{
    series_head(out, name, help, type);
    strbuf_printf(out, "%s %.17g\n", name, value);
}

static double resident_bytes(void)
{
    unsigned long long total = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL) {
        return 0;
    }
    int n = fscanf(file, "%llu %llu", &total, &resident);
    fclose(file);
    return n == 2 ? (double)resident * (double)sysconf(_SC_PAGESIZE) : 0;
}

static double open_files(void)
{
    DIR *dir = opendir("/proc/self/fd");
    double count = -1; // the folder itself
    if (dir == NULL) {
        return 0;
    }
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        count += entry->d_name[0] != '.' ? 1 : 0;
    }
    closedir(dir);
    return count;
}

void metrics_write_process(const char *version, bool ready, struct strbuf *out)
{
    struct rusage usage;
    struct rlimit limit;
    series_head(out, "headrace_build_info", "The build", "gauge");
    strbuf_add(out, SLICE("headrace_build_info{version=\""));
    series_label(out, slice_of_str(version));
    strbuf_add(out, SLICE("\"} 1\n"));
    write_gauge(out, "headrace_ready", "1 while the instance says that it is ready", "gauge",
                ready ? 1 : 0);
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        double seconds = (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
                         (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
        write_gauge(out, "process_cpu_seconds_total", "CPU time of user and system", "counter",
                    seconds);
    }
    write_gauge(out, "process_resident_memory_bytes", "Resident memory", "gauge",
                resident_bytes());
    write_gauge(out, "process_open_fds", "Open file descriptors", "gauge", open_files());
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        write_gauge(out, "process_max_fds", "Limit of open file descriptors", "gauge",
                    (double)limit.rlim_cur);
    }
}
