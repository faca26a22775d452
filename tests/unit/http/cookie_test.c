#include "http/cookie.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void find(const char *field, const char *wanted)
{
    const struct http_header headers[] = {
        {.name = SLICE("accept"), .value = SLICE("s=no")},
        {.name = SLICE("Cookie"), .value = slice_of_str(field)},
    };
    struct slice found = cookie_find(headers, ARRAY_LEN(headers), SLICE("s"));
    if (wanted == NULL) {
        assert_null(found.ptr);
    } else if (found.ptr == NULL || !slice_eq_str(found, wanted)) {
        fail_msg("%s: \"%.*s\" instead of \"%s\"", field, SLICE_FMT(found), wanted);
    }
}

static void one_value_is_found_among_many(void **state)
{
    (void)state;
    find("s=1", "1");
    find("a=2; s=1; b=3", "1");
    find("a=2;s=1", "1");
    find(" s=1 ", "1");
    find("s=\"1\"", "1");
    find("s=", "");
    find("s=a=b", "a=b");
    find("s=1; s=2", "1");
}

static void what_is_no_such_cookie_is_not_found(void **state)
{
    (void)state;
    find("", NULL);
    find(";;;", NULL);
    find("s", NULL);
    find("S=1", NULL); // names are told apart by case
    find("ss=1", NULL);
    find("xs=1; sx=2", NULL);
    find("a=s=1", NULL);
    find("s =1", NULL);
}

static void cookies_may_come_in_several_fields(void **state)
{
    (void)state;
    const struct http_header headers[] = {
        {.name = SLICE("cookie"), .value = SLICE("a=1")},
        {.name = SLICE("cookie"), .value = SLICE("s=2")},
    };
    assert_true(slice_eq_str(cookie_find(headers, 2, SLICE("s")), "2"));
    assert_null(cookie_find(NULL, 0, SLICE("s")).ptr);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_value_is_found_among_many),
        cmocka_unit_test(what_is_no_such_cookie_is_not_found),
        cmocka_unit_test(cookies_may_come_in_several_fields),
    };
    return cmocka_run_group_tests_name("cookie", tests, NULL, NULL);
}
