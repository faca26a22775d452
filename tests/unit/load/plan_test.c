#include "load/plan.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct load_dist dist_of(const char *text)
{
    struct load_dist dist;
    assert_int_equal(load_dist_parse(slice_of_str(text), &dist, NULL), 0);
    return dist;
}

static struct load_config config_of(double rate)
{
    return (struct load_config){.model = SLICE("m"),
                                .stream = true,
                                .rate = rate,
                                .time_scale = 1,
                                .seed = 3,
                                .prompt_tokens = dist_of("uniform:10-20"),
                                .output_tokens = dist_of("exp:50"),
                                .prefix_tokens = dist_of("30")};
}

static void distributions_have_their_means(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double mean;
    } cases[] = {{"128", 128},        {"0", 0},
                 {"uniform:64-256", 160}, {"exp:200", 200},
                 {"normal:200,20", 200},  {"lognormal:200,0.5", 200 * 1.1331}}; // e^(σ²/2)
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct load_dist dist = dist_of(cases[i].text);
        struct rand_state rng = {.state = 1};
        double sum = 0;
        for (int n = 0; n < 100000; n++) {
            sum += load_dist_draw(&dist, &rng);
        }
        assert_true(fabs(sum / 100000 - cases[i].mean) <= 0.02 * cases[i].mean);
    }
}

static void wrong_distributions_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"",          "-1",           "x",        "1.5",
                                        "uniform:9", "uniform:9-5",  "exp:",     "exp:nan",
                                        "normal:5",  "normal:5,-1",  "1048577",  "zipf:1",
                                        "exp:1,2",   "lognormal:,1", "exp:1e300"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct load_dist dist = {.a = 77};
        struct error err = ERROR_INIT;
        assert_int_equal(load_dist_parse(slice_of_str(texts[i]), &dist, &err), -EINVAL);
        assert_true(dist.a == 77);
        assert_non_null(strstr(err.text, "tokens"));
    }
}

static void poisson_arrivals_have_the_rate_and_its_spread(void **state)
{
    (void)state;
    struct load_config config = config_of(100);
    struct load_plan plan;
    struct load_spec spec;
    assert_int_equal(load_plan_init(&plan, &config), 0);
    double last = 0, sum = 0, squares = 0;
    const int n = 50000;
    for (int i = 0; i < n; i++) {
        assert_true(load_plan_next(&plan, &spec));
        double gap = (double)spec.at_ns / 1e9 - last;
        assert_true(gap >= 0);
        last += gap;
        sum += gap;
        squares += gap * gap;
    }
    double mean = sum / n, deviation = sqrt(squares / n - mean * mean);
    assert_true(fabs(mean - 0.01) < 0.0003);
    assert_true(fabs(deviation - mean) < 0.0005); // exponential: as wide as its mean
    load_plan_fini(&plan);
}

static void duration_and_number_bound_the_plan(void **state)
{
    (void)state;
    struct load_config config = config_of(100);
    config.arrivals = LOAD_FIXED;
    config.duration_ns = 1000000000;
    struct load_plan plan;
    struct load_spec spec;
    unsigned n = 0;
    assert_int_equal(load_plan_init(&plan, &config), 0);
    while (load_plan_next(&plan, &spec)) {
        assert_int_equal(spec.at_ns, n * 10000000u);
        n++;
    }
    assert_int_equal(n, 100);
    load_plan_fini(&plan);
    config.requests = 7;
    assert_int_equal(load_plan_init(&plan, &config), 0);
    for (n = 0; load_plan_next(&plan, &spec); n++) {
    }
    assert_int_equal(n, 7);
    load_plan_fini(&plan);
}

static struct slice body_of(struct load_plan *plan, struct strbuf *buf)
{
    struct load_spec spec;
    strbuf_reset(buf);
    assert_true(load_plan_next(plan, &spec));
    load_plan_body(plan, &spec, buf);
    assert_false(buf->failed);
    return strbuf_slice(buf);
}

static void words_are_four_bytes_a_token(void **state)
{
    (void)state;
    struct strbuf buf;
    strbuf_init(&buf, 1 << 20);
    load_plan_words(&buf, 5, 10000);
    assert_int_equal(buf.len, 40000);
    for (size_t i = 0; i < buf.len; i++) {
        bool is_space = i % 4 == 3;
        assert_true(is_space ? buf.ptr[i] == ' ' : buf.ptr[i] >= 'a' && buf.ptr[i] <= 'z');
    }
    strbuf_fini(&buf);
}

static void the_same_seed_gives_the_same_bodies(void **state)
{
    (void)state;
    struct load_config config = config_of(10);
    config.prefix_groups = 4;
    config.prefix_skew = 1;
    struct load_plan a, b, c;
    struct strbuf x, y, z;
    strbuf_init(&x, 1 << 20);
    strbuf_init(&y, 1 << 20);
    strbuf_init(&z, 1 << 20);
    struct load_config other = config;
    other.seed = 4;
    assert_int_equal(load_plan_init(&a, &config), 0);
    assert_int_equal(load_plan_init(&b, &config), 0);
    assert_int_equal(load_plan_init(&c, &other), 0);
    for (int i = 0; i < 50; i++) {
        struct slice first = body_of(&a, &x);
        assert_true(slice_eq(first, body_of(&b, &y)));
        assert_false(slice_eq(first, body_of(&c, &z)));
    }
    strbuf_fini(&x);
    strbuf_fini(&y);
    strbuf_fini(&z);
    load_plan_fini(&a);
    load_plan_fini(&b);
    load_plan_fini(&c);
}

static void skewed_groups_follow_their_weights(void **state)
{
    (void)state;
    struct load_config config = config_of(10);
    config.prefix_groups = 3;
    config.prefix_skew = 1; // 6/11, 3/11, 2/11
    struct load_plan plan;
    struct load_spec spec;
    unsigned counts[3] = {0};
    assert_int_equal(load_plan_init(&plan, &config), 0);
    for (int i = 0; i < 11000; i++) {
        assert_true(load_plan_next(&plan, &spec));
        assert_true(spec.group < 3);
        counts[spec.group]++;
    }
    assert_in_range(counts[0], 5800, 6200);
    assert_in_range(counts[1], 2800, 3200);
    assert_in_range(counts[2], 1800, 2200);
    load_plan_fini(&plan);
}

static void a_rate_scales_a_trace(void **state)
{
    (void)state;
    struct load_trace trace;
    assert_int_equal(
        load_trace_parse(SLICE("{\"timestamp\":1000,\"input_length\":5,\"output_length\":1}\n"
                               "{\"timestamp\":3000,\"input_length\":5,\"output_length\":1}\n"
                               "{\"timestamp\":5000,\"input_length\":5,\"output_length\":1}\n"),
                         "t", &trace, NULL),
        0);
    struct load_config config = config_of(6); // 3 requests in 4 s: 0.75/s, so 8 times as fast
    config.trace = &trace;
    struct load_plan plan;
    struct load_spec spec;
    assert_int_equal(load_plan_init(&plan, &config), 0);
    static const uint64_t times[] = {0, 250000000, 500000000};
    for (size_t i = 0; i < 3; i++) {
        assert_true(load_plan_next(&plan, &spec));
        assert_int_equal(spec.at_ns, times[i]);
    }
    assert_false(load_plan_next(&plan, &spec));
    load_plan_fini(&plan);
    load_trace_fini(&trace);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distributions_have_their_means),
        cmocka_unit_test(wrong_distributions_are_refused),
        cmocka_unit_test(poisson_arrivals_have_the_rate_and_its_spread),
        cmocka_unit_test(duration_and_number_bound_the_plan),
        cmocka_unit_test(words_are_four_bytes_a_token),
        cmocka_unit_test(the_same_seed_gives_the_same_bodies),
        cmocka_unit_test(skewed_groups_follow_their_weights),
        cmocka_unit_test(a_rate_scales_a_trace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
