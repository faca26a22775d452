#include "tls/tickets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { PERIOD = 1000 };

static struct tls_tickets *new_ring(void)
{
    struct tls_tickets *ring = NULL;
    assert_int_equal(tls_tickets_new(PERIOD, 5000, &ring), 0);
    return ring;
}

static void a_key_opens_for_two_more_periods(void **state)
{
    (void)state;
    struct tls_tickets *ring = new_ring();
    struct tls_ticket_key first;
    struct tls_ticket_key found;
    tls_tickets_current(ring, &first);
    static const int expected[] = {1, 2, 2, 0, 0};
    for (int i = 0; i < 5; i++) {
        tls_tickets_tick(ring, 5000 + (uint64_t)i * PERIOD);
        assert_int_equal(tls_tickets_find(ring, first.name, &found), expected[i]);
        if (expected[i] != 0) {
            assert_memory_equal(&found, &first, sizeof(first));
        }
    }
    tls_tickets_free(ring);
}

static void nothing_changes_within_a_period(void **state)
{
    (void)state;
    struct tls_tickets *ring = new_ring();
    struct tls_ticket_key a;
    struct tls_ticket_key b;
    tls_tickets_current(ring, &a);
    tls_tickets_tick(ring, 5000 + PERIOD - 1);
    tls_tickets_current(ring, &b);
    assert_memory_equal(&a, &b, sizeof(a));
    tls_tickets_tick(ring, 5000 + PERIOD);
    tls_tickets_current(ring, &b);
    assert_memory_not_equal(a.name, b.name, sizeof(a.name));
    assert_memory_not_equal(a.cipher, b.cipher, sizeof(a.cipher));
    assert_memory_not_equal(a.mac, b.mac, sizeof(a.mac));
    tls_tickets_free(ring);
}

static void old_keys_go_after_a_long_silence_as_well(void **state)
{
    (void)state;
    struct tls_tickets *ring = new_ring();
    struct tls_ticket_key first;
    struct tls_ticket_key found;
    tls_tickets_current(ring, &first);
    tls_tickets_tick(ring, 5000 + 100 * PERIOD);
    assert_int_equal(tls_tickets_find(ring, first.name, &found), 0);
    tls_tickets_current(ring, &first);
    tls_tickets_tick(ring, 5000 + 100 * PERIOD + PERIOD - 1);
    assert_int_equal(tls_tickets_find(ring, first.name, &found), 1);
    tls_tickets_tick(ring, 5000 + 101 * PERIOD);
    assert_int_equal(tls_tickets_find(ring, first.name, &found), 2);
    tls_tickets_free(ring);
}

static void rotation_goes_on_for_ever(void **state)
{
    (void)state;
    struct tls_tickets *ring = new_ring();
    struct tls_ticket_key last;
    struct tls_ticket_key found;
    tls_tickets_current(ring, &last);
    for (uint64_t i = 1; i < 100; i++) {
        tls_tickets_tick(ring, 5000 + i * PERIOD);
        assert_int_equal(tls_tickets_find(ring, last.name, &found), 2);
        tls_tickets_current(ring, &last);
        assert_int_equal(tls_tickets_find(ring, last.name, &found), 1);
    }
    tls_tickets_free(ring);
}

static void a_name_that_was_never_drawn_finds_nothing(void **state)
{
    (void)state;
    struct tls_tickets *ring = new_ring();
    struct tls_ticket_key found;
    uint8_t name[TLS_TICKET_NAME_LEN] = {0};
    assert_int_equal(tls_tickets_find(ring, name, &found), 0);
    tls_tickets_free(ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_opens_for_two_more_periods),
        cmocka_unit_test(nothing_changes_within_a_period),
        cmocka_unit_test(old_keys_go_after_a_long_silence_as_well),
        cmocka_unit_test(rotation_goes_on_for_ever),
        cmocka_unit_test(a_name_that_was_never_drawn_finds_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
