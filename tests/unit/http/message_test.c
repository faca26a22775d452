#include "http/message.h"
#include "http/reject.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/macros.h"

static const struct slice token_names[HTTP_TOKEN_COUNT] = {
    [HTTP_TOKEN_ACCEPT] = SLICE("accept"),
    [HTTP_TOKEN_ACCEPT_ENCODING] = SLICE("accept-encoding"),
    [HTTP_TOKEN_AUTHORIZATION] = SLICE("authorization"),
    [HTTP_TOKEN_CONNECTION] = SLICE("connection"),
    [HTTP_TOKEN_CONTENT_ENCODING] = SLICE("content-encoding"),
    [HTTP_TOKEN_CONTENT_LENGTH] = SLICE("content-length"),
    [HTTP_TOKEN_CONTENT_TYPE] = SLICE("content-type"),
    [HTTP_TOKEN_DATE] = SLICE("date"),
    [HTTP_TOKEN_ENDPOINT_LOAD_METRICS] = SLICE("endpoint-load-metrics"),
    [HTTP_TOKEN_EXPECT] = SLICE("expect"),
    [HTTP_TOKEN_FORWARDED] = SLICE("forwarded"),
    [HTTP_TOKEN_HOST] = SLICE("host"),
    [HTTP_TOKEN_KEEP_ALIVE] = SLICE("keep-alive"),
    [HTTP_TOKEN_PROXY_AUTHENTICATE] = SLICE("proxy-authenticate"),
    [HTTP_TOKEN_PROXY_AUTHORIZATION] = SLICE("proxy-authorization"),
    [HTTP_TOKEN_PROXY_CONNECTION] = SLICE("proxy-connection"),
    [HTTP_TOKEN_RETRY_AFTER] = SLICE("retry-after"),
    [HTTP_TOKEN_SERVER] = SLICE("server"),
    [HTTP_TOKEN_TE] = SLICE("te"),
    [HTTP_TOKEN_TRACEPARENT] = SLICE("traceparent"),
    [HTTP_TOKEN_TRACESTATE] = SLICE("tracestate"),
    [HTTP_TOKEN_TRAILER] = SLICE("trailer"),
    [HTTP_TOKEN_TRANSFER_ENCODING] = SLICE("transfer-encoding"),
    [HTTP_TOKEN_UPGRADE] = SLICE("upgrade"),
    [HTTP_TOKEN_USER_AGENT] = SLICE("user-agent"),
    [HTTP_TOKEN_VIA] = SLICE("via"),
    [HTTP_TOKEN_X_FORWARDED_CLIENT_CERT] = SLICE("x-forwarded-client-cert"),
    [HTTP_TOKEN_X_FORWARDED_FOR] = SLICE("x-forwarded-for"),
    [HTTP_TOKEN_X_FORWARDED_HOST] = SLICE("x-forwarded-host"),
    [HTTP_TOKEN_X_FORWARDED_PORT] = SLICE("x-forwarded-port"),
    [HTTP_TOKEN_X_FORWARDED_PREFIX] = SLICE("x-forwarded-prefix"),
    [HTTP_TOKEN_X_FORWARDED_PROTO] = SLICE("x-forwarded-proto"),
    [HTTP_TOKEN_X_FORWARDED_SERVER] = SLICE("x-forwarded-server"),
    [HTTP_TOKEN_X_REAL_IP] = SLICE("x-real-ip"),
    [HTTP_TOKEN_X_REQUEST_ID] = SLICE("x-request-id"),
};

static void every_token_is_found_in_any_case(void **state)
{
    (void)state;
    for (int token = 1; token < HTTP_TOKEN_COUNT; token++) {
        struct slice name = token_names[token];
        assert_true(name.len > 0 && name.len < 64);
        char *copy = malloc(name.len);
        memcpy(copy, name.ptr, name.len);
        assert_int_equal(http_token_find(slice_of(copy, name.len)), token);
        for (size_t i = 0; i < name.len; i++) {
            copy[i] = (char)toupper(copy[i]);
            assert_int_equal(http_token_find(slice_of(copy, name.len)), token);
        }
        free(copy);
    }
}

static void a_name_that_differs_in_one_bit_is_not_found(void **state)
{
    (void)state;
    char copy[64];
    for (int token = 1; token < HTTP_TOKEN_COUNT; token++) {
        struct slice name = token_names[token];
        for (size_t i = 0; i < name.len; i++) {
            for (int bit = 0; bit < 8; bit++) {
                memcpy(copy, name.ptr, name.len);
                copy[i] = (char)(copy[i] ^ 1 << bit);
                bool other_case = bit == 5 && isalpha((unsigned char)name.ptr[i]);
                assert_int_equal(http_token_find(slice_of(copy, name.len)),
                                 other_case ? token : HTTP_TOKEN_UNKNOWN);
            }
        }
        assert_int_equal(http_token_find(slice_first(name, name.len - 1)), HTTP_TOKEN_UNKNOWN);
    }
    assert_int_equal(http_token_find(SLICE("")), HTTP_TOKEN_UNKNOWN);
    assert_int_equal(http_token_find(SLICE("x")), HTTP_TOKEN_UNKNOWN);
    assert_int_equal(http_token_find(SLICE_NULL), HTTP_TOKEN_UNKNOWN);
}

static void hop_by_hop_names_are_those_of_the_rfc(void **state)
{
    (void)state;
    static const char *const names[] = {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    };
    size_t count = 0;
    for (int token = 0; token < HTTP_TOKEN_COUNT; token++) {
        count += http_token_is_hop_by_hop((enum http_token)token);
    }
    assert_int_equal(count, ARRAY_LEN(names));
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        assert_true(http_token_is_hop_by_hop(http_token_find(slice_of_str(names[i]))));
    }
}

static void content_types_compare_without_parameters(void **state)
{
    (void)state;
    struct slice json = SLICE("application/json");
    assert_true(http_content_type_is(SLICE("application/json"), json));
    assert_true(http_content_type_is(SLICE("Application/JSON ; charset=utf-8"), json));
    assert_true(
        http_content_type_is(SLICE("text/event-stream;charset=utf-8"), SLICE("text/event-stream")));
    assert_false(http_content_type_is(SLICE("application/jsonl"), json));
    assert_false(http_content_type_is(SLICE("application/json5; x=application/json"), json));
    assert_false(http_content_type_is(SLICE(""), json));
}

static void reasons_have_all_their_columns(void **state)
{
    (void)state;
    assert_int_equal(http_reject_status(HTTP_REJECT_EXPECT), 417);
    assert_int_equal(http_reject_status(HTTP_REJECT_TRANSFER_ENCODING_UNKNOWN), 501);
    for (int reason = 1; reason < HTTP_REJECT_COUNT; reason++) {
        unsigned status = http_reject_status((enum http_reject)reason);
        assert_in_range(status, 400, 505);
        assert_true(http_reason_phrase(status).len > 0);
        assert_true(strlen(http_reject_text((enum http_reject)reason)) > 0);
        for (int other = 0; other < reason; other++) {
            assert_string_not_equal(http_reject_label((enum http_reject)reason),
                                    http_reject_label((enum http_reject)other));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_token_is_found_in_any_case),
        cmocka_unit_test(a_name_that_differs_in_one_bit_is_not_found),
        cmocka_unit_test(hop_by_hop_names_are_those_of_the_rfc),
        cmocka_unit_test(content_types_compare_without_parameters),
        cmocka_unit_test(reasons_have_all_their_columns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
