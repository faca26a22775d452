#include "tls/sni.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/slice.h"

#define EXT(literal) (literal), sizeof(literal) - 1

static void the_server_name_is_read_from_its_extension(void **state)
{
    (void)state;
    static const struct {
        const char *data;
        size_t len;
        const char *name; // NULL: refused
    } rows[] = {
        {EXT("\0\6\0\0\3a.b"), "a.b"},
        {EXT("\0\6\0\0\3A.b"), "a.b"},
        {EXT("\0\7\0\0\4a.b."), "a.b"},
        {EXT("\0\0"), ""},
        {EXT("\0\4\7\0\1x"), ""},
        {EXT("\0\12\7\0\1x\0\0\3a.b"), "a.b"},
        {EXT(""), NULL},
        {EXT("\0"), NULL},
        {EXT("\0\5\0\0\3a.b"), NULL},
        {EXT("\0\7\0\0\3a.b"), NULL},
        {EXT("\0\6\0\0\4a.b"), NULL},
        {EXT("\0\6\0\0\2a.b"), NULL},
        {EXT("\0\3\0\0\0"), NULL},
        {EXT("\0\2\0\0"), NULL},
        {EXT("\0\6\0\0\3a b"), NULL},
        {EXT("\0\6\0\0\3a\0b"), NULL},
        {EXT("\0\6\0\0\3*.b"), NULL},
        {EXT("\0\6\0\0\3a\nb"), NULL},
        {EXT("\0\12\0\0\1x\0\0\3a.b"), NULL},
        {EXT("\0\10\0\0\1x\0\0\1y"), NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char name[TLS_SNI_MAX];
        size_t len = 77;
        uint8_t *data = malloc(rows[i].len + 1); // so that a sanitizer sees a read beyond it
        assert_non_null(data);
        memcpy(data, rows[i].data, rows[i].len);
        int rc = tls_sni_parse(data, rows[i].len, name, &len);
        free(data);
        if (rc != (rows[i].name != NULL ? 0 : -EINVAL)) {
            fail_msg("row %zu: %d", i, rc);
        }
        if (rc == 0 && !slice_eq(slice_of(name, len), slice_of_str(rows[i].name))) {
            fail_msg("row %zu: \"%.*s\"", i, (int)len, name);
        }
        assert_true(rc == 0 || len == 77);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_server_name_is_read_from_its_extension),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
