// Which addresses may be connected to.
#include "net/address_guard.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"

static struct sockaddr_storage at(const char *ip, uint16_t port)
{
    struct sockaddr_storage out;
    memset(&out, 0, sizeof(out));
    struct sockaddr_in *in = (struct sockaddr_in *)&out;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&out;
    if (inet_pton(AF_INET, ip, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = htons(port);
        return out;
    }
    assert_int_equal(inet_pton(AF_INET6, ip, &in6->sin6_addr), 1);
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(port);
    return out;
}

static enum address_class check(const struct address_guard *guard, const char *ip, uint16_t port)
{
    struct sockaddr_storage address = at(ip, port);
    return address_guard_check(guard, &address);
}

static struct address_guard allowing(const char *list)
{
    struct address_guard guard = {0};
    struct error err = ERROR_INIT;
    assert_int_equal(address_guard_allow(&guard, slice_of_str(list), &err), 0);
    return guard;
}

static const struct {
    const char *ip;
    enum address_class class;
} classes[] = {
    {"10.244.1.7", ADDRESS_ORDINARY},
    {"192.168.1.1", ADDRESS_ORDINARY},
    {"172.16.0.9", ADDRESS_ORDINARY},
    {"100.64.0.1", ADDRESS_ORDINARY},
    {"126.255.255.255", ADDRESS_ORDINARY},
    {"128.0.0.1", ADDRESS_ORDINARY},
    {"169.253.255.255", ADDRESS_ORDINARY},
    {"169.255.0.0", ADDRESS_ORDINARY},
    {"223.255.255.255", ADDRESS_ORDINARY},
    {"fd00::1", ADDRESS_ORDINARY},
    {"2001:db8::1", ADDRESS_ORDINARY},
    {"127.0.0.1", ADDRESS_LOOPBACK},
    {"127.255.255.254", ADDRESS_LOOPBACK},
    {"::1", ADDRESS_LOOPBACK},
    {"169.254.0.1", ADDRESS_LINK_LOCAL},
    {"fe80::1", ADDRESS_LINK_LOCAL},
    {"febf::1", ADDRESS_LINK_LOCAL},
    {"fec0::1", ADDRESS_ORDINARY},
    {"224.0.0.1", ADDRESS_MULTICAST},
    {"239.255.255.255", ADDRESS_MULTICAST},
    {"ff02::1", ADDRESS_MULTICAST},
    {"0.0.0.0", ADDRESS_NO_HOST},
    {"0.1.2.3", ADDRESS_NO_HOST},
    {"240.0.0.1", ADDRESS_NO_HOST},
    {"255.255.255.255", ADDRESS_NO_HOST},
    {"::", ADDRESS_NO_HOST},
    {"169.254.169.254", ADDRESS_METADATA},
    {"169.254.170.2", ADDRESS_METADATA},
    {"100.100.100.200", ADDRESS_METADATA},
    {"168.63.129.16", ADDRESS_METADATA},
    {"fd00:ec2::254", ADDRESS_METADATA},
    {"fd00:ec2::23", ADDRESS_METADATA},
    {"fd20:ce::254", ADDRESS_METADATA},
    // IPv4 in the dress of IPv6.
    {"::ffff:10.0.0.1", ADDRESS_ORDINARY},
    {"::ffff:127.0.0.1", ADDRESS_LOOPBACK},
    {"::ffff:169.254.169.254", ADDRESS_METADATA},
    {"::ffff:0.0.0.0", ADDRESS_NO_HOST},
    {"::127.0.0.1", ADDRESS_LOOPBACK},
    {"::169.254.169.254", ADDRESS_METADATA},
    {"64:ff9b::127.0.0.1", ADDRESS_LOOPBACK},
    {"64:ff9b::169.254.169.254", ADDRESS_METADATA},
    {"64:ff9b::8.8.8.8", ADDRESS_ORDINARY},
};

static void test_classes(void **state)
{
    (void)state;
    const struct address_guard guard = {0};
    for (size_t i = 0; i < ARRAY_LEN(classes); i++) {
        if (check(&guard, classes[i].ip, 80) != classes[i].class) {
            fail_msg("%s is %s", classes[i].ip,
                     address_class_text(check(&guard, classes[i].ip, 80)));
        }
    }
}

static void test_other_families_are_refused(void **state)
{
    (void)state;
    const struct address_guard guard = {0};
    struct sockaddr_storage unix_socket = {.ss_family = AF_UNIX};
    assert_int_equal(address_guard_check(&guard, &unix_socket), ADDRESS_NO_HOST);
}

static void test_no_guard_allows_all(void **state)
{
    (void)state;
    assert_int_equal(check(NULL, "127.0.0.1", 80), ADDRESS_ORDINARY);
}

static const struct {
    const char *list;
    const char *ip;
    bool allowed;
} allowances[] = {
    {"none", "127.0.0.1", false},
    {"loopback", "127.0.0.1", true},
    {"loopback", "127.9.9.9", true},
    {"loopback", "::1", true},
    {"loopback", "::ffff:127.0.0.1", true},
    {"loopback", "169.254.1.1", false},
    {"loopback", "169.254.169.254", false},
    {"link-local", "169.254.1.1", true},
    {"link-local", "fe80::1", true},
    {"link-local", "127.0.0.1", false},
    {"127.0.0.4", "127.0.0.4", true},
    {"127.0.0.4", "127.0.0.5", false},
    {"127.0.0.4/31", "127.0.0.5", true},
    {"127.0.0.4/31", "127.0.0.6", false},
    {"127.0.0.0/8", "127.0.0.6", true},
    {"0.0.0.0/0", "169.254.169.254", true},
    {"0.0.0.0/0", "::1", false},
    {"::/0", "::1", true},
    {"::/0", "127.0.0.1", true},
    {"::1/128", "::1", true},
    {"fe80::/10, 127.0.0.2", "127.0.0.2", true},
    {"fe80::/10,none,loopback", "::1", true},
    {"fe80::/9", "fe80::1", true},
    {"fe80::/11", "febf::1", false},
    {"169.254.169.254", "169.254.169.254", true},
};

static void test_allowances(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(allowances); i++) {
        struct address_guard guard = allowing(allowances[i].list);
        bool allowed = check(&guard, allowances[i].ip, 80) == ADDRESS_ORDINARY;
        if (allowed != allowances[i].allowed) {
            fail_msg("%s under %s: %d", allowances[i].ip, allowances[i].list, allowed);
        }
    }
}

static void test_wrong_lists(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",          "loop",      "127.0.0.1/33", "::1/129", "127.0.0.1/", "/8", "127.0.0.1/8/8",
        "loopback,", "127.0.0/8", "10.0.0.0/-1",  "localhost",
        "2001:db8:1111:2222:3333:4444:5555:66666",
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct address_guard guard = {0};
        struct error err = ERROR_INIT;
        if (address_guard_allow(&guard, slice_of_str(wrong[i]), &err) != -EINVAL) {
            fail_msg("taken: %s", wrong[i]);
        }
        assert_int_equal(guard.allowed_count, 0);
    }
}

static void test_too_many_ranges(void **state)
{
    (void)state;
    struct address_guard guard = {0};
    struct error err = ERROR_INIT;
    for (size_t i = 0; i < ADDRESS_GUARD_RANGES_MAX; i++) {
        assert_int_equal(address_guard_allow(&guard, SLICE("127.0.0.1"), &err), 0);
    }
    assert_int_equal(address_guard_allow(&guard, SLICE("127.0.0.1"), &err), -EINVAL);
}

static void listen_at(struct address_guard *guard, const char *ip, uint16_t port)
{
    struct sockaddr_storage address = at(ip, 0);
    address_guard_add_own(guard, &address, port);
}

static void test_own_addresses_are_never_allowed(void **state)
{
    (void)state;
    struct address_guard guard = allowing("loopback,0.0.0.0/0");
    listen_at(&guard, "127.0.0.1", 9090);
    assert_int_equal(check(&guard, "127.0.0.1", 9090), ADDRESS_OWN);
    assert_int_equal(check(&guard, "::ffff:127.0.0.1", 9090), ADDRESS_OWN);
    assert_int_equal(check(&guard, "127.0.0.1", 9091), ADDRESS_ORDINARY);
    assert_int_equal(check(&guard, "127.0.0.2", 9090), ADDRESS_ORDINARY);
}

static void test_own_wildcard_is_every_local_address(void **state)
{
    (void)state;
    static const char *const wildcards[] = {"0.0.0.0", "::"};
    for (size_t i = 0; i < ARRAY_LEN(wildcards); i++) {
        struct address_guard guard = allowing("loopback");
        struct sockaddr_storage local = at("10.0.0.9", 0);
        address_guard_add_local(&guard, (const struct sockaddr *)&local);
        listen_at(&guard, wildcards[i], 8080);
        assert_int_equal(check(&guard, "127.0.0.3", 8080), ADDRESS_OWN);
        assert_int_equal(check(&guard, "0.0.0.0", 8080), ADDRESS_OWN);
        assert_int_equal(check(&guard, "::1", 8080), ADDRESS_OWN);
        assert_int_equal(check(&guard, "10.0.0.9", 8080), ADDRESS_OWN);
        assert_int_equal(check(&guard, "10.0.0.9", 8081), ADDRESS_ORDINARY);
        assert_int_equal(check(&guard, "10.0.0.8", 8080), ADDRESS_ORDINARY);
    }
}

static void test_locals_are_learnt(void **state)
{
    (void)state;
    struct address_guard guard = {0};
    address_guard_learn_locals(&guard);
    assert_true(guard.local_count <= ADDRESS_GUARD_LOCALS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_other_families_are_refused),
        cmocka_unit_test(test_no_guard_allows_all),
        cmocka_unit_test(test_allowances),
        cmocka_unit_test(test_wrong_lists),
        cmocka_unit_test(test_too_many_ranges),
        cmocka_unit_test(test_own_addresses_are_never_allowed),
        cmocka_unit_test(test_own_wildcard_is_every_local_address),
        cmocka_unit_test(test_locals_are_learnt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
