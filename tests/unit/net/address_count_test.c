// Connections of each client address.
#include "net/address_count.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static uint32_t enter(struct address_count *count, const char *text, uint32_t max)
{
    struct ip ip;
    assert_int_equal(ip_parse(slice_of_str(text), &ip), 0);
    return address_count_enter(count, &ip, max);
}

static void test_each_address_has_its_own(void **state)
{
    (void)state;
    struct address_count *count = address_count_new(100);
    uint32_t first = enter(count, "10.0.0.1", 2);
    assert_true(first < ADDRESS_COUNT_REFUSED);
    assert_int_equal(enter(count, "10.0.0.1", 2), first);
    assert_int_equal(enter(count, "10.0.0.1", 2), ADDRESS_COUNT_REFUSED);
    assert_true(enter(count, "10.0.0.2", 2) < ADDRESS_COUNT_REFUSED);
    address_count_leave(count, first);
    assert_int_equal(enter(count, "10.0.0.1", 2), first);
    assert_int_equal(enter(count, "10.0.0.1", 2), ADDRESS_COUNT_REFUSED);
    address_count_leave(count, ADDRESS_COUNT_UNCOUNTED); // nothing to give back
    address_count_free(count);
}

static void test_ipv6_counts_by_64(void **state)
{
    (void)state;
    struct address_count *count = address_count_new(100);
    assert_true(enter(count, "2001:db8:0:1::1", 1) < ADDRESS_COUNT_REFUSED);
    assert_int_equal(enter(count, "2001:db8:0:1:ffff::9", 1), ADDRESS_COUNT_REFUSED);
    assert_true(enter(count, "2001:db8:0:2::1", 1) < ADDRESS_COUNT_REFUSED);
    address_count_free(count);
}

static void test_ipv4_over_ipv6_is_ipv4(void **state)
{
    (void)state;
    struct address_count *count = address_count_new(100);
    assert_true(enter(count, "::ffff:10.0.0.1", 1) < ADDRESS_COUNT_REFUSED);
    assert_int_equal(enter(count, "10.0.0.1", 1), ADDRESS_COUNT_REFUSED);
    assert_true(enter(count, "::ffff:10.0.0.2", 1) < ADDRESS_COUNT_REFUSED);
    address_count_free(count);
}

static void test_slots_are_used_again(void **state)
{
    (void)state;
    struct address_count *count = address_count_new(4); // one place
    for (int round = 0; round < 1000; round++) {
        char ip[32];
        snprintf(ip, sizeof(ip), "10.0.%d.%d", round / 250, round % 250);
        uint32_t slot = enter(count, ip, 1);
        assert_true(slot < ADDRESS_COUNT_REFUSED);
        address_count_leave(count, slot);
    }
    address_count_free(count);
}

static void test_a_full_place_lets_in_uncounted(void **state)
{
    (void)state;
    struct address_count *count = address_count_new(1);
    static const char *const ips[] = {"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4",
                                      "10.0.0.5", "10.0.0.6", "10.0.0.7", "10.0.0.8"};
    for (size_t i = 0; i < ARRAY_LEN(ips); i++) {
        assert_true(enter(count, ips[i], 1) < ADDRESS_COUNT_REFUSED);
    }
    assert_int_equal(enter(count, "10.0.0.9", 1), ADDRESS_COUNT_UNCOUNTED);
    assert_int_equal(enter(count, "10.0.0.3", 1), ADDRESS_COUNT_REFUSED);
    address_count_free(count);
}

enum { THREADS = 4, ROUNDS = 20000 };

static void *come_and_go(void *arg)
{
    struct address_count *count = arg;
    static const char *const ips[] = {"10.0.0.1", "10.0.0.2", "2001:db8::1"};
    for (int i = 0; i < ROUNDS; i++) {
        uint32_t slot = enter(count, ips[i % 3], 1000);
        assert_true(slot != ADDRESS_COUNT_REFUSED);
        address_count_leave(count, slot);
    }
    return NULL;
}

static void test_threads_lose_nothing(void **state)
{
    (void)state;
    struct address_count *count = address_count_new(1);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, count), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    // All are gone, so each has its whole number again, and every slot is free.
    char ip[32];
    for (int i = 1; i <= 8; i++) {
        snprintf(ip, sizeof(ip), "10.1.0.%d", i);
        assert_true(enter(count, ip, 1) < ADDRESS_COUNT_REFUSED);
    }
    address_count_free(count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_address_has_its_own),
        cmocka_unit_test(test_ipv6_counts_by_64),
        cmocka_unit_test(test_ipv4_over_ipv6_is_ipv4),
        cmocka_unit_test(test_slots_are_used_again),
        cmocka_unit_test(test_a_full_place_lets_in_uncounted),
        cmocka_unit_test(test_threads_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
