#include "net/cidr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct ip address(const char *text)
{
    struct ip ip;
    assert_int_equal(ip_parse(slice_of_str(text), &ip), 0);
    return ip;
}

static void addresses_have_one_form(void **state)
{
    (void)state;
    static const char *const bad[] = {"",    "1.2.3",   "1.2.3.4.5", "01.2.3.4", "1.2.3.256", "::g",
                                      ":::", "[::1]",   "fe80::1%1", "1.2.3.4 ", " ::1",      "a",
                                      "1::2::3", "0x1.2.3.4",
                                      "1111111111:1111111111:1111111111:1111111111"};
    struct ip ip = {{0}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(ip_parse(slice_of_str(bad[i]), &ip), -EINVAL);
    }
    assert_int_equal(ip_parse(SLICE("1.2.3.4\0"), &ip), -EINVAL);
    struct ip v4 = address("192.0.2.7");
    struct ip mapped = address("::ffff:192.0.2.7");
    struct ip v6 = address("2001:DB8::0:1");
    char text[IP_TEXT_MAX];
    assert_true(ip_eq(&v4, &mapped) && ip_is_v4(&mapped) && !ip_is_v4(&v6));
    assert_int_equal(ip_print(&mapped, text), 9);
    assert_string_equal(text, "192.0.2.7");
    assert_int_equal(ip_print(&v6, text), 11);
    assert_string_equal(text, "2001:db8::1");
}

static void sockets_addresses_are_read(void **state)
{
    (void)state;
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr other = {.sa_family = AF_UNIX};
    struct ip ip;
    struct ip want = address("127.0.0.1");
    assert_int_equal(ip_of_sockaddr((struct sockaddr *)(void *)&in, &ip), 0);
    assert_true(ip_eq(&ip, &want));
    want = address("::1");
    assert_int_equal(ip_of_sockaddr((struct sockaddr *)(void *)&in6, &ip), 0);
    assert_true(ip_eq(&ip, &want));
    assert_int_equal(ip_of_sockaddr(&other, &ip), -EAFNOSUPPORT);
}

static void ranges_hold_what_they_should(void **state)
{
    (void)state;
    static const struct {
        const char *range;
        const char *ip;
        bool in;
    } rows[] = {
        {"10.0.0.0/8", "10.255.255.255", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"10.0.0.0/8", "::ffff:10.1.2.3", true},
        {"192.0.2.0/25", "192.0.2.127", true},
        {"192.0.2.0/25", "192.0.2.128", false},
        {"192.0.2.7", "192.0.2.7", true},
        {"192.0.2.7/32", "192.0.2.6", false},
        {"0.0.0.0/0", "203.0.113.9", true},
        {"0.0.0.0/0", "2001:db8::1", false},
        {"::/0", "2001:db8::1", true},
        {"::/0", "203.0.113.9", false},
        {"::ffff:10.0.0.0/104", "10.1.1.1", true},
        {"fd00::/8", "fdff::1", true},
        {"fd00::/8", "fe00::1", false},
        {"2001:db8::/33", "2001:db8:7fff::", true},
        {"2001:db8::/33", "2001:db8:8000::", false},
        {"::1", "::1", true},
        {"::1/128", "::2", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct cidr range;
        struct error err = ERROR_INIT;
        struct ip ip = address(rows[i].ip);
        assert_int_equal(cidr_parse(slice_of_str(rows[i].range), &range, &err), 0);
        if (cidr_contains(&range, &ip) != rows[i].in) {
            fail_msg("%s in %s", rows[i].ip, rows[i].range);
        }
    }
}

static void a_range_may_be_named_by_any_of_its_addresses(void **state)
{
    (void)state;
    struct cidr around, range;
    assert_int_equal(cidr_parse_around(SLICE("10.1.2.3/15"), &around, NULL), 0);
    assert_int_equal(cidr_parse(SLICE("10.0.0.0/15"), &range, NULL), 0);
    assert_true(ip_eq(&around.first, &range.first) && around.bits == range.bits);
    assert_int_equal(cidr_parse_around(SLICE("10.1.2.3/33"), &around, NULL), -EINVAL);
}

static void mapped_addresses_are_in_ranges_of_ipv6_where_that_is_meant(void **state)
{
    (void)state;
    struct cidr range;
    struct ip v4 = address("203.0.113.9");
    assert_int_equal(cidr_parse(SLICE("::/0"), &range, NULL), 0);
    assert_true(cidr_contains_mapped(&range, &v4) && !cidr_contains(&range, &v4));
    assert_int_equal(cidr_parse(SLICE("8000::/1"), &range, NULL), 0);
    assert_false(cidr_contains_mapped(&range, &v4));
}

static void mistakes_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "10.0.0.0/", "10.0.0.0/33", "10.0.0.1/8", "::/129", "fd00::1/8", "10.0.0.0/08",
        "10.0.0.0/+8", "10.0.0.0/8/8", "example.com", "10.0.0.0/-1", "10.0.0.0/1000", "*",
    };
    struct cidr_list list = {.count = 0};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct cidr range;
        struct error err = ERROR_INIT;
        if (cidr_parse(slice_of_str(bad[i]), &range, &err) != -EINVAL || err.text[0] == '\0') {
            fail_msg("%s is taken", bad[i]);
        }
        assert_int_equal(cidr_list_add(&list, slice_of_str(bad[i]), NULL), -EINVAL);
    }
    assert_int_equal(list.count, 0);
    cidr_list_fini(&list);
}

static void lists_add_up_or_stay(void **state)
{
    (void)state;
    struct cidr_list list = {.count = 0};
    struct ip ip = address("192.0.2.9");
    assert_false(cidr_list_contains(&list, &ip));
    assert_int_equal(cidr_list_add(&list, SLICE("10.0.0.0/8, fd00::/8"), NULL), 0);
    assert_int_equal(cidr_list_add(&list, SLICE("192.0.2.0/24,oops"), NULL), -EINVAL);
    assert_true(list.count == 2 && !cidr_list_contains(&list, &ip));
    assert_int_equal(cidr_list_add(&list, SLICE("192.0.2.0/24"), NULL), 0);
    assert_true(list.count == 3 && cidr_list_contains(&list, &ip));
    int rc = 0;
    while (rc == 0) {
        rc = cidr_list_add(&list, SLICE("::1"), NULL);
    }
    assert_true(rc == -E2BIG && list.count == CIDR_LIST_MAX);
    cidr_list_fini(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_have_one_form),
        cmocka_unit_test(sockets_addresses_are_read),
        cmocka_unit_test(ranges_hold_what_they_should),
        cmocka_unit_test(a_range_may_be_named_by_any_of_its_addresses),
        cmocka_unit_test(mapped_addresses_are_in_ranges_of_ipv6_where_that_is_meant),
        cmocka_unit_test(mistakes_are_refused),
        cmocka_unit_test(lists_add_up_or_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
