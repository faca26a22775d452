#include "http/grpc.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void content_types(void **state)
{
    (void)state;
    static const char *const good[] = {"application/grpc", "application/grpc+proto",
                                       "Application/GRPC+json", "application/grpc; charset=utf-8"};
    static const char *const bad[] = {"", "application/json", "application/grpc-web",
                                      "application/grpc-web+proto", "application/grpcx",
                                      "application/grp", "application/grpc+", "text/plain"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_true(grpc_content_type(slice_of_str(good[i])));
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_false(grpc_content_type(slice_of_str(bad[i])));
    }
}

static void timeouts_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ms;
    } rows[] = {
        {"100m", 100},       {"1S", 1000},    {"2M", 120000},
        {"1H", 3600000},     {"1n", 1},       {"1000001n", 2},
        {"1u", 1},           {"2500u", 3},    {"0S", 0},
        {"99999999H", UINT64_C(359999996400000)}, {"00000005m", 5},
    };
    static const char *const bad[] = {"", "m", "5", "5s", "-1S", "+1S", "1.5S", "123456789m",
                                      "1 S", " 1S", "1S ", "1Sm"};
    uint64_t ms;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(grpc_timeout_ms(slice_of_str(rows[i].text), &ms), 0);
        assert_int_equal(ms, rows[i].ms);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(grpc_timeout_ms(slice_of_str(bad[i]), &ms), -EINVAL);
    }
}

static void statuses(void **state)
{
    (void)state;
    assert_int_equal(grpc_status_of_http(503), GRPC_UNAVAILABLE);
    assert_int_equal(grpc_status_of_http(404), GRPC_UNIMPLEMENTED);
    assert_int_equal(grpc_status_of_http(418), GRPC_UNKNOWN);
    assert_int_equal(grpc_status_of_http(413), GRPC_RESOURCE_EXHAUSTED);
}

static void some_statuses_are_the_servers_fault(void **state)
{
    (void)state;
    for (int status = GRPC_OK; status <= GRPC_STATUS_MAX; status++) {
        unsigned want = status == GRPC_UNAVAILABLE          ? 503
                        : status == GRPC_RESOURCE_EXHAUSTED ? 429
                        : status == GRPC_UNKNOWN || status == GRPC_INTERNAL || status == 15
                            ? 500
                            : 200;
        assert_int_equal(grpc_status_blames((enum grpc_status)status), want);
    }
}

static void an_error_is_a_trailers_only_answer(void **state)
{
    (void)state;
    struct http_header fields[GRPC_ANSWER_FIELDS];
    struct arena arena;
    arena_init(&arena, 0, 0);
    assert_int_equal(
        grpc_answer(GRPC_UNAVAILABLE, SLICE("100% full\n\xc3\xa4"), &arena, fields), 3);
    assert_true(slice_eq(fields[0].value, SLICE("application/grpc")));
    assert_true(slice_eq(fields[1].name, SLICE("grpc-status")));
    assert_true(slice_eq(fields[1].value, SLICE("14")));
    assert_true(slice_eq(fields[2].value, SLICE("100%25 full%0A%C3%A4")));
    assert_int_equal(grpc_answer(GRPC_OK, SLICE(""), &arena, fields), 2);
    arena_fini(&arena);
    arena_init(&arena, 0, 1); // out of memory
    assert_int_equal(grpc_answer(GRPC_UNAVAILABLE, SLICE("full"), &arena, fields), 2);
    assert_true(slice_eq(fields[1].value, SLICE("2")));
    arena_fini(&arena);
}

static void statuses_are_read(void **state)
{
    (void)state;
    assert_int_equal(grpc_status_parse(SLICE("0")), GRPC_OK);
    assert_int_equal(grpc_status_parse(SLICE("16")), GRPC_UNAUTHENTICATED);
    assert_int_equal(grpc_status_parse(SLICE("17")), GRPC_UNKNOWN);
    assert_int_equal(grpc_status_parse(SLICE("000")), GRPC_UNKNOWN);
    assert_int_equal(grpc_status_parse(SLICE("")), GRPC_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statuses_are_read),
        cmocka_unit_test(content_types),
        cmocka_unit_test(timeouts_are_read),
        cmocka_unit_test(statuses),
        cmocka_unit_test(some_statuses_are_the_servers_fault),
        cmocka_unit_test(an_error_is_a_trailers_only_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
