#include "ai/oip.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct {
    const char *path;
    int rc;
    enum oip_operation operation;
    const char *model;
    const char *version;
} rows[] = {
    {"/v2/models/resnet/infer", 0, OIP_INFER, "resnet", NULL},
    {"/v2/models/resnet/versions/7/infer", 0, OIP_INFER, "resnet", "7"},
    {"/v2/models/resnet", 0, OIP_METADATA, "resnet", NULL},
    {"/v2/models/resnet/versions/7", 0, OIP_METADATA, "resnet", "7"},
    {"/v2/models/resnet/ready", 0, OIP_READY, "resnet", NULL},
    {"/v2/models/resnet/versions/7/ready", 0, OIP_READY, "resnet", "7"},
    {"/v2/models/llama/generate_stream", 0, OIP_INFER, "llama", NULL},
    {"/ml/v2/models/resnet/infer", 0, OIP_INFER, "resnet", NULL},
    {"/v2/models/a%20b%C3%A4/infer", 0, OIP_INFER, "a b\xc3\xa4", NULL},
    {"/v2/models/versions/infer", 0, OIP_INFER, "versions", NULL},
    {"/v2/models/infer", 0, OIP_METADATA, "infer", NULL},
    {"/v2/models/a/infer/", 0, OIP_NONE, NULL, NULL},
    {"/v2/models/a/", 0, OIP_NONE, NULL, NULL},
    {"/v2/models/a/other", 0, OIP_NONE, NULL, NULL},
    {"/v2/models/a/versions", 0, OIP_NONE, NULL, NULL},
    {"/v2/models/a/versions/1/infer/x", 0, OIP_NONE, NULL, NULL},
    {"/v2/models/a/v2/models/b/infer", 0, OIP_NONE, NULL, NULL},
    {"/v2/health/ready", 0, OIP_NONE, NULL, NULL},
    {"/v2/models", 0, OIP_NONE, NULL, NULL},
    {"/v1/models/a", 0, OIP_NONE, NULL, NULL},
    {"", 0, OIP_NONE, NULL, NULL},
    {"/v2/models//infer", -EINVAL, OIP_NONE, NULL, NULL},
    {"/v2/models/a%2Fb/infer", -EINVAL, OIP_NONE, NULL, NULL},
    {"/v2/models/..%2F..%2Fetc/infer", -EINVAL, OIP_NONE, NULL, NULL},
    {"/v2/models/a%5Cb/infer", -EINVAL, OIP_NONE, NULL, NULL},
    {"/v2/models/%FF/infer", -EINVAL, OIP_NONE, NULL, NULL},
    {"/v2/models/a/versions//infer", -EINVAL, OIP_NONE, NULL, NULL},
    {"/v2/models/a/versions/%2E%2E%2F/infer", -EINVAL, OIP_NONE, NULL, NULL},
};

static void paths_name_models(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char buffer[OIP_PATH_BUFFER];
        struct oip_path path = {.operation = OIP_READY};
        struct slice text = slice_of_str(rows[i].path);
        int rc = oip_path_parse(text, buffer, &path);
        if (rc != rows[i].rc || (rc == 0 && path.operation != rows[i].operation)) {
            fail_msg("%s: %d, %d", rows[i].path, rc, (int)path.operation);
        }
        if (rows[i].model != NULL) {
            assert_true(slice_eq_str(path.model, rows[i].model));
            assert_int_equal(path.version.ptr != NULL, rows[i].version != NULL);
            assert_true(rows[i].version == NULL || slice_eq_str(path.version, rows[i].version));
            assert_true(path.model_end > path.model_start && path.model_end <= text.len);
            assert_int_equal(text.ptr[path.model_start - 1], '/');
        }
    }
}

static void long_names_are_refused(void **state)
{
    (void)state;
    char path[1100];
    char buffer[OIP_PATH_BUFFER];
    struct oip_path parsed;
    memcpy(path, "/v2/models/", 11);
    memset(path + 11, 'a', sizeof(path) - 11);
    assert_int_equal(oip_path_parse(slice_of(path, 11 + OIP_NAME_MAX), buffer, &parsed), 0);
    assert_int_equal(parsed.model.len, OIP_NAME_MAX);
    assert_int_equal(oip_path_parse(slice_of(path, 12 + OIP_NAME_MAX), buffer, &parsed), -EINVAL);
    assert_int_equal(oip_path_parse(slice_of(path, sizeof(path)), buffer, &parsed), -EINVAL);
}

static void a_name_becomes_a_segment(void **state)
{
    (void)state;
    char out[30];
    size_t len = oip_segment_encode(SLICE("a-b~c d\xc3\xa4%"), out);
    assert_true(slice_eq_str(slice_of(out, len), "a-b~c%20d%C3%A4%25"));
    assert_false(oip_name_is_sound(SLICE(".")));
    assert_false(oip_name_is_sound(SLICE("..")));
    assert_false(oip_name_is_sound(SLICE("a\nb")));
    assert_true(oip_name_is_sound(SLICE("a..b")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_name_models),
        cmocka_unit_test(long_names_are_refused),
        cmocka_unit_test(a_name_becomes_a_segment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
