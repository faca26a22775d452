#include "http/cors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static struct cors_origin origins[4];

static struct cors_policy named(void)
{
    origins[0] = cors_origin_parse(SLICE("https://app.example.com"));
    origins[1] = cors_origin_parse(SLICE("https://*.example.org:8443"));
    origins[2] = cors_origin_parse(SLICE("http://[::1]:3000"));
    return (struct cors_policy){.origins = origins,
                                .origin_count = 3,
                                .methods = SLICE("GET, POST"),
                                .headers = SLICE("authorization"),
                                .expose = SLICE("x-request-id"),
                                .max_age = SLICE("600")};
}

static bool allows(const struct cors_policy *policy, const char *origin)
{
    return cors_allows(policy, slice_of_str(origin));
}

static void origins_are_compared_whole(void **state)
{
    (void)state;
    struct cors_policy policy = named();
    assert_true(allows(&policy, "https://app.example.com"));
    assert_true(allows(&policy, "http://[::1]:3000"));
    static const char *const others[] = {
        "http://app.example.com",      "https://app.example.com:8443", "https://app.example.com.",
        "https://app.example.com.evil", "https://xapp.example.com",     "https://APP.example.com",
        "https://app.example.com/",    "null",                         "",
    };
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        if (allows(&policy, others[i])) {
            fail_msg("%s is allowed", others[i]);
        }
    }
}

static void a_wildcard_stands_for_labels(void **state)
{
    (void)state;
    struct cors_policy policy = named();
    assert_true(allows(&policy, "https://a.example.org:8443"));
    assert_true(allows(&policy, "https://a.b-c.example.org:8443"));
    static const char *const others[] = {
        "https://example.org:8443",       "https://.example.org:8443",
        "https://a..example.org:8443",    "https://a.example.org",
        "https://evil.com/.example.org:8443", "https://evil.com?.example.org:8443",
        "https://user@a.example.org:8443", "https://a:1.example.org:8443",
        "https://A.example.org:8443",      "https://a .example.org:8443",
    };
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        if (allows(&policy, others[i])) {
            fail_msg("%s is allowed", others[i]);
        }
    }
    char endless[4096];
    memset(endless, 'a', sizeof(endless));
    memcpy(endless, "https://", 8);
    memcpy(endless + sizeof(endless) - 17, ".example.org:8443", 17);
    assert_false(cors_allows(&policy, slice_of(endless, sizeof(endless))));
}

static const char *field(const struct cors_fields *fields, const char *name)
{
    static char text[4200];
    for (size_t i = 0; i < fields->count; i++) {
        if (slice_eq_str(fields->items[i].name, name)) {
            memcpy(text, fields->items[i].value.ptr, fields->items[i].value.len);
            text[fields->items[i].value.len] = '\0';
            return text;
        }
    }
    return "-";
}

static void answers_name_the_origin_that_asked(void **state)
{
    (void)state;
    struct cors_policy policy = named();
    struct cors_fields fields;
    policy.credentials = true;
    cors_answer(&policy, SLICE("https://app.example.com"), &fields);
    assert_string_equal(field(&fields, "access-control-allow-origin"), "https://app.example.com");
    assert_string_equal(field(&fields, "access-control-allow-credentials"), "true");
    assert_string_equal(field(&fields, "access-control-expose-headers"), "x-request-id");
    assert_string_equal(field(&fields, "vary"), "origin");
}

static void others_get_nothing_but_vary(void **state)
{
    (void)state;
    struct cors_policy policy = named();
    struct cors_fields fields;
    cors_answer(&policy, SLICE("https://evil.com"), &fields);
    assert_int_equal(fields.count, 1);
    assert_string_equal(field(&fields, "vary"), "origin");
    cors_answer(&policy, SLICE_NULL, &fields);
    assert_int_equal(fields.count, 1);
}

static void everybody_is_a_star_and_no_vary(void **state)
{
    (void)state;
    struct cors_policy policy = {.any_origin = true};
    struct cors_fields fields;
    cors_answer(&policy, SLICE("https://whoever.com"), &fields);
    assert_int_equal(fields.count, 1);
    assert_string_equal(field(&fields, "access-control-allow-origin"), "*");
    cors_answer(&policy, SLICE_NULL, &fields);
    assert_int_equal(fields.count, 0);
}

static void preflights_say_what_may_be_done(void **state)
{
    (void)state;
    struct cors_policy policy = named();
    struct cors_fields fields;
    struct cors_question question = {.origin = SLICE("https://app.example.com"),
                                     .method = SLICE("PUT"),
                                     .headers = SLICE("x-a, x-b")};
    cors_preflight(&policy, &question, &fields);
    assert_string_equal(field(&fields, "access-control-allow-methods"), "GET, POST");
    assert_string_equal(field(&fields, "access-control-allow-headers"), "authorization");
    assert_string_equal(field(&fields, "access-control-max-age"), "600");
    policy.any_method = policy.any_header = policy.credentials = true;
    cors_preflight(&policy, &question, &fields);
    assert_string_equal(field(&fields, "access-control-allow-methods"), "PUT");
    assert_string_equal(field(&fields, "access-control-allow-headers"), "x-a, x-b");
    assert_int_equal(fields.count, 6); // with origin, credentials and Vary
    policy.any_header = false;
    policy.headers = SLICE("");
    cors_preflight(&policy, &question, &fields);
    assert_string_equal(field(&fields, "access-control-allow-headers"), "-");
    question.origin = SLICE("https://evil.com");
    cors_preflight(&policy, &question, &fields);
    assert_int_equal(fields.count, 1);
}

static void what_is_no_list_of_names_is_not_said_again(void **state)
{
    (void)state;
    struct cors_policy policy = named();
    struct cors_fields fields;
    struct cors_question question = {.origin = SLICE("https://app.example.com"),
                                     .method = SLICE("P T"),
                                     .headers = SLICE("x-a; x\"b")};
    policy.any_method = policy.any_header = true;
    cors_preflight(&policy, &question, &fields);
    assert_string_equal(field(&fields, "access-control-allow-methods"), "GET, POST");
    assert_string_equal(field(&fields, "access-control-allow-headers"), "authorization");
    char many[5000];
    memset(many, 'a', sizeof(many));
    question.headers = slice_of(many, sizeof(many));
    cors_preflight(&policy, &question, &fields);
    assert_string_equal(field(&fields, "access-control-allow-headers"), "authorization");
}

static void a_question_needs_origin_and_method(void **state)
{
    (void)state;
    const struct http_header headers[] = {
        {.name = SLICE("Origin"), .value = SLICE("o")},
        {.name = SLICE("Access-Control-Request-Method"), .value = SLICE("m")},
        {.name = SLICE("access-control-request-headers"), .value = SLICE("h")},
    };
    struct cors_question question;
    assert_false(cors_question_read(headers, 1, &question));
    assert_false(cors_question_read(headers + 1, 2, &question));
    assert_true(cors_question_read(headers, 2, &question));
    assert_null(question.headers.ptr);
    assert_true(cors_question_read(headers, 3, &question));
    assert_true(slice_eq_str(question.headers, "h"));
}

static void servers_do_not_speak_for_us(void **state)
{
    (void)state;
    assert_true(cors_owns(SLICE("Access-Control-Allow-Origin")));
    assert_true(cors_owns(SLICE("access-control-whatever-comes")));
    assert_false(cors_owns(SLICE("access-control-")));
    assert_false(cors_owns(SLICE("vary")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(origins_are_compared_whole),
        cmocka_unit_test(a_wildcard_stands_for_labels),
        cmocka_unit_test(answers_name_the_origin_that_asked),
        cmocka_unit_test(others_get_nothing_but_vary),
        cmocka_unit_test(everybody_is_a_star_and_no_vary),
        cmocka_unit_test(preflights_say_what_may_be_done),
        cmocka_unit_test(what_is_no_list_of_names_is_not_said_again),
        cmocka_unit_test(a_question_needs_origin_and_method),
        cmocka_unit_test(servers_do_not_speak_for_us),
    };
    return cmocka_run_group_tests_name("cors", tests, NULL, NULL);
}
