// The vectors that the authors published with SipHash-2-4: key 00 01 … 0f, input 00 01 … of each
// length.
#include "base/siphash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct siphash_key key = {
    {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)}};

static uint64_t of_length(size_t len)
{
    char text[64];
    for (size_t i = 0; i < len; i++) {
        text[i] = (char)i;
    }
    return siphash(&key, slice_of(text, len));
}

static void it_is_siphash_2_4(void **state)
{
    (void)state;
    assert_true(of_length(0) == UINT64_C(0x726fdb47dd0e0e31));
    assert_true(of_length(1) == UINT64_C(0x74f839c593dc67fd));
    assert_true(of_length(7) == UINT64_C(0xab0200f58b01d137));
    assert_true(of_length(8) == UINT64_C(0x93f5f5799a932462));
    assert_true(of_length(15) == UINT64_C(0xa129ca6149be45e5));
    assert_true(siphash(&key, SLICE_NULL) == of_length(0));
}

static void another_key_gives_another_number(void **state)
{
    (void)state;
    const struct siphash_key other = {{1, 2}};
    assert_true(siphash(&key, SLICE("a")) != siphash(&other, SLICE("a")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_siphash_2_4),
        cmocka_unit_test(another_key_gives_another_number),
    };
    return cmocka_run_group_tests_name("siphash", tests, NULL, NULL);
}
