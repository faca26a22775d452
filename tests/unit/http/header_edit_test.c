#include "http/header_edit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct slice drops[] = {SLICE("authorization"), SLICE("x-a")};

static struct header_edit edit_of(size_t count)
{
    struct header_edit edit = {.drops = drops, .drop_count = count};
    header_edit_index(&edit);
    return edit;
}

static void named_fields_are_dropped_in_any_case(void **state)
{
    (void)state;
    struct header_edit edit = edit_of(2);
    assert_true(header_edit_drops(&edit, SLICE("authorization")));
    assert_true(header_edit_drops(&edit, SLICE("AUTHORIZATION")));
    assert_true(header_edit_drops(&edit, SLICE("X-A")));
}

static void others_pass(void **state)
{
    (void)state;
    struct header_edit edit = edit_of(2), none = edit_of(0);
    assert_false(header_edit_drops(&edit, SLICE("authorizatioN2")));
    assert_false(header_edit_drops(&edit, SLICE("authorizatiom"))); // as long as a named one
    assert_false(header_edit_drops(&edit, SLICE("x-b")));
    assert_false(header_edit_drops(&edit, SLICE("")));
    assert_false(header_edit_drops(&none, SLICE("x-a")));
    assert_false(header_edit_drops(NULL, SLICE("x-a")));
    char same_bit[3 + 64]; // its length falls on the bit of "x-a"
    memset(same_bit, 'x', sizeof(same_bit));
    assert_false(header_edit_drops(&edit, slice_of(same_bit, sizeof(same_bit))));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(named_fields_are_dropped_in_any_case),
        cmocka_unit_test(others_pass),
    };
    return cmocka_run_group_tests_name("header_edit", tests, NULL, NULL);
}
