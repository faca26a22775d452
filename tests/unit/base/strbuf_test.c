#include "base/strbuf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void grows_up_to_its_maximum(void **state)
{
    (void)state;
    struct strbuf buf;
    strbuf_init(&buf, 1000);
    for (int i = 0; i < 1000; i++) {
        strbuf_add_char(&buf, (char)('a' + i % 26));
        assert_false(buf.failed);
    }
    strbuf_add_char(&buf, 'x');
    assert_true(buf.failed);
    assert_int_equal(buf.len, 1000);
    assert_int_equal(strlen(strbuf_cstr(&buf)), 1000);
    strbuf_reset(&buf);
    assert_false(buf.failed);
    assert_int_equal(buf.len, 0);
    strbuf_fini(&buf);
    assert_int_equal(buf.max, 1000);
}

static void a_piece_too_big_changes_nothing(void **state)
{
    (void)state;
    struct strbuf buf;
    strbuf_init(&buf, 5);
    strbuf_add_str(&buf, "abc");
    strbuf_add_str(&buf, "def");
    assert_true(buf.failed);
    assert_string_equal(strbuf_cstr(&buf), "abc");
    assert_false(strbuf_reserve(&buf, SIZE_MAX));
    strbuf_fini(&buf);
}

static void prints(void **state)
{
    (void)state;
    struct strbuf buf;
    char want[600];
    strbuf_init(&buf, 2000);
    memset(want, 'y', sizeof want - 1);
    want[sizeof want - 1] = '\0';
    strbuf_printf(&buf, "%d:", 42);
    strbuf_printf(&buf, "%s", want); // longer than what is printed in place
    assert_int_equal(buf.len, 3 + sizeof want - 1);
    assert_memory_equal(buf.ptr, "42:yyy", 6);
    strbuf_printf(&buf, "%s%s%s", want, want, want);
    assert_true(buf.failed);
    assert_int_equal(buf.len, 3 + sizeof want - 1);
    strbuf_fini(&buf);
}

static void consumes_from_the_front(void **state)
{
    (void)state;
    struct strbuf buf;
    strbuf_init(&buf, 100);
    strbuf_add_str(&buf, "abcdef");
    strbuf_consume(&buf, 2);
    assert_string_equal(strbuf_cstr(&buf), "cdef");
    strbuf_consume(&buf, 100);
    assert_string_equal(strbuf_cstr(&buf), "");
    strbuf_fini(&buf);
}

static void an_empty_one_is_an_empty_string(void **state)
{
    (void)state;
    struct strbuf buf;
    strbuf_init(&buf, 100);
    assert_string_equal(strbuf_cstr(&buf), "");
    strbuf_add(&buf, SLICE_NULL);
    assert_int_equal(buf.len, 0);
    strbuf_fini(&buf);
    strbuf_init(&buf, SIZE_MAX);
    strbuf_add_str(&buf, "no maximum");
    assert_string_equal(strbuf_cstr(&buf), "no maximum");
    strbuf_fini(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_up_to_its_maximum),
        cmocka_unit_test(a_piece_too_big_changes_nothing),
        cmocka_unit_test(prints),
        cmocka_unit_test(consumes_from_the_front),
        cmocka_unit_test(an_empty_one_is_an_empty_string),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
