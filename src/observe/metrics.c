#include "observe/metrics.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

#define MS UINT64_C(1000000)
// Inter-token times live between 2 ms and 1 s, first tokens between 10 ms and a minute, whole
// answers up to many minutes: one series of bounds serves all three.
const uint64_t metric_latency_bounds[METRIC_LATENCY_BUCKETS] = {
    1 * MS,   2 * MS,    5 * MS,    10 * MS,   20 * MS,    30 * MS,    50 * MS,
    75 * MS,  100 * MS,  200 * MS,  350 * MS,  500 * MS,   1000 * MS,  2000 * MS,
    5000 * MS, 10000 * MS, 30000 * MS, 60000 * MS, 120000 * MS, 300000 * MS,
};

struct row {
    const char *name;
    const char *type;
    const char *labels;
    const char *help;
};

static const struct row worker_rows[METRIC_COUNT] = {
#define X(name_, text_, labels_, help_) [METRIC_##name_] = {text_, "counter", labels_, help_},
    METRIC_TABLE(X)
#undef X
};

static const struct row control_rows[METRIC_CONTROL_COUNT] = {
#define X(name_, text_, type_, labels_, help_) \
    [METRIC_CONTROL_##name_] = {text_, type_, labels_, help_},
    METRIC_CONTROL_TABLE(X)
#undef X
};

static const struct row kube_rows[METRIC_KUBE_COUNT] = {
#define X(name_, text_, type_, help_) [METRIC_KUBE_##name_] = {text_, type_, "", help_},
    METRIC_KUBE_TABLE(X)
#undef X
};

struct metrics *metrics_new(unsigned workers)
{
    size_t size = sizeof(struct metrics) + workers * sizeof(struct metrics_worker);
    size = (size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    struct metrics *metrics = aligned_alloc(CACHE_LINE, size);
    if (metrics == NULL) {
        return NULL;
    }
    memset(metrics, 0, size);
    metrics->worker_count = workers;
    return metrics;
}

void metrics_free(struct metrics *metrics)
{
    for (unsigned i = 0; metrics != NULL && i < metrics->worker_count; i++) {
        struct metrics_backend *backend =
            atomic_load_explicit(&metrics->workers[i].backends, memory_order_relaxed);
        while (backend != NULL) {
            struct metrics_backend *next = backend->next;
            free(backend->key);
            free(backend);
            backend = next;
        }
    }
    free(metrics);
}

void metrics_latency_record(struct metrics_latency *latency, uint64_t ns)
{
    unsigned i = 0;
    while (i < METRIC_LATENCY_BUCKETS && ns > metric_latency_bounds[i]) {
        i++;
    }
    metrics_cell_add(&latency->buckets[i], 1);
    metrics_cell_add(&latency->sum_ns, ns);
}

// The slot of the key, or the empty one where it belongs. There always is an empty one.
static struct metrics_backend **find_slot(struct metrics_worker *worker, const char *key)
{
    uint64_t at = hash_bytes(slice_of_str(key));
    for (;; at++) {
        struct metrics_backend **slot = &worker->index[at % METRIC_BACKEND_SLOTS];
        if (*slot == NULL || strcmp((*slot)->key, key) == 0) {
            return slot;
        }
    }
}

struct metrics_backend *metrics_backend(struct metrics_worker *worker, const char *key)
{
    if (worker->recent != NULL && strcmp(worker->recent->key, key) == 0) {
        return worker->recent;
    }
    struct metrics_backend **slot = find_slot(worker, key);
    if (*slot == NULL && worker->backend_count >= METRIC_BACKENDS_MAX) {
        key = "other";
        slot = find_slot(worker, key);
    }
    if (*slot == NULL) {
        struct metrics_backend *made = calloc(1, sizeof(*made));
        char *copy = strdup(key);
        if (made == NULL || copy == NULL) {
            free(made);
            free(copy);
            return NULL;
        }
        made->key = copy;
        made->next = atomic_load_explicit(&worker->backends, memory_order_relaxed);
        worker->backend_count++;
        *slot = made;
        // Release pairs with the acquire in collect_backends: readers see it whole.
        atomic_store_explicit(&worker->backends, made, memory_order_release);
    }
    worker->recent = *slot;
    return *slot;
}

static void store_double(_Atomic uint64_t *cell, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    atomic_store_explicit(cell, bits, memory_order_relaxed);
}

void metrics_control_set(struct metrics *metrics, enum metric_control metric, double value)
{
    store_double(&metrics->control[metric], value);
}

void metrics_kube_set(struct metrics *metrics, unsigned index, const char *kind,
                      const double values[METRIC_KUBE_COUNT])
{
    BUG_ON(index >= METRIC_KUBE_KINDS_MAX);
    for (unsigned m = 0; m < METRIC_KUBE_COUNT; m++) {
        store_double(&metrics->kube[index].values[m], values[m]);
    }
    // Release pairs with the acquire in write_kube: who sees the name sees values.
    atomic_store_explicit(&metrics->kube[index].kind, kind, memory_order_release);
}

// ---- exposition ---------------------------------------------------------------------------------

static uint64_t load(const _Atomic uint64_t *cell)
{
    return atomic_load_explicit(cell, memory_order_relaxed);
}

static double load_double(const _Atomic uint64_t *cell)
{
    uint64_t bits = load(cell);
    double value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

void metrics_write_head(struct strbuf *out, const char *name, const char *help, const char *type)
{
    strbuf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void metrics_write_label(struct strbuf *out, struct slice value)
{
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];
        if (c == '\n') {
            strbuf_add(out, SLICE("\\n"));
            continue;
        }
        if (c == '"' || c == '\\') {
            strbuf_add_char(out, '\\');
        }
        strbuf_add_char(out, c);
    }
}

static void write_row(const struct row *row, const struct row *before, double value,
                      struct strbuf *out)
{
    if (before == NULL || strcmp(before->name, row->name) != 0) {
        metrics_write_head(out, row->name, row->help, row->type);
    }
    bool has_labels = row->labels[0] != '\0';
    strbuf_printf(out, "%s%s%s%s %.17g\n", row->name, has_labels ? "{" : "", row->labels,
                  has_labels ? "}" : "", value);
}

static void write_counters(const struct metrics *metrics, struct strbuf *out)
{
    for (unsigned m = 0; m < METRIC_COUNT; m++) {
        uint64_t sum = 0;
        for (unsigned i = 0; i < metrics->worker_count; i++) {
            sum += load(&metrics->workers[i].counters[m]);
        }
        write_row(&worker_rows[m], m == 0 ? NULL : &worker_rows[m - 1], (double)sum, out);
    }
}

static void write_control(const struct metrics *metrics, struct strbuf *out)
{
    for (unsigned m = 0; m < METRIC_CONTROL_COUNT; m++) {
        write_row(&control_rows[m], m == 0 ? NULL : &control_rows[m - 1],
                  load_double(&metrics->control[m]), out);
    }
}

static void write_kube(const struct metrics *metrics, struct strbuf *out)
{
    for (unsigned m = 0; m < METRIC_KUBE_COUNT; m++) {
        const struct row *row = &kube_rows[m];
        bool begun = false;
        for (unsigned k = 0; k < METRIC_KUBE_KINDS_MAX; k++) {
            const struct metrics_kube_kind *kube = &metrics->kube[k];
            // Acquire pairs with the release in metrics_kube_set.
            const char *kind = atomic_load_explicit(&kube->kind, memory_order_acquire);
            if (kind == NULL) {
                continue;
            }
            if (!begun) {
                metrics_write_head(out, row->name, row->help, row->type);
                begun = true;
            }
            strbuf_printf(out, "%s{kind=\"%s\"} %.17g\n", row->name, kind,
                          load_double(&kube->values[m]));
        }
    }
}

static void write_rejects(const struct metrics *metrics, struct strbuf *out)
{
    const char *name = "headrace_rejected_messages_total";
    metrics_write_head(out, name, "HTTP messages refused by the codec, by reason", "counter");
    for (unsigned r = 1; r < HTTP_REJECT_COUNT; r++) {
        uint64_t sum = 0;
        for (unsigned i = 0; i < metrics->worker_count; i++) {
            sum += load(&metrics->workers[i].rejects[r]);
        }
        strbuf_printf(out, "%s{reason=\"%s\"} %llu\n", name, http_reject_label((enum http_reject)r),
                      (unsigned long long)sum);
    }
}

static uint64_t fault_sum(const struct metrics *metrics, unsigned fault)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < metrics->worker_count; i++) {
        sum += load(&metrics->workers[i].faults[fault]);
    }
    return sum;
}

static void write_faults(const struct metrics *metrics, struct strbuf *out,
                         const char *(*fault_label)(unsigned n))
{
    const char *name = "headrace_request_outcomes_total";
    bool done[METRIC_FAULTS_MAX] = {false};
    metrics_write_head(out, name, "Requests by how they ended", "counter");
    for (unsigned f = 0; f < METRIC_FAULTS_MAX && fault_label(f) != NULL; f++) {
        uint64_t sum = 0;
        for (unsigned k = f; !done[f] && k < METRIC_FAULTS_MAX && fault_label(k) != NULL; k++) {
            if (strcmp(fault_label(k), fault_label(f)) == 0) {
                sum += fault_sum(metrics, k);
                done[k] = k != f;
            }
        }
        if (!done[f]) {
            strbuf_printf(out, "%s{outcome=\"%s\"} %llu\n", name, fault_label(f),
                          (unsigned long long)sum);
        }
    }
}

static const char *const status_classes[METRIC_STATUS_CLASSES] = {"none", "1xx", "2xx",
                                                                  "3xx",  "4xx", "5xx"};

static void write_statuses(const struct metrics *metrics, struct strbuf *out)
{
    const char *name = "headrace_requests_total";
    metrics_write_head(out, name, "Requests by class of the status that the client got", "counter");
    for (unsigned s = 0; s < METRIC_STATUS_CLASSES; s++) {
        uint64_t sum = 0;
        for (unsigned i = 0; i < metrics->worker_count; i++) {
            sum += load(&metrics->workers[i].requests[s]);
        }
        strbuf_printf(out, "%s{status=\"%s\"} %llu\n", name, status_classes[s],
                      (unsigned long long)sum);
    }
}

// Sums over workers, by key. Small numbers: a list is enough.
struct backend_sum {
    const char *key;
    uint64_t requests[METRIC_STATUS_CLASSES];
    uint64_t tokens[3];
    uint64_t latency[3][METRIC_LATENCY_BUCKETS + 1];
    uint64_t latency_sum[3];
};

struct backend_sums {
    struct backend_sum *items;
    size_t len;
    size_t cap;
};

static struct backend_sum *sum_of(struct backend_sums *sums, const char *key)
{
    for (size_t i = 0; i < sums->len; i++) {
        if (strcmp(sums->items[i].key, key) == 0) {
            return &sums->items[i];
        }
    }
    if (sums->len == sums->cap) {
        size_t cap = sums->cap != 0 ? sums->cap * 2 : 16;
        struct backend_sum *grown = realloc(sums->items, cap * sizeof(*grown));
        if (grown == NULL) {
            return NULL;
        }
        sums->items = grown;
        sums->cap = cap;
    }
    struct backend_sum *sum = &sums->items[sums->len++];
    *sum = (struct backend_sum){.key = key};
    return sum;
}

static void add_latency(struct backend_sum *sum, int which, const struct metrics_latency *latency)
{
    for (unsigned b = 0; b <= METRIC_LATENCY_BUCKETS; b++) {
        sum->latency[which][b] += load(&latency->buckets[b]);
    }
    sum->latency_sum[which] += load(&latency->sum_ns);
}

static void collect_backends(const struct metrics *metrics, struct backend_sums *sums)
{
    for (unsigned i = 0; i < metrics->worker_count; i++) {
        // Acquire pairs with the release in metrics_backend.
        struct metrics_backend *backend =
            atomic_load_explicit(&metrics->workers[i].backends, memory_order_acquire);
        for (; backend != NULL; backend = backend->next) {
            struct backend_sum *sum = sum_of(sums, backend->key);
            if (sum == NULL) {
                return;
            }
            for (unsigned s = 0; s < METRIC_STATUS_CLASSES; s++) {
                sum->requests[s] += load(&backend->requests[s]);
            }
            sum->tokens[0] += load(&backend->prompt_tokens);
            sum->tokens[1] += load(&backend->completion_tokens);
            sum->tokens[2] += load(&backend->cached_tokens);
            add_latency(sum, 0, &backend->ttft);
            add_latency(sum, 1, &backend->inter_token);
            add_latency(sum, 2, &backend->duration);
        }
    }
}

static void write_backend_latency(const struct backend_sums *sums, int which, const char *name,
                                  const char *help, struct strbuf *out)
{
    metrics_write_head(out, name, help, "histogram");
    for (size_t i = 0; i < sums->len; i++) {
        const struct backend_sum *sum = &sums->items[i];
        uint64_t running = 0;
        for (unsigned b = 0; b < METRIC_LATENCY_BUCKETS; b++) {
            running += sum->latency[which][b];
            strbuf_printf(out, "%s_bucket{backend=\"%s\",le=\"%g\"} %llu\n", name, sum->key,
                          (double)metric_latency_bounds[b] / 1e9, (unsigned long long)running);
        }
        running += sum->latency[which][METRIC_LATENCY_BUCKETS];
        strbuf_printf(out,
                      "%s_bucket{backend=\"%s\",le=\"+Inf\"} %llu\n%s_sum{backend=\"%s\"} %.9g\n"
                      "%s_count{backend=\"%s\"} %llu\n",
                      name, sum->key, (unsigned long long)running, name, sum->key,
                      (double)sum->latency_sum[which] / 1e9, name, sum->key,
                      (unsigned long long)running);
    }
}

static void write_backends(const struct metrics *metrics, struct strbuf *out)
{
    static const struct {
        const char *name;
        const char *help;
    } tokens[3] = {
        {"headrace_prompt_tokens_total", "Prompt tokens that the servers reported"},
        {"headrace_completion_tokens_total", "Completion tokens that the servers reported"},
        {"headrace_cached_prompt_tokens_total", "Prompt tokens that the servers had cached"},
    };
    struct backend_sums sums = {0};
    collect_backends(metrics, &sums);
    const char *name = "headrace_backend_requests_total";
    metrics_write_head(out, name, "Requests by backend and status class", "counter");
    for (size_t i = 0; i < sums.len; i++) {
        for (unsigned s = 0; s < METRIC_STATUS_CLASSES; s++) {
            strbuf_printf(out, "%s{backend=\"%s\",status=\"%s\"} %llu\n", name,
                          sums.items[i].key, status_classes[s],
                          (unsigned long long)sums.items[i].requests[s]);
        }
    }
    for (int t = 0; t < 3; t++) {
        metrics_write_head(out, tokens[t].name, tokens[t].help, "counter");
        for (size_t i = 0; i < sums.len; i++) {
            strbuf_printf(out, "%s{backend=\"%s\"} %llu\n", tokens[t].name, sums.items[i].key,
                          (unsigned long long)sums.items[i].tokens[t]);
        }
    }
    write_backend_latency(&sums, 0, "headrace_time_to_first_token_seconds",
                          "From the request's arrival to its first token "
                          "(first event or body byte)",
                          out);
    write_backend_latency(&sums, 1, "headrace_inter_token_seconds",
                          "Between two arrivals of events of a stream", out);
    write_backend_latency(&sums, 2, "headrace_request_duration_seconds",
                          "From the request's arrival to the end of its answer", out);
    free(sums.items);
}

void metrics_write(const struct metrics *metrics, struct strbuf *out,
                   const char *(*fault_label)(unsigned n))
{
    write_counters(metrics, out);
    write_control(metrics, out);
    write_kube(metrics, out);
    write_statuses(metrics, out);
    write_faults(metrics, out, fault_label);
    write_rejects(metrics, out);
    write_backends(metrics, out);
}
