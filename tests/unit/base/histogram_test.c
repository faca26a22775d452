#include "base/histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rand.h"

static void buckets_cover_every_value_once(void **state)
{
    (void)state;
    assert_int_equal(histogram_bucket_of(0), 0);
    assert_int_equal(histogram_bucket_of(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
    for (unsigned b = 0; b < HISTOGRAM_BUCKETS; b++) {
        uint64_t top = histogram_bucket_top(b);
        assert_int_equal(histogram_bucket_of(top), b);
        if (b + 1 < HISTOGRAM_BUCKETS) {
            assert_int_equal(histogram_bucket_of(top + 1), b + 1);
            // The next bucket's width against its values: the promised precision.
            uint64_t width = histogram_bucket_top(b + 1) - top;
            assert_true((double)(width - 1) <= 0.016 * (double)(top + 1));
        }
    }
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void quantiles_are_near_those_of_the_sorted_values(void **state)
{
    (void)state;
    enum { N = 10000 };
    static uint64_t values[N];
    struct histogram *h = malloc(sizeof *h);
    struct rand_state rng = {.state = 9};
    assert_non_null(h);
    histogram_init(h);
    for (size_t i = 0; i < N; i++) {
        values[i] = rand_below(&rng, UINT64_C(1) << (1 + rand_below(&rng, 40)));
        histogram_record(h, values[i]);
    }
    qsort(values, N, sizeof values[0], compare);
    for (int percent = 1; percent < 100; percent++) {
        uint64_t exact = values[N / 100 * percent];
        uint64_t got = histogram_quantile(h, percent / 100.0);
        // The rank may be off by one where the product rounds down.
        uint64_t below = values[N / 100 * percent - 1];
        assert_true(got >= below);
        assert_true((double)got <= 1.016 * (double)exact + 1);
    }
    assert_int_equal(histogram_quantile(h, 0), values[0]);
    assert_int_equal(histogram_quantile(h, 1), values[N - 1]);
    free(h);
}

static void empty_and_single(void **state)
{
    (void)state;
    struct histogram *h = malloc(sizeof *h);
    assert_non_null(h);
    histogram_init(h);
    assert_int_equal(histogram_quantile(h, 0.5), 0);
    histogram_record(h, 123456789);
    assert_int_equal(histogram_quantile(h, 0), 123456789);
    assert_int_equal(histogram_quantile(h, 0.5), 123456789);
    assert_int_equal(histogram_quantile(h, 1), 123456789);
    free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_cover_every_value_once),
        cmocka_unit_test(quantiles_are_near_those_of_the_sorted_values),
        cmocka_unit_test(empty_and_single),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
