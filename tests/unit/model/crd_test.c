// The CRDs and the tables that read objects say the same: field by field, bound by bound, rule by
// rule. And the CRDs are as good as they should be: everything described, everything bounded.
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "json/yaml_json.h"
#include "model/airoute.h"
#include "model/modelbackend.h"
#include "model/pattern.h"

static char *read_file(const char *path, size_t *ret_len)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        fail_msg("cannot open %s: run from the root of the repository", path);
    }
    char *text = malloc(300000);
    *ret_len = fread(text, 1, 300000, file);
    fclose(file);
    return text;
}

static struct json_object *load_crd(const char *path)
{
    size_t len;
    char *text = read_file(path, &len);
    assert_true(len < 262144); // plain kubectl apply keeps the object in an annotation
    struct json_object *crd = NULL;
    struct error err = ERROR_INIT;
    if (yaml_json_one(slice_of(text, len), path, NULL, &crd, &err) < 0) {
        fail_msg("%s", err.text);
    }
    free(text);
    return crd;
}

static struct json_object *dig(struct json_object *json, const char *name)
{
    struct json_object *value = NULL;
    json_object_object_get_ex(json, name, &value);
    return value;
}

static struct json_object *version_of(struct json_object *crd)
{
    struct json_object *versions = dig(dig(crd, "spec"), "versions");
    assert_int_equal(json_object_array_length(versions), 1);
    return json_object_array_get_idx(versions, 0);
}

static struct json_object *root_schema(struct json_object *crd)
{
    return dig(dig(version_of(crd), "schema"), "openAPIV3Schema");
}

static const char *text_of(struct json_object *json, const char *name)
{
    struct json_object *value = dig(json, name);
    return value != NULL ? json_object_get_string(value) : NULL;
}

static bool has_item(struct json_object *list, const char *text)
{
    for (size_t i = 0; list != NULL && i < json_object_array_length(list); i++) {
        if (strcmp(json_object_get_string(json_object_array_get_idx(list, i)), text) == 0) {
            return true;
        }
    }
    return false;
}

// ---- every field is described and bounded ----

static const char *const known_keywords[] = {
    "description", "type", "properties", "required", "items", "additionalProperties", "default",
    "enum", "pattern", "format", "minimum", "maximum", "minLength", "maxLength", "minItems",
    "maxItems", "minProperties", "maxProperties", "anyOf", "x-kubernetes-int-or-string",
    "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-validations", NULL,
};

static void check_keywords(struct json_object *schema, const char *path)
{
    json_object_object_foreach(schema, key, value) {
        (void)value;
        size_t i = 0;
        while (known_keywords[i] != NULL && strcmp(known_keywords[i], key) != 0) {
            i++;
        }
        if (known_keywords[i] == NULL) {
            fail_msg("%s: keyword %s is not compared by this test", path, key);
        }
    }
}

static void require_keyword(struct json_object *schema, const char *path, const char *keyword)
{
    if (dig(schema, keyword) == NULL) {
        fail_msg("%s: no %s", path, keyword);
    }
}

static void check_bounded(struct json_object *schema, const char *path)
{
    if (strcmp(path, "metadata") == 0) {
        return; // the API server adds what there is to say
    }
    const char *description = text_of(schema, "description");
    const char *type = text_of(schema, "type");
    check_keywords(schema, path);
    if (description == NULL || strlen(description) < 8 ||
        description[strlen(description) - 1] != '.') {
        fail_msg("%s: no description, or one that is no sentence", path);
    }
    if (dig(schema, "x-kubernetes-int-or-string") != NULL) {
        require_keyword(schema, path, "maxLength");
        require_keyword(schema, path, "maximum");
        return;
    }
    if (type == NULL) {
        fail_msg("%s: no type", path);
    }
    if (strcmp(type, "string") == 0 && dig(schema, "enum") == NULL &&
        dig(schema, "format") == NULL && strcmp(path, "apiVersion") != 0 &&
        strcmp(path, "kind") != 0) {
        require_keyword(schema, path, "maxLength");
    }
    if (strcmp(type, "integer") == 0) {
        require_keyword(schema, path, "minimum");
        if (dig(schema, "format") == NULL) {
            require_keyword(schema, path, "maximum");
        }
    }
    char inner[512];
    if (strcmp(type, "array") == 0) {
        require_keyword(schema, path, "maxItems");
        require_keyword(schema, path, "x-kubernetes-list-type");
        snprintf(inner, sizeof(inner), "%s[]", path);
        check_bounded(dig(schema, "items"), inner);
    }
    if (dig(schema, "additionalProperties") != NULL) {
        require_keyword(schema, path, "maxProperties");
        snprintf(inner, sizeof(inner), "%s{}", path);
        check_bounded(dig(schema, "additionalProperties"), inner);
    }
    struct json_object *properties = dig(schema, "properties");
    if (properties != NULL) {
        json_object_object_foreach(properties, key, value) {
            snprintf(inner, sizeof(inner), "%s%s%s", path, path[0] != '\0' ? "." : "", key);
            check_bounded(value, inner);
        }
    }
}

// ---- the tables say the same ----

static void compare_field(const struct schema_field *field, struct json_object *schema,
                          const char *path);

static void want_text(struct json_object *schema, const char *keyword, const char *wanted,
                      const char *path)
{
    const char *found = text_of(schema, keyword);
    if ((found == NULL) != (wanted == NULL) || (found != NULL && strcmp(found, wanted) != 0)) {
        fail_msg("%s: %s is %s in the CRD, %s in the table", path, keyword,
                 found != NULL ? found : "absent", wanted != NULL ? wanted : "absent");
    }
}

// `absent`: the value that stands for no keyword.
static void want_number(struct json_object *schema, const char *keyword, int64_t wanted,
                        int64_t absent, const char *path)
{
    struct json_object *found = dig(schema, keyword);
    int64_t value = found != NULL ? json_object_get_int64(found) : absent;
    if (value != wanted) {
        fail_msg("%s: %s is %lld in the CRD, %lld in the table", path, keyword, (long long)value,
                 (long long)wanted);
    }
}

static void want_default(struct json_object *schema, const char *fallback, const char *path)
{
    struct json_object *found = dig(schema, "default");
    struct json_object *wanted = fallback != NULL ? json_tokener_parse(fallback) : NULL;
    if (!json_object_equal(found, wanted)) {
        fail_msg("%s: default is %s in the CRD, %s in the table", path,
                 json_object_to_json_string(found), fallback != NULL ? fallback : "absent");
    }
    json_object_put(wanted);
}

static void want_enum(struct json_object *schema, const struct schema_name *names, const char *path)
{
    struct json_object *found = dig(schema, "enum");
    size_t n = 0;
    while (names != NULL && names[n].name != NULL) {
        if (!has_item(found, names[n].name)) {
            fail_msg("%s: %s is no value in the CRD", path, names[n].name);
        }
        n++;
    }
    if (n != (found != NULL ? json_object_array_length(found) : 0)) {
        fail_msg("%s: the CRD has other values than the table", path);
    }
}

static void want_list(const struct schema_field *field, struct json_object *schema,
                      const char *path)
{
    static const char *const types[] = {
        [SCHEMA_ATOMIC] = "atomic", [SCHEMA_SET] = "set", [SCHEMA_MAP] = "map"};
    want_text(schema, "x-kubernetes-list-type", types[field->list_type], path);
    want_number(schema, "minItems", (int64_t)field->min_len, 0, path);
    want_number(schema, "maxItems", (int64_t)field->max_len, -1, path);
    struct json_object *keys = dig(schema, "x-kubernetes-list-map-keys");
    size_t n = 0;
    while (n < ARRAY_LEN(field->keys) && field->keys[n] != NULL) {
        if (!has_item(keys, field->keys[n++])) {
            fail_msg("%s: %s is no key in the CRD", path, field->keys[n - 1]);
        }
    }
    assert_int_equal(n, keys != NULL ? json_object_array_length(keys) : 0);
    char inner[512];
    snprintf(inner, sizeof(inner), "%s[]", path);
    compare_field(field->item, dig(schema, "items"), inner);
}

static bool has_rule(struct json_object *schema, const char *field, const char *message)
{
    struct json_object *rules = dig(schema, "x-kubernetes-validations");
    char field_path[128];
    snprintf(field_path, sizeof(field_path), "%s%s", field[0] != '\0' ? "." : "", field);
    for (size_t i = 0; rules != NULL && i < json_object_array_length(rules); i++) {
        struct json_object *rule = json_object_array_get_idx(rules, i);
        const char *found_path = text_of(rule, "fieldPath");
        if (strcmp(text_of(rule, "message"), message) == 0 &&
            strcmp(found_path != NULL ? found_path : "", field_path) == 0) {
            return true;
        }
    }
    return false;
}

static void compare_object(const struct schema_object *object, struct json_object *schema,
                           const char *path)
{
    struct json_object *properties = dig(schema, "properties");
    struct json_object *required = dig(schema, "required");
    size_t required_count = 0;
    size_t rule_count = object->rule_count;
    assert_int_equal(object->field_count, json_object_object_length(properties));
    want_number(schema, "minProperties", (int64_t)object->min_properties, 0, path);
    for (size_t i = 0; i < object->field_count; i++) {
        const struct schema_field *field = &object->fields[i];
        struct json_object *property = dig(properties, field->name);
        char inner[512];
        snprintf(inner, sizeof(inner), "%s.%s", path, field->name);
        if (property == NULL) {
            fail_msg("%s: not in the CRD", inner);
        }
        if (has_item(required, field->name) != field->required) {
            fail_msg("%s: required in one place only", inner);
        }
        required_count += field->required;
        compare_field(field, property, inner);
        if (field->type == SCHEMA_DURATION && field->max > 0) {
            char message[96];
            schema_duration_message(field, message, sizeof(message));
            rule_count++;
            if (!has_rule(schema, field->name, message)) {
                fail_msg("%s: no CEL rule says \"%s\"", inner, message);
            }
        }
    }
    assert_int_equal(required_count, required != NULL ? json_object_array_length(required) : 0);
    for (size_t i = 0; i < object->rule_count; i++) {
        if (!has_rule(schema, object->rules[i].field, object->rules[i].message)) {
            fail_msg("%s: no CEL rule at \"%s\" says \"%s\"", path, object->rules[i].field,
                     object->rules[i].message);
        }
    }
    struct json_object *rules = dig(schema, "x-kubernetes-validations");
    if (rule_count != (rules != NULL ? json_object_array_length(rules) : 0)) {
        fail_msg("%s: the CRD has other rules than the table", path);
    }
}

static void compare_text_bounds(const struct schema_field *field, struct json_object *schema,
                                const char *path)
{
    want_number(schema, "minLength", (int64_t)field->min_len, 0, path);
    want_number(schema, "maxLength", (int64_t)field->max_len, -1, path);
    want_text(schema, "pattern", field->pattern, path);
    assert_int_equal(has_rule(schema, "", SCHEMA_CHECK_IP_MESSAGE),
                     field->check == SCHEMA_CHECK_IP);
    assert_int_equal(has_rule(schema, "", SCHEMA_CHECK_HEADER_NAME_MESSAGE),
                     field->check == SCHEMA_CHECK_HEADER_NAME);
}

static void compare_field(const struct schema_field *field, struct json_object *schema,
                          const char *path)
{
    static const char *const types[] = {
        [SCHEMA_STRING] = "string",     [SCHEMA_INT] = "integer", [SCHEMA_ENUM] = "string",
        [SCHEMA_DURATION] = "string",   [SCHEMA_OBJECT] = "object", [SCHEMA_LIST] = "array",
        [SCHEMA_STRING_MAP] = "object", [SCHEMA_INT_OR_STRING] = NULL, [SCHEMA_BOOL] = "boolean",
    };
    want_text(schema, "type", types[field->type], path);
    want_default(schema, field->fallback, path);
    want_enum(schema, field->names, path);
    switch (field->type) {
    case SCHEMA_STRING:
    case SCHEMA_DURATION:
        compare_text_bounds(field, schema, path);
        break;
    case SCHEMA_INT_OR_STRING:
        assert_true(json_object_get_boolean(dig(schema, "x-kubernetes-int-or-string")));
        compare_text_bounds(field, schema, path);
        want_number(schema, "minimum", field->min, 0, path);
        want_number(schema, "maximum", field->max, 0, path);
        break;
    case SCHEMA_INT:
        want_number(schema, "minimum", field->min, INT64_MIN, path);
        want_number(schema, "maximum", field->max, INT64_MAX, path);
        break;
    case SCHEMA_BOOL:
    case SCHEMA_ENUM:
        break;
    case SCHEMA_OBJECT:
        compare_object(field->object, schema, path);
        break;
    case SCHEMA_LIST:
        want_list(field, schema, path);
        break;
    case SCHEMA_STRING_MAP:
        want_number(schema, "minProperties", (int64_t)field->min_len, 0, path);
        want_number(schema, "maxProperties", (int64_t)field->max_len, -1, path);
        assert_int_equal(has_rule(schema, "", SCHEMA_CHECK_LABEL_KEYS_MESSAGE),
                         field->check == SCHEMA_CHECK_LABEL_KEYS);
        compare_field(field->item, dig(schema, "additionalProperties"), path);
        break;
    }
}

static const struct {
    const char *path;
    const char *kind;
    const char *short_name;
    const struct schema_object *spec;
} crds[] = {
    {"crds/headrace.dev_airoutes.yaml", "AIRoute", "air", &airoute_spec_schema},
    {"crds/headrace.dev_modelbackends.yaml", "ModelBackend", "mb", &modelbackend_spec_schema},
};

static void test_everything_is_described_and_bounded(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(crds); i++) {
        struct json_object *crd = load_crd(crds[i].path);
        check_bounded(root_schema(crd), "");
        json_object_put(crd);
    }
}

static void test_tables_and_crds_say_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(crds); i++) {
        struct json_object *crd = load_crd(crds[i].path);
        compare_object(crds[i].spec, dig(dig(root_schema(crd), "properties"), "spec"), "spec");
        json_object_put(crd);
    }
}

static void test_crds_are_convenient(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(crds); i++) {
        struct json_object *crd = load_crd(crds[i].path);
        struct json_object *names = dig(dig(crd, "spec"), "names");
        struct json_object *version = version_of(crd);
        assert_string_equal(text_of(names, "kind"), crds[i].kind);
        assert_string_equal(text_of(version, "name"), "v1alpha1");
        assert_true(has_item(dig(names, "shortNames"), crds[i].short_name));
        assert_true(has_item(dig(names, "categories"), "headrace"));
        assert_non_null(dig(dig(version, "subresources"), "status"));
        assert_true(json_object_array_length(dig(version, "additionalPrinterColumns")) >= 4);
        json_object_put(crd);
    }
}

// Patterns are used by two engines; those of the tables must at least compile here.
static void test_patterns_compile(void **state)
{
    (void)state;
    assert_true(pattern_matches(airoute_spec_schema.fields[0].pattern, "headrace"));
    assert_false(pattern_matches(airoute_spec_schema.fields[0].pattern, "Head race"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_is_described_and_bounded),
        cmocka_unit_test(test_tables_and_crds_say_the_same),
        cmocka_unit_test(test_crds_are_convenient),
        cmocka_unit_test(test_patterns_compile),
    };
    return cmocka_run_group_tests_name("crd", tests, NULL, NULL);
}
