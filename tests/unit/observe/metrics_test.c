// The exposition: sums over workers, one series a label set, every metric documented.
#include "observe/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define PAIR "route=\"ml/chat\",backend=\"ml/llama\""

static const char *label(unsigned n)
{
    static const char *const labels[] = {"ok", "no_route", "no_route", "overloaded"};
    return n < ARRAY_LEN(labels) ? labels[n] : NULL;
}

static void count_something(struct metrics *metrics)
{
    for (unsigned i = 0; i < 2; i++) {
        struct metrics_worker *worker = metrics_worker(metrics, i);
        metrics_add(worker, METRIC_BYTES_IN, 100 + i);
        metrics_add(worker, METRIC_RETRIES_RESET, 3);
        metrics_reject(worker, HTTP_REJECT_OBS_FOLD);
        metrics_cell_add(&worker->requests[2], 5);
        metrics_cell_add(&worker->faults[1], 1);
        metrics_cell_add(&worker->faults[2], 2);
        metrics_worker_set(worker, METRIC_WORKER_BUFFERED, 10 + i);
        struct traffic *cells =
            traffic_of(&worker->traffic, SLICE("ml/chat"), SLICE("ml/llama"));
        metrics_cell_add(&cells->requests[2], 4);
        metrics_cell_add(&cells->outcomes[2], 4);
        traffic_add(cells, TRAFFIC_PROMPT_TOKENS, 1000);
        traffic_record(cells, TRAFFIC_LATENCY_TTFT, 30 * UINT64_C(1000000));
        traffic_record(cells, TRAFFIC_LATENCY_TTFT, 30 * UINT64_C(1000000) + 1);
        traffic_record(cells, TRAFFIC_LATENCY_TTFT, UINT64_C(3600) * 1000000000);
        cells = traffic_of(&worker->traffic, SLICE("ml/\"odd\""), SLICE_NULL);
        metrics_cell_add(&cells->outcomes[3], 1);
    }
    metrics_control_set(metrics, METRIC_CONTROL_OBJECTS_AIROUTE, 7);
    const double kube[METRIC_KUBE_COUNT] = {[METRIC_KUBE_LISTS] = 2, [METRIC_KUBE_HEARD_AGE] = 0.5};
    metrics_kube_set(metrics, 0, "Service", kube);
    metrics_kube_set(metrics, 2, "Pod", kube);
}

static void assert_line(struct strbuf *text, const char *line)
{
    struct strbuf want;
    strbuf_init(&want, 4096);
    strbuf_printf(&want, "\n%s\n", line);
    if (slice_find(strbuf_slice(text), strbuf_slice(&want)) < 0) {
        fail_msg("no line %s in\n%s", line, strbuf_cstr(text));
    }
    strbuf_fini(&want);
}

static void kinds_are_shown_while_they_are_watched(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_new(2);
    assert_non_null(metrics);
    struct strbuf out;
    strbuf_init(&out, 1 << 20);
    metrics_write(metrics, &out, label);
    assert_true(slice_find(strbuf_slice(&out), SLICE("headrace_kube")) < 0);
    count_something(metrics);
    strbuf_reset(&out);
    metrics_write(metrics, &out, label);
    assert_line(&out, "headrace_kube_lists_total{kind=\"Service\"} 2");
    assert_line(&out, "headrace_kube_heard_age_seconds{kind=\"Pod\"} 0.5");
    const double none[METRIC_KUBE_COUNT] = {0};
    metrics_kube_set(metrics, 2, NULL, none);
    strbuf_reset(&out);
    metrics_write(metrics, &out, label);
    assert_line(&out, "headrace_kube_in_touch{kind=\"Service\"} 0");
    assert_true(slice_find(strbuf_slice(&out), SLICE("{kind=\"Pod\"} 0.5")) < 0);
    strbuf_fini(&out);
    metrics_free(metrics);
}

static void workers_are_summed(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_new(2);
    assert_non_null(metrics);
    count_something(metrics);
    struct strbuf out;
    strbuf_init(&out, 1 << 20);
    metrics_write(metrics, &out, label);
    assert_line(&out, "headrace_received_bytes_total 201");
    assert_line(&out, "headrace_retries_total{reason=\"reset\"} 6");
    assert_line(&out, "headrace_rejected_messages_total{reason=\"obs_fold\"} 2");
    assert_line(&out, "headrace_requests_total{status=\"2xx\"} 10");
    assert_line(&out, "headrace_request_outcomes_total{outcome=\"no_route\"} 6");
    assert_line(&out, "headrace_backend_requests_total{" PAIR ",status=\"2xx\"} 8");
    assert_line(&out, "headrace_backend_request_outcomes_total{" PAIR ",outcome=\"no_route\"} 8");
    assert_line(&out, "headrace_backend_request_outcomes_total{route=\"ml/\\\"odd\\\"\","
                      "backend=\"\",outcome=\"overloaded\"} 2");
    assert_true(slice_find(strbuf_slice(&out), SLICE(PAIR ",outcome=\"ok\"")) < 0);
    assert_line(&out, "headrace_prompt_tokens_total{" PAIR "} 2000");
    assert_line(&out, "headrace_objects{kind=\"AIRoute\"} 7");
    const char *ttft = "headrace_time_to_first_token_seconds";
    char line[200];
    snprintf(line, sizeof(line), "%s_bucket{" PAIR ",le=\"0.02\"} 0", ttft);
    assert_line(&out, line);
    snprintf(line, sizeof(line), "%s_bucket{" PAIR ",le=\"0.03\"} 2", ttft);
    assert_line(&out, line); // a bound belongs to its bucket
    snprintf(line, sizeof(line), "%s_bucket{" PAIR ",le=\"0.05\"} 4", ttft);
    assert_line(&out, line);
    snprintf(line, sizeof(line), "%s_bucket{" PAIR ",le=\"+Inf\"} 6", ttft);
    assert_line(&out, line);
    snprintf(line, sizeof(line), "%s_count{" PAIR "} 6", ttft);
    assert_line(&out, line);
    strbuf_fini(&out);
    metrics_free(metrics);
}

// Whole exposition, with a backend of two endpoints.
static void write_all(struct strbuf *out)
{
    struct epoch epoch;
    struct endpoint_table *table;
    struct endpoint_spec specs[2] = {{.weight = 1}, {.weight = 1}};
    struct metrics *metrics = metrics_new(2);
    epoch_init(&epoch);
    assert_non_null(metrics);
    assert_int_equal(endpoint_table_new(&table, &epoch), 0);
    struct backend_state *backend = endpoint_table_backend(table, SLICE("ml/llama"));
    assert_non_null(backend);
    assert_int_equal(endpoint_address_parse(SLICE("10.0.0.1"), 8000, &specs[0]), 0);
    assert_int_equal(endpoint_address_parse(SLICE("10.0.0.2"), 8000, &specs[1]), 0);
    assert_int_equal(backend_state_set_endpoints(backend, specs, 2), 0);
    struct endpoint *first = backend_state_endpoints(backend)->items[0];
    endpoint_sample_write(first, 3, 5, 0.25, 0, 0, 0, 1000);
    count_something(metrics);
    metrics_write(metrics, out, label);
    metrics_write_endpoints(table, 1500, out);
    metrics_write_process("v\"1", true, out);
    assert_false(out->failed);
    backend_state_unref(backend);
    endpoint_table_free(table);
    epoch_fini(&epoch);
    metrics_free(metrics);
}

static void endpoints_say_only_what_is_known(void **state)
{
    (void)state;
    struct strbuf out;
    strbuf_init(&out, 1 << 20);
    write_all(&out);
    assert_line(&out, "headrace_endpoint_waiting_requests{backend=\"ml/llama\","
                      "endpoint=\"10.0.0.1:8000\"} 3");
    assert_line(&out, "headrace_endpoint_kv_cache_utilisation_ratio{backend=\"ml/llama\","
                      "endpoint=\"10.0.0.1:8000\"} 0.25");
    assert_line(&out, "headrace_endpoint_sample_age_seconds{backend=\"ml/llama\","
                      "endpoint=\"10.0.0.1:8000\"} 0.5");
    assert_line(&out, "headrace_endpoint_outstanding_requests{backend=\"ml/llama\","
                      "endpoint=\"10.0.0.2:8000\"} 0");
    assert_true(slice_find(strbuf_slice(&out), SLICE("_waiting_requests{backend=\"ml/llama\","
                                                     "endpoint=\"10.0.0.2")) < 0);
    assert_line(&out, "headrace_endpoints 2");
    assert_line(&out, "headrace_build_info{version=\"v\\\"1\"} 1");
    strbuf_fini(&out);
}

static int compare_lines(const void *a, const void *b)
{
    return slice_cmp(*(const struct slice *)a, *(const struct slice *)b);
}

// Prometheus refuses an exposition in which a series or a TYPE line comes twice.
static void nothing_comes_twice(void **state)
{
    (void)state;
    static struct slice lines[10000];
    size_t count = 0;
    struct strbuf out;
    strbuf_init(&out, 1 << 20);
    write_all(&out);
    struct slice rest = strbuf_slice(&out);
    struct slice line;
    while (slice_split(&rest, '\n', &line) && line.len != 0) {
        bool comment = line.ptr[0] == '#';
        if (comment && !slice_has_prefix(line, SLICE("# TYPE "))) {
            continue;
        }
        const char *value = memrchr(line.ptr, ' ', line.len);
        assert_true(count < ARRAY_LEN(lines));
        lines[count++] = slice_first(line, (size_t)(value - line.ptr));
    }
    assert_true(count > 100);
    qsort(lines, count, sizeof(lines[0]), compare_lines);
    for (size_t i = 1; i < count; i++) {
        if (slice_eq(lines[i - 1], lines[i])) {
            fail_msg("twice: %.*s", SLICE_FMT(lines[i]));
        }
    }
    strbuf_fini(&out);
}

static void each_worker_is_shown_by_itself(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_new(2);
    assert_non_null(metrics);
    count_something(metrics);
    struct strbuf out;
    strbuf_init(&out, 1 << 20);
    metrics_write(metrics, &out, label);
    assert_line(&out, "headrace_worker_buffered_bytes{worker=\"0\"} 10");
    assert_line(&out, "headrace_worker_buffered_bytes{worker=\"1\"} 11");
    assert_line(&out, "headrace_worker_requests_total{worker=\"1\"} 5");
    strbuf_fini(&out);
    metrics_free(metrics);
}

static void pools_have_the_names_that_autoscalers_ask_for(void **state)
{
    (void)state;
    struct strbuf out;
    strbuf_init(&out, 1 << 20);
    write_all(&out);
    assert_line(&out, "inference_pool_ready_pods{name=\"llama\",pool_namespace=\"ml\"} 2");
    // Of the two endpoints one never said anything.
    assert_line(&out, "inference_pool_average_queue_size{name=\"llama\",pool_namespace=\"ml\"} 3");
    assert_line(&out, "inference_pool_average_kv_cache_utilization{name=\"llama\","
                      "pool_namespace=\"ml\"} 0.25");
    strbuf_fini(&out);
}

static void too_many_pairs_share_one_series(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_new(1);
    struct traffic_worker *traffic = &metrics_worker(metrics, 0)->traffic;
    char key[32];
    // One behind the other, both pairs would be the same text.
    assert_ptr_not_equal(traffic_of(traffic, SLICE("ns/routens"), SLICE("/backend")),
                         traffic_of(traffic, SLICE("ns/route"), SLICE("ns/backend")));
    for (unsigned i = 0; i < TRAFFIC_PAIRS_MAX + 10; i++) {
        int len = snprintf(key, sizeof(key), "ns/backend-%u", i);
        struct slice backend = slice_of(key, (size_t)len);
        metrics_cell_add(&traffic_of(traffic, SLICE("ns/route"), backend)->requests[2], 1);
    }
    struct traffic *other = traffic_of(traffic, SLICE("ns/route"), SLICE("ns/new"));
    assert_ptr_equal(other, traffic_of(traffic, SLICE("ns/newer"), SLICE("ns/backend-7")));
    assert_true(slice_eq(other->route, SLICE("other")) && slice_eq(other->backend, SLICE("other")));
    struct traffic *seventh = traffic_of(traffic, SLICE("ns/route"), SLICE("ns/backend-7"));
    assert_true(slice_eq(seventh->backend, SLICE("ns/backend-7")));
    metrics_free(metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(workers_are_summed),
        cmocka_unit_test(kinds_are_shown_while_they_are_watched),
        cmocka_unit_test(endpoints_say_only_what_is_known),
        cmocka_unit_test(nothing_comes_twice),
        cmocka_unit_test(each_worker_is_shown_by_itself),
        cmocka_unit_test(pools_have_the_names_that_autoscalers_ask_for),
        cmocka_unit_test(too_many_pairs_share_one_series),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
