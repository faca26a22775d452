// What is kept of Secrets and ConfigMaps.
#include "model/object.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tls/pems.h"

static struct object *read_kind(enum object_kind kind, const char *member, const char *const *pairs)
{
    struct json_object *json = json_tokener_parse(
        "{\"metadata\": {\"name\": \"m\", \"namespace\": \"d\"}, \"type\": \"kubernetes.io/tls\"}");
    struct json_object *map = json_object_new_object();
    struct object_origin origin = {0};
    struct object *object = NULL;
    struct error err = ERROR_INIT;
    for (; pairs != NULL && *pairs != NULL; pairs += 2) {
        json_object_object_add(map, pairs[0], json_object_new_string(pairs[1]));
    }
    json_object_object_add(json, member, map);
    assert_int_equal(object_read(kind, json, &origin, &object, &err), 0);
    json_object_put(json);
    return object;
}

static void expect_entry(const struct object *object, const char *key, size_t len,
                         const char *problem)
{
    const struct material_entry *entry = material_find(object->material, slice_of_str(key));
    assert_non_null(entry);
    assert_int_equal(entry->pem.len, len);
    assert_non_null(strstr(entry->problem.ptr, problem));
    assert_int_equal(entry->problem.len == 0, problem[0] == '\0');
}

static void test_a_pair_is_judged(void **state)
{
    (void)state;
    const char *const pairs[] = {"tls.crt", PEM_API_CERTIFICATE, "tls.key", PEM_API_KEY, NULL};
    struct object *secret = read_kind(OBJECT_SECRET, "stringData", pairs);
    assert_true(secret->material->has_pair);
    assert_int_equal(secret->material->pair_problem.len, 0);
    assert_int_equal(secret->material->leaf.name_count, 2);
    assert_true(material_is_sound(secret->material));
    expect_entry(secret, "tls.crt", strlen(PEM_API_CERTIFICATE), "");
    expect_entry(secret, "tls.key", strlen(PEM_API_KEY), "no certificate");
    object_unref(secret);
    const char *const crossed[] = {"tls.crt", PEM_API_CERTIFICATE, "tls.key", PEM_OTHER_KEY, NULL};
    secret = read_kind(OBJECT_SECRET, "stringData", crossed);
    assert_non_null(strstr(secret->material->pair_problem.ptr, "not that of the certificate"));
    assert_false(material_is_sound(secret->material));
    object_unref(secret);
}

static void test_what_is_no_pem_is_dropped(void **state)
{
    (void)state;
    const char *const pairs[] = {"password", "cm9vdA==", "nonsense", "%%%", "ca.crt",
                                 "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg==", NULL};
    struct object *secret = read_kind(OBJECT_SECRET, "data", pairs);
    expect_entry(secret, "password", 0, "no PEM");
    expect_entry(secret, "nonsense", 0, "no PEM");
    expect_entry(secret, "ca.crt", 28, "cannot be read");
    assert_false(secret->material->has_pair);
    assert_false(material_is_sound(secret->material));
    assert_null(material_find(secret->material, SLICE("other")));
    object_unref(secret);
}

static void test_a_config_map_holds_authorities(void **state)
{
    (void)state;
    const char *const pairs[] = {"ca.crt", PEM_CA, "a", "text", NULL};
    struct object *map = read_kind(OBJECT_CONFIGMAP, "data", pairs);
    expect_entry(map, "ca.crt", strlen(PEM_CA), "");
    expect_entry(map, "a", 0, "no PEM");
    assert_true(material_is_sound(map->material));
    struct object *same = read_kind(OBJECT_CONFIGMAP, "data", pairs);
    const char *const fewer[] = {"ca.crt", PEM_CA, NULL};
    struct object *other = read_kind(OBJECT_CONFIGMAP, "data", fewer);
    assert_true(material_equal(map->material, same->material));
    assert_false(material_equal(map->material, other->material));
    object_unref(other);
    object_unref(same);
    object_unref(map);
}

static void test_an_empty_one_is_fine(void **state)
{
    (void)state;
    struct object *secret = read_kind(OBJECT_SECRET, "data", NULL);
    assert_int_equal(secret->material->entries.len, 0);
    assert_non_null(strstr(secret->material->pair_problem.ptr, "no tls.crt"));
    assert_true(material_is_sound(secret->material));
    object_unref(secret);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_pair_is_judged),
        cmocka_unit_test(test_what_is_no_pem_is_dropped),
        cmocka_unit_test(test_a_config_map_holds_authorities),
        cmocka_unit_test(test_an_empty_one_is_fine),
    };
    return cmocka_run_group_tests_name("material", tests, NULL, NULL);
}
