// Commas stand between members and elements, and nowhere else.
#include "json/member.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void commas_stand_where_json_wants_them(void **state)
{
    (void)state;
    struct strbuf out;
    strbuf_init(&out, 4096);
    member_open(&out, "", '{');
    member_str(&out, "a", SLICE("x\"y"));
    member_open(&out, "empty", '[');
    member_close(&out, ']');
    member_open(&out, "list", '[');
    member_num(&out, "", 1);
    member_bool(&out, "", true);
    member_open(&out, "", '{');
    member_close(&out, '}');
    member_raw(&out, "", SLICE("[2]"));
    member_close(&out, ']');
    member_raw(&out, "raw", SLICE("null"));
    member_close(&out, '}');
    assert_string_equal(strbuf_cstr(&out), "{\"a\":\"x\\\"y\",\"empty\":[],"
                                           "\"list\":[1,true,{},[2]],\"raw\":null}");
    strbuf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commas_stand_where_json_wants_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
