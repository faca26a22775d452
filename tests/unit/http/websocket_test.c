// Keys of WebSocket's handshake and what they are answered.
#include "http/websocket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void the_example_of_the_rfc(void **state)
{
    (void)state;
    char accept[WEBSOCKET_ACCEPT_LEN + 1];
    assert_int_equal(websocket_accept_of(SLICE("dGhlIHNhbXBsZSBub25jZQ=="), accept), 0);
    assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

static void keys_are_valid_and_differ(void **state)
{
    (void)state;
    char a[WEBSOCKET_KEY_LEN + 1];
    char b[WEBSOCKET_KEY_LEN + 1];
    assert_int_equal(websocket_key_make(a), 0);
    assert_int_equal(websocket_key_make(b), 0);
    assert_true(websocket_key_is_valid(slice_of_str(a)));
    assert_true(websocket_key_is_valid(slice_of_str(b)));
    assert_string_not_equal(a, b);
}

static void what_is_no_key(void **state)
{
    (void)state;
    assert_true(websocket_key_is_valid(SLICE("dGhlIHNhbXBsZSBub25jZQ==")));
    assert_false(websocket_key_is_valid(SLICE("")));
    assert_false(websocket_key_is_valid(SLICE_NULL));
    assert_false(websocket_key_is_valid(SLICE("abc")));
    assert_false(websocket_key_is_valid(SLICE("dGhlIHNhbXBsZSBub25jZQ=")));
    assert_false(websocket_key_is_valid(SLICE("dGhlIHNhbXBsZSBub25jZXM=")));
    assert_false(websocket_key_is_valid(SLICE("dGhlIHNhbXBsZSBub25j====")));
    assert_false(websocket_key_is_valid(SLICE("dGhlIHNhbXBs ZSBub25jZ==")));
    assert_false(websocket_key_is_valid(SLICE("dGhlIHNhbXBsZSBub25jZQ==dGhlIHNhbXBsZSBub25jZQ==")));
    assert_false(websocket_key_is_valid(SLICE("dGhlIHNhbXBs-SBub25jZQ==")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_example_of_the_rfc),
        cmocka_unit_test(keys_are_valid_and_differ),
        cmocka_unit_test(what_is_no_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
