#include "endpoint/load_metrics.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void both_forms_are_read(void **state)
{
    (void)state;
    static const char *const values[] = {
        "TEXT named_metrics.num_requests_waiting=3.0, named_metrics.kv_cache_usage_perc=0.25",
        "TEXT  num_requests_waiting = 3,kv_cache_usage_perc=2.5e-1,other=7",
        "JSON {\"named_metrics\": {\"num_requests_waiting\": 3.0, \"kv_cache_usage_perc\": 0.25}}",
        "JSON {\"a\\\"b\":\"x\",\"n\":{\"kv_cache_utilization\":0.25,\"num_requests_waiting\":3}}",
    };
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        struct load_metrics m;
        assert_int_equal(load_metrics_parse(slice_of_str(values[i]), &m), 0);
        assert_true(fabs(m.waiting - 3) < 1e-9);
        assert_true(fabs(m.kv_utilisation - 0.25) < 1e-9);
        assert_true(isnan(m.running));
        assert_true(isnan(m.kv_capacity_tokens));
    }
}

static void nonsense_is_refused(void **state)
{
    (void)state;
    static const char *const values[] = {
        "", "TEXT", "TEXT ", "JSON ", "JSON {", "JSON \"", "JSON \"\\", "BIN CZqZ",
        "TEXT num_requests_waiting", "TEXT num_requests_waiting=", "TEXT num_requests_waiting=-1",
        "TEXT num_requests_waiting=nan", "JSON {\"num_requests_waiting\": \"3\"}",
        "JSON {\"num_requests_waiting\" 3}", "num_requests_waiting=3", "TEXT cpu_utilization=0.3",
    };
    struct load_metrics m;
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        assert_int_equal(load_metrics_parse(slice_of_str(values[i]), &m), -EINVAL);
    }
    static char big[LOAD_METRICS_MAX + 1];
    snprintf(big, sizeof(big), "TEXT num_requests_waiting=3,%*s", LOAD_METRICS_MAX - 30, "");
    assert_int_equal(load_metrics_parse(slice_of(big, sizeof(big)), &m), -EINVAL);
}

static void an_answer_is_a_sample(void **state)
{
    (void)state;
    struct endpoint *e = NULL;
    assert_int_equal(posix_memalign((void **)&e, CACHE_LINE, sizeof(*e)), 0);
    memset(e, 0, sizeof(*e));
    // Scraped: 4 of others run, 2 of ours; then an answer says that 9 wait.
    endpoint_sample_write(e, 0, 6, 0.1, 1000, 2, 0, 100);
    atomic_store(&e->load, 2 * LOAD_ONE_REQUEST);
    endpoint_load_metrics_apply(
        e,
        SLICE("TEXT named_metrics.num_requests_waiting=9.0, named_metrics.kv_cache_usage_perc=1.5"),
        200);
    struct endpoint_sample sample;
    endpoint_sample_read(e, &sample);
    assert_int_equal(sample.taken_ms, 200);
    assert_true(fabs(sample.others_waiting - 7) < 1e-9);
    assert_true(fabs(sample.others_requests - 11) < 1e-9);
    assert_true(fabs(sample.kv_utilisation - 1) < 1e-9);
    assert_true(fabs(sample.kv_capacity_tokens - 1000) < 1e-9);
    endpoint_load_metrics_apply(e, SLICE("TEXT nothing"), 300);
    endpoint_sample_read(e, &sample);
    assert_int_equal(sample.taken_ms, 200);
    free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_forms_are_read),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(an_answer_is_a_sample),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
