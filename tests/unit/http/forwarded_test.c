#include "http/forwarded.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { HEADERS_MAX = 8 };

struct say {
    const char *name;
    const char *value;
};

// X-Forwarded-For that goes upstream, then "|scheme|host".
static void assert_read(const char *peer, const struct say *say, const char *want)
{
    struct http_header headers[HEADERS_MAX];
    size_t count = 0;
    for (; count < HEADERS_MAX && say[count].name != NULL; count++) {
        struct slice name = slice_of_str(say[count].name);
        headers[count] = (struct http_header){.name = name,
                                              .value = slice_of_str(say[count].value),
                                              .token = (uint16_t)http_token_find(name)};
    }
    struct cidr_list trusted = {.count = 0};
    struct ip ip;
    struct forwarded from;
    struct forwarded_fields fields;
    struct arena arena;
    char got[512];
    arena_init(&arena, 0, 0);
    assert_int_equal(cidr_list_add(&trusted, SLICE("10.0.0.0/8, fd00::/8"), NULL), 0);
    assert_int_equal(ip_parse(slice_of_str(peer), &ip), 0);
    forwarded_read(headers, count, &ip, &trusted, SLICE("http"), SLICE("own.example"), &from);
    forwarded_write(&from, &arena, &fields);
    snprintf(got, sizeof(got), "%.*s|%.*s|%.*s", SLICE_FMT(fields.forwarded_for),
             SLICE_FMT(fields.proto), SLICE_FMT(fields.host));
    assert_string_equal(got, want);
    cidr_list_fini(&trusted);
    arena_fini(&arena);
}

#define XFF "X-Forwarded-For"
#define READ(peer, want, ...) assert_read(peer, (const struct say[HEADERS_MAX]){__VA_ARGS__}, want)

static void strangers_are_not_believed(void **state)
{
    (void)state;
    READ("192.0.2.1", "192.0.2.1|http|own.example", {XFF, "1.1.1.1"}, {"Forwarded", "for=2.2.2.2"},
         {"X-Forwarded-Proto", "https"}, {"X-Forwarded-Host", "evil.example"});
    READ("10.0.0.1", "10.0.0.1|http|own.example", {NULL, NULL});
}

static void the_rightmost_untrusted_address_is_the_client(void **state)
{
    (void)state;
    READ("10.0.0.1", "192.0.2.1, 10.0.0.1|http|own.example", {XFF, "1.1.1.1, 192.0.2.1"});
    READ("10.0.0.1", "192.0.2.1, 10.0.0.2, 10.0.0.1|http|own.example",
         {XFF, "1.1.1.1,192.0.2.1 ,\t10.0.0.2"});
    READ("10.0.0.1", "192.0.2.1, 10.0.0.2, 10.0.0.1|http|own.example", {XFF, "6.6.6.6, 192.0.2.1"},
         {XFF, "10.0.0.2"});
    READ("fd00::1", "2001:db8::7, fd00::1|http|own.example", {XFF, "2001:db8::7"});
    READ("10.0.0.1", "2001:db8::7, 10.0.0.1|http|own.example", {XFF, "[2001:DB8::7]:443"});
    READ("10.0.0.1", "192.0.2.1, 10.0.0.1|http|own.example", {XFF, "192.0.2.1:5555"});
    READ("10.0.0.1", "10.0.0.3, 10.0.0.2, 10.0.0.1|http|own.example", {XFF, "10.0.0.3, 10.0.0.2"});
}

static void what_does_not_parse_ends_the_chain(void **state)
{
    (void)state;
    static const char *const bad[] = {"unknown", "", "1.1.1.1 2.2.2.2", "1.1.1.1:", "1.1.1.1:x",
                                      "[::1", "[1.1.1.1]:80", "[::1]80", "::1]", "1.1.1.1:65536"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char value[100];
        snprintf(value, sizeof(value), "1.1.1.1, %s, 10.0.0.2", bad[i]);
        READ("10.0.0.1", "10.0.0.2, 10.0.0.1|http|own.example", {XFF, value});
    }
}

static void forwarded_says_the_same(void **state)
{
    (void)state;
#define FWD(value, want) READ("10.0.0.1", want, {"Forwarded", value})
    FWD("for=192.0.2.1", "192.0.2.1, 10.0.0.1|http|own.example");
    FWD("For=\"192.0.2.1:80\";Proto=HTTPS;host=\"a.example:8443\"",
        "192.0.2.1, 10.0.0.1|https|a.example:8443");
    FWD("for=\"[2001:db8::7]:80\", for=10.0.0.2; by=_x",
        "2001:db8::7, 10.0.0.2, 10.0.0.1|http|own.example");
    FWD("for=\"1.1.1.1, 2.2.2.2\", for=10.0.0.2", "10.0.0.2, 10.0.0.1|http|own.example");
    FWD("for=_hidden, for=10.0.0.2", "10.0.0.2, 10.0.0.1|http|own.example");
    FWD("for=1.1.1.1;for=2.2.2.2", "10.0.0.1|http|own.example");
    FWD("for=\"1.1.1.1\\\"\"", "10.0.0.1|http|own.example");
    FWD("for=\"1.1.1.1", "10.0.0.1|http|own.example");
    FWD("for=1.1.1.1 x", "10.0.0.1|http|own.example");
    FWD("for=", "10.0.0.1|http|own.example");
    FWD("for", "10.0.0.1|http|own.example");
    FWD("proto=https", "10.0.0.1|https|own.example");
    FWD("proto=gopher;host=\"a b\"", "10.0.0.1|http|own.example");
}

static void who_contradicts_himself_is_not_believed(void **state)
{
    (void)state;
    READ("10.0.0.1", "10.0.0.1|http|own.example", {XFF, "192.0.2.1"}, {"Forwarded", "for=1.1.1.1"});
    READ("10.0.0.1", "192.0.2.1, 10.0.0.1|http|own.example", {XFF, "192.0.2.1"},
         {"Forwarded", "for=192.0.2.1"});
}

static void scheme_and_host_come_from_the_nearest(void **state)
{
    (void)state;
    READ("10.0.0.1", "192.0.2.1, 10.0.0.1|https|b.example", {XFF, "192.0.2.1"},
         {"X-Forwarded-Proto", "http, https"}, {"X-Forwarded-Host", "a.example, b.example"});
    READ("10.0.0.1", "10.0.0.1|http|own.example", {"X-Forwarded-Proto", "javascript"},
         {"X-Forwarded-Host", "a\"b"});
}

static void long_chains_are_cut(void **state)
{
    (void)state;
    char value[2000];
    size_t at = 0;
    for (int i = 0; i < 100; i++) {
        at += (size_t)snprintf(value + at, sizeof(value) - at, "%s10.9.9.%d", i > 0 ? "," : "", i);
    }
    struct http_header header = {
        .name = SLICE(XFF), .value = slice_of(value, at), .token = HTTP_TOKEN_X_FORWARDED_FOR};
    struct cidr_list trusted = {.count = 0};
    struct forwarded from;
    struct ip peer;
    char text[IP_TEXT_MAX];
    assert_int_equal(cidr_list_add(&trusted, SLICE("10.0.0.0/8"), NULL), 0);
    assert_int_equal(ip_parse(SLICE("10.0.0.1"), &peer), 0);
    forwarded_read(&header, 1, &peer, &trusted, SLICE("http"), SLICE(""), &from);
    assert_int_equal(from.count, FORWARDED_HOPS_MAX);
    ip_print(&from.hops[0], text);
    assert_string_equal(text, "10.9.9.69");
    cidr_list_fini(&trusted);
}

static void the_standard_field_is_written(void **state)
{
    (void)state;
    struct forwarded from = {.count = 2, .scheme = SLICE("https"), .host = SLICE("a.example")};
    struct forwarded_fields fields;
    struct arena arena;
    arena_init(&arena, 0, 0);
    assert_int_equal(ip_parse(SLICE("2001:db8::7"), &from.hops[0]), 0);
    assert_int_equal(ip_parse(SLICE("10.0.0.1"), &from.hops[1]), 0);
    forwarded_write(&from, &arena, &fields);
    assert_true(slice_eq(fields.forwarded,
                         SLICE("for=\"[2001:db8::7]\";host=\"a.example\";proto=https, "
                               "for=10.0.0.1")));
    from.host = SLICE_NULL;
    forwarded_write(&from, &arena, &fields);
    assert_true(fields.host.ptr == NULL);
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strangers_are_not_believed),
        cmocka_unit_test(the_rightmost_untrusted_address_is_the_client),
        cmocka_unit_test(what_does_not_parse_ends_the_chain),
        cmocka_unit_test(forwarded_says_the_same),
        cmocka_unit_test(who_contradicts_himself_is_not_believed),
        cmocka_unit_test(scheme_and_host_come_from_the_nearest),
        cmocka_unit_test(long_chains_are_cut),
        cmocka_unit_test(the_standard_field_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
