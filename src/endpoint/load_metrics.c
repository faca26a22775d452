#include "endpoint/load_metrics.h"

#include <errno.h>
#include <math.h>

static void metric_take(struct load_metrics *metrics, struct slice name, struct slice number)
{
    static const struct {
        const char *name;
        size_t offset;
    } known[] = {
        {"num_requests_waiting", offsetof(struct load_metrics, waiting)},
        {"num_requests_running", offsetof(struct load_metrics, running)},
        {"kv_cache_usage_perc", offsetof(struct load_metrics, kv_utilisation)},
        {"kv_cache_utilization", offsetof(struct load_metrics, kv_utilisation)}, // Triton
        {"max_token_capacity", offsetof(struct load_metrics, kv_capacity_tokens)},
    };
    struct slice prefix = SLICE("named_metrics.");
    if (slice_has_prefix(name, prefix)) {
        name = slice_skip(name, prefix.len);
    }
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        double value;
        if (slice_eq_str(name, known[i].name) && slice_to_double(number, &value) == 0 &&
            isfinite(value) && value >= 0) {
            *(double *)(void *)((char *)metrics + known[i].offset) = value;
        }
    }
}

static void text_parse(struct slice text, struct load_metrics *metrics)
{
    struct slice pair;
    while (slice_split(&text, ',', &pair)) {
        ptrdiff_t equals = slice_find_byte(pair, '=');
        if (equals > 0) {
            metric_take(metrics, slice_trim(slice_first(pair, (size_t)equals)),
                        slice_trim(slice_skip(pair, (size_t)equals + 1)));
        }
    }
}

static size_t number_len(struct slice s)
{
    size_t len = 0;
    while (len < s.len && ((s.ptr[len] >= '0' && s.ptr[len] <= '9') || s.ptr[len] == '-' ||
                           s.ptr[len] == '+' || s.ptr[len] == '.' || s.ptr[len] == 'e' ||
                           s.ptr[len] == 'E')) {
        len++;
    }
    return len;
}

// Every "name": number, at whatever depth: no more structure matters here.
static void json_parse(struct slice s, struct load_metrics *metrics)
{
    for (;;) {
        ptrdiff_t quote = slice_find_byte(s, '"');
        if (quote < 0) {
            return;
        }
        s = slice_skip(s, (size_t)quote + 1);
        size_t len = 0;
        while (len < s.len && s.ptr[len] != '"') {
            len += s.ptr[len] == '\\' ? 2 : 1;
        }
        struct slice name = slice_first(s, len);
        s = slice_skip_blanks(slice_skip(s, len + 1));
        if (s.len > 0 && s.ptr[0] == ':') {
            s = slice_skip_blanks(slice_skip(s, 1));
            struct slice number = slice_first(s, number_len(s));
            metric_take(metrics, name, number);
            s = slice_skip(s, number.len);
        }
    }
}

int load_metrics_parse(struct slice value, struct load_metrics *ret)
{
    struct load_metrics metrics = {
        .waiting = NAN, .running = NAN, .kv_utilisation = NAN, .kv_capacity_tokens = NAN};
    if (value.len > LOAD_METRICS_MAX) {
        return -EINVAL;
    }
    value = slice_trim(value);
    if (slice_has_prefix(value, SLICE("TEXT "))) {
        text_parse(slice_skip(value, 5), &metrics);
    } else if (slice_has_prefix(value, SLICE("JSON "))) {
        json_parse(slice_skip(value, 5), &metrics);
    }
    if (isnan(metrics.waiting) && isnan(metrics.running) && isnan(metrics.kv_utilisation) &&
        isnan(metrics.kv_capacity_tokens)) {
        return -EINVAL;
    }
    *ret = metrics;
    return 0;
}

void endpoint_load_metrics_apply(struct endpoint *endpoint, struct slice value, uint64_t now_ms)
{
    struct load_metrics metrics;
    if (load_metrics_parse(value, &metrics) == 0) {
        // Relaxed: the books a moment earlier or later would do as well.
        uint64_t load = atomic_load_explicit(&endpoint->load, memory_order_relaxed);
        uint64_t reserved =
            atomic_load_explicit(&endpoint->tokens_reserved, memory_order_relaxed);
        endpoint_sample_write(endpoint, metrics.waiting, metrics.running,
                              isnan(metrics.kv_utilisation) ? NAN
                                                            : MIN_OF(metrics.kv_utilisation, 1.0),
                              metrics.kv_capacity_tokens, load_requests(load), reserved, now_ms);
    }
}
