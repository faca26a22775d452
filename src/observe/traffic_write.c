// The exposition of what was counted for routes and backends.
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "observe/traffic.h"

const char *const metric_status_classes[METRIC_STATUS_CLASSES] = {"none", "1xx", "2xx",
                                                                  "3xx",  "4xx", "5xx"};

static const struct {
    const char *name;
    const char *help;
} counters[TRAFFIC_COUNT] = {
#define X(name_, text_, help_) [TRAFFIC_##name_] = {text_, help_},
    TRAFFIC_TABLE(X)
#undef X
}, latencies[TRAFFIC_LATENCY_COUNT] = {
#define X(name_, text_, help_) [TRAFFIC_LATENCY_##name_] = {text_, help_},
    TRAFFIC_LATENCY_TABLE(X)
#undef X
};

// One pair, summed over the workers.
struct sum {
    char *labels; // route="…",backend="…"
    uint64_t requests[METRIC_STATUS_CLASSES];
    uint64_t outcomes[METRIC_FAULTS_MAX];
    uint64_t counters[TRAFFIC_COUNT];
    uint64_t buckets[TRAFFIC_LATENCY_COUNT][METRIC_LATENCY_BUCKETS + 1];
    uint64_t sum_ns[TRAFFIC_LATENCY_COUNT];
};

struct sums {
    struct map by_key;
    struct strbuf labels; // of the pair at hand
    struct sum **items;
    size_t len;
    size_t cap;
};

static void sum_free(struct sum *sum)
{
    if (sum != NULL) {
        free(sum->labels);
        free(sum);
    }
}

static void sums_fini(struct sums *sums)
{
    for (size_t i = 0; i < sums->len; i++) {
        sum_free(sums->items[i]);
    }
    free(sums->items);
    strbuf_fini(&sums->labels);
    map_fini(&sums->by_key);
}

static struct sum *sum_new(const char *labels)
{
    struct sum *sum = calloc(1, sizeof(*sum));
    if (sum != NULL && (sum->labels = strdup(labels)) == NULL) {
        free(sum);
        return NULL;
    }
    return sum;
}

static int sums_add(struct sums *sums, struct sum *sum)
{
    if (sums->len == sums->cap) {
        size_t cap = sums->cap != 0 ? sums->cap * 2 : 16;
        struct sum **grown = realloc(sums->items, cap * sizeof(struct sum *));
        if (grown == NULL) {
            return -1;
        }
        sums->items = grown;
        sums->cap = cap;
    }
    if (map_put(&sums->by_key, slice_of_str(sum->labels), sum, NULL) != 0) {
        return -1;
    }
    sums->items[sums->len++] = sum;
    return 0;
}

// Out of memory: NULL, and the pair is not shown this time.
static struct sum *sum_of(struct sums *sums, const struct traffic *traffic)
{
    struct strbuf *labels = &sums->labels;
    strbuf_reset(labels);
    strbuf_add(labels, SLICE("route=\""));
    series_label(labels, traffic->route);
    strbuf_add(labels, SLICE("\",backend=\""));
    series_label(labels, traffic->backend);
    strbuf_add(labels, SLICE("\""));
    struct sum *found = map_get(&sums->by_key, strbuf_slice(labels));
    if (found != NULL || labels->failed) {
        return found;
    }
    struct sum *made = sum_new(strbuf_cstr(labels));
    if (made != NULL && sums_add(sums, made) != 0) {
        sum_free(made);
        return NULL;
    }
    return made;
}

static void add_cells(uint64_t *to, const _Atomic uint64_t *cells, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        to[i] += cell_load(&cells[i]);
    }
}

static void collect(struct sums *sums, const struct traffic_worker *worker)
{
    // Acquire pairs with the release in traffic_of.
    const struct traffic *traffic = atomic_load_explicit(&worker->pairs, memory_order_acquire);
    for (; traffic != NULL; traffic = traffic->next) {
        struct sum *sum = sum_of(sums, traffic);
        if (sum == NULL) {
            continue;
        }
        add_cells(sum->requests, traffic->requests, METRIC_STATUS_CLASSES);
        add_cells(sum->outcomes, traffic->outcomes, METRIC_FAULTS_MAX);
        add_cells(sum->counters, traffic->counters, TRAFFIC_COUNT);
        for (int l = 0; l < TRAFFIC_LATENCY_COUNT; l++) {
            add_cells(sum->buckets[l], traffic->latencies[l].buckets, METRIC_LATENCY_BUCKETS + 1);
            sum->sum_ns[l] += cell_load(&traffic->latencies[l].sum_ns);
        }
    }
}

// ---- writing ------------------------------------------------------------------------------------

static void write_requests(const struct sums *sums, struct strbuf *out)
{
    const char *name = "headrace_backend_requests_total";
    series_head(out, name, "Requests by route, backend and status class", "counter");
    for (size_t i = 0; i < sums->len; i++) {
        for (unsigned s = 0; s < METRIC_STATUS_CLASSES; s++) {
            strbuf_printf(out, "%s{%s,status=\"%s\"} %llu\n", name, sums->items[i]->labels,
                          metric_status_classes[s],
                          (unsigned long long)sums->items[i]->requests[s]);
        }
    }
}

struct outcome_context {
    const char *name;
    const char *labels;
    struct strbuf *out;
};

// What never happened to a pair has no series: most outcomes never do.
static void write_outcome(void *arg, const char *label, uint64_t sum)
{
    struct outcome_context *context = arg;
    if (sum != 0) {
        strbuf_printf(context->out, "%s{%s,outcome=\"%s\"} %llu\n", context->name,
                      context->labels, label, (unsigned long long)sum);
    }
}

static void write_outcomes(const struct sums *sums, fault_label_fn *fault_label, struct strbuf *out)
{
    struct outcome_context context = {.name = "headrace_backend_request_outcomes_total",
                                      .out = out};
    series_head(out, context.name, "Requests by route, backend and how they ended", "counter");
    for (size_t i = 0; i < sums->len; i++) {
        context.labels = sums->items[i]->labels;
        fault_sums_each(sums->items[i]->outcomes, METRIC_FAULTS_MAX, fault_label, write_outcome,
                        &context);
    }
}

static void write_counters(const struct sums *sums, struct strbuf *out)
{
    for (int c = 0; c < TRAFFIC_COUNT; c++) {
        series_head(out, counters[c].name, counters[c].help, "counter");
        for (size_t i = 0; i < sums->len; i++) {
            strbuf_printf(out, "%s{%s} %llu\n", counters[c].name, sums->items[i]->labels,
                          (unsigned long long)sums->items[i]->counters[c]);
        }
    }
}

static void write_histogram(const struct sum *sum, int l, struct strbuf *out)
{
    const char *name = latencies[l].name;
    uint64_t running = 0;
    for (unsigned b = 0; b < METRIC_LATENCY_BUCKETS; b++) {
        running += sum->buckets[l][b];
        strbuf_printf(out, "%s_bucket{%s,le=\"%g\"} %llu\n", name, sum->labels,
                      (double)metric_latency_bounds[b] / 1e9, (unsigned long long)running);
    }
    running += sum->buckets[l][METRIC_LATENCY_BUCKETS];
    strbuf_printf(out, "%s_bucket{%s,le=\"+Inf\"} %llu\n", name, sum->labels,
                  (unsigned long long)running);
    strbuf_printf(out, "%s_sum{%s} %.9g\n", name, sum->labels, (double)sum->sum_ns[l] / 1e9);
    strbuf_printf(out, "%s_count{%s} %llu\n", name, sum->labels, (unsigned long long)running);
}

void traffic_write(const struct traffic_worker *workers, size_t stride, unsigned count,
                   fault_label_fn *fault_label, struct strbuf *out)
{
    struct sums sums = {0};
    strbuf_init(&sums.labels, 4096);
    for (unsigned i = 0; i < count; i++) {
        const char *at = (const char *)workers + i * stride;
        collect(&sums, (const struct traffic_worker *)(const void *)at);
    }
    write_requests(&sums, out);
    write_outcomes(&sums, fault_label, out);
    write_counters(&sums, out);
    for (int l = 0; l < TRAFFIC_LATENCY_COUNT; l++) {
        series_head(out, latencies[l].name, latencies[l].help, "histogram");
        for (size_t i = 0; i < sums.len; i++) {
            write_histogram(sums.items[i], l, out);
        }
    }
    sums_fini(&sums);
}
