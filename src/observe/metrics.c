#include "observe/metrics.h"

#include <stdlib.h>
#include <string.h>

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

static const struct row own_rows[METRIC_WORKER_COUNT] = {
#define X(name_, text_, type_, help_) [METRIC_WORKER_##name_] = {text_, type_, "", help_},
    METRIC_WORKER_TABLE(X)
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
        traffic_worker_fini(&metrics->workers[i].traffic);
    }
    free(metrics);
}

void metrics_worker_set(struct metrics_worker *worker, enum metric_worker metric, double value)
{
    cell_store_double(&worker->own[metric], value);
}

void metrics_control_set(struct metrics *metrics, enum metric_control metric, double value)
{
    cell_store_double(&metrics->control[metric], value);
}

void metrics_kube_set(struct metrics *metrics, unsigned index, const char *kind,
                      const double values[METRIC_KUBE_COUNT])
{
    BUG_ON(index >= METRIC_KUBE_KINDS_MAX);
    for (unsigned m = 0; m < METRIC_KUBE_COUNT; m++) {
        cell_store_double(&metrics->kube[index].values[m], values[m]);
    }
    // Release pairs with the acquire in write_kube: who sees the name sees values.
    atomic_store_explicit(&metrics->kube[index].kind, kind, memory_order_release);
}

// ---- exposition ---------------------------------------------------------------------------------

static void write_row(const struct row *row, const struct row *before, double value,
                      struct strbuf *out)
{
    if (before == NULL || strcmp(before->name, row->name) != 0) {
        series_head(out, row->name, row->help, row->type);
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
            sum += cell_load(&metrics->workers[i].counters[m]);
        }
        write_row(&worker_rows[m], m == 0 ? NULL : &worker_rows[m - 1], (double)sum, out);
    }
}

static void write_control(const struct metrics *metrics, struct strbuf *out)
{
    for (unsigned m = 0; m < METRIC_CONTROL_COUNT; m++) {
        write_row(&control_rows[m], m == 0 ? NULL : &control_rows[m - 1],
                  cell_load_double(&metrics->control[m]), out);
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
                series_head(out, row->name, row->help, row->type);
                begun = true;
            }
            strbuf_printf(out, "%s{kind=\"%s\"} %.17g\n", row->name, kind,
                          cell_load_double(&kube->values[m]));
        }
    }
}

static void write_rejects(const struct metrics *metrics, struct strbuf *out)
{
    const char *name = "headrace_rejected_messages_total";
    series_head(out, name, "HTTP messages refused by the codec, by reason", "counter");
    for (unsigned r = 1; r < HTTP_REJECT_COUNT; r++) {
        uint64_t sum = 0;
        for (unsigned i = 0; i < metrics->worker_count; i++) {
            sum += cell_load(&metrics->workers[i].rejects[r]);
        }
        strbuf_printf(out, "%s{reason=\"%s\"} %llu\n", name, http_reject_label((enum http_reject)r),
                      (unsigned long long)sum);
    }
}

static void write_tls_faults(const struct metrics *metrics, struct strbuf *out)
{
    static const char *const sides[] = {[METRIC_TLS_CLIENT] = "client",
                                        [METRIC_TLS_UPSTREAM] = "upstream"};
    const char *name = "headrace_tls_failures_total";
    series_head(out, name, "TLS handshakes that failed, by reason", "counter");
    for (unsigned side = 0; side < METRIC_TLS_SIDES; side++) {
        for (unsigned fault = 1; fault < TLS_FAULT_COUNT; fault++) {
            uint64_t sum = 0;
            for (unsigned i = 0; i < metrics->worker_count; i++) {
                sum += cell_load(&metrics->workers[i].tls_faults[side][fault]);
            }
            strbuf_printf(out, "%s{side=\"%s\",reason=\"%s\"} %llu\n", name, sides[side],
                          tls_fault_label((enum tls_fault)fault), (unsigned long long)sum);
        }
    }
}

struct outcome_context {
    const char *name;
    struct strbuf *out;
};

static void write_outcome(void *arg, const char *label, uint64_t sum)
{
    struct outcome_context *context = arg;
    strbuf_printf(context->out, "%s{outcome=\"%s\"} %llu\n", context->name, label,
                  (unsigned long long)sum);
}

static void write_outcomes(const struct metrics *metrics, fault_label_fn *fault_label,
                           struct strbuf *out)
{
    struct outcome_context context = {.name = "headrace_request_outcomes_total", .out = out};
    uint64_t sums[METRIC_FAULTS_MAX] = {0};
    for (unsigned i = 0; i < metrics->worker_count; i++) {
        for (unsigned f = 0; f < METRIC_FAULTS_MAX; f++) {
            sums[f] += cell_load(&metrics->workers[i].faults[f]);
        }
    }
    series_head(out, context.name, "Requests by how they ended", "counter");
    fault_sums_each(sums, METRIC_FAULTS_MAX, fault_label, write_outcome, &context);
}

static void write_statuses(const struct metrics *metrics, struct strbuf *out)
{
    const char *name = "headrace_requests_total";
    series_head(out, name, "Requests by class of the status that the client got", "counter");
    for (unsigned s = 0; s < METRIC_STATUS_CLASSES; s++) {
        uint64_t sum = 0;
        for (unsigned i = 0; i < metrics->worker_count; i++) {
            sum += cell_load(&metrics->workers[i].requests[s]);
        }
        strbuf_printf(out, "%s{status=\"%s\"} %llu\n", name, metric_status_classes[s],
                      (unsigned long long)sum);
    }
}

// Families of their own, so that nobody who adds up the others counts twice.
static void write_workers(const struct metrics *metrics, struct strbuf *out)
{
    const char *name = "headrace_worker_requests_total";
    series_head(out, name, "Requests that ended on the worker", "counter");
    for (unsigned i = 0; i < metrics->worker_count; i++) {
        uint64_t sum = 0;
        for (unsigned s = 0; s < METRIC_STATUS_CLASSES; s++) {
            sum += cell_load(&metrics->workers[i].requests[s]);
        }
        strbuf_printf(out, "%s{worker=\"%u\"} %llu\n", name, i, (unsigned long long)sum);
    }
    for (unsigned m = 0; m < METRIC_WORKER_COUNT; m++) {
        const struct row *row = &own_rows[m];
        series_head(out, row->name, row->help, row->type);
        for (unsigned i = 0; i < metrics->worker_count; i++) {
            strbuf_printf(out, "%s{worker=\"%u\"} %.17g\n", row->name, i,
                          cell_load_double(&metrics->workers[i].own[m]));
        }
    }
}

void metrics_write(const struct metrics *metrics, struct strbuf *out, fault_label_fn *fault_label)
{
    write_counters(metrics, out);
    write_control(metrics, out);
    write_kube(metrics, out);
    write_statuses(metrics, out);
    write_outcomes(metrics, fault_label, out);
    write_rejects(metrics, out);
    write_tls_faults(metrics, out);
    write_workers(metrics, out);
    traffic_write(&metrics->workers[0].traffic, sizeof(metrics->workers[0]),
                  metrics->worker_count, fault_label, out);
}
