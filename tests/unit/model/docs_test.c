// The field tables of docs/resources.md are those of the CRDs. UPDATE_GOLDEN=1 writes them anew.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/strbuf.h"
#include "json/yaml_json.h"

enum { TEXT_MAX = 1 << 20 };

static const char docs_path[] = "docs/resources.md";

static void read_file(const char *path, struct strbuf *out)
{
    char buf[4096];
    size_t n;
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        fail_msg("cannot open %s: run from the root of the repository", path);
    }
    strbuf_init(out, TEXT_MAX);
    while ((n = fread(buf, 1, sizeof(buf), file)) > 0) {
        strbuf_add(out, slice_of(buf, n));
    }
    fclose(file);
    assert_false(out->failed);
}

static struct json_object *dig(struct json_object *json, const char *name)
{
    struct json_object *value = NULL;
    json_object_object_get_ex(json, name, &value);
    return value;
}

static const char *text_of(struct json_object *json, const char *name)
{
    struct json_object *value = dig(json, name);
    return value != NULL ? json_object_get_string(value) : "";
}

// "string", "list of objects", one of the values …
static void print_type(struct json_object *schema, struct strbuf *out)
{
    struct json_object *values = dig(schema, "enum");
    struct json_object *items = dig(schema, "items");
    if (dig(schema, "x-kubernetes-int-or-string") != NULL) {
        strbuf_add_str(out, "integer or string");
    } else if (dig(schema, "additionalProperties") != NULL) {
        strbuf_add_str(out, "map of strings");
    } else if (items != NULL) {
        strbuf_add_str(out, "list of ");
        print_type(items, out);
    } else if (values != NULL) {
        for (size_t i = 0; i < json_object_array_length(values); i++) {
            strbuf_printf(out, "%s`%s`", i > 0 ? ", " : "",
                          json_object_get_string(json_object_array_get_idx(values, i)));
        }
    } else {
        strbuf_add_str(out, text_of(schema, "type"));
    }
}

// Cells must not end at a bar.
static void print_cell(const char *text, struct strbuf *out)
{
    for (; *text != '\0'; text++) {
        strbuf_add_str(out, *text == '|' ? "\\" : "");
        strbuf_add_char(out, *text);
    }
}

static bool is_required(struct json_object *schema, const char *name)
{
    struct json_object *required = dig(schema, "required");
    for (size_t i = 0; required != NULL && i < json_object_array_length(required); i++) {
        if (strcmp(json_object_get_string(json_object_array_get_idx(required, i)), name) == 0) {
            return true;
        }
    }
    return false;
}

static void print_fields(struct json_object *schema, const char *path, struct strbuf *out)
{
    struct json_object *properties = dig(schema, "properties");
    if (properties == NULL) {
        return;
    }
    json_object_object_foreach(properties, name, property) {
        struct json_object *fallback = dig(property, "default");
        char inner[256];
        snprintf(inner, sizeof(inner), "%s.%s", path, name);
        strbuf_printf(out, "| `%s` | ", inner);
        print_type(property, out);
        strbuf_add_str(out, " | ");
        if (fallback != NULL && !json_object_is_type(fallback, json_type_object)) {
            strbuf_printf(out, "`%s`",
                          json_object_is_type(fallback, json_type_string)
                              ? json_object_get_string(fallback)
                              : json_object_to_json_string_ext(fallback, JSON_C_TO_STRING_PLAIN));
        } else if (is_required(schema, name)) {
            strbuf_add_str(out, "required");
        }
        strbuf_add_str(out, " | ");
        print_cell(text_of(property, "description"), out);
        strbuf_add_str(out, " |\n");
        struct json_object *items = dig(property, "items");
        snprintf(inner, sizeof(inner), "%s.%s%s", path, name, items != NULL ? "[]" : "");
        print_fields(items != NULL ? items : property, inner, out);
    }
}

static void print_kind(const char *crd_path, struct strbuf *out)
{
    struct strbuf text;
    struct json_object *crd = NULL;
    struct error err = ERROR_INIT;
    read_file(crd_path, &text);
    assert_int_equal(yaml_json_one(strbuf_slice(&text), crd_path, NULL, &crd, &err), 0);
    struct json_object *version =
        json_object_array_get_idx(dig(dig(crd, "spec"), "versions"), 0);
    struct json_object *properties =
        dig(dig(dig(version, "schema"), "openAPIV3Schema"), "properties");
    strbuf_add_str(out, "| field | type | default | |\n| --- | --- | --- | --- |\n");
    print_fields(dig(properties, "spec"), "spec", out);
    print_fields(dig(properties, "status"), "status", out);
    json_object_put(crd);
    strbuf_fini(&text);
}

// Replaces what is between the kind's mark and the next end mark.
static void place(struct strbuf *docs, const char *kind, struct slice table)
{
    static const struct slice end = SLICE("<!-- end -->");
    char mark[128];
    snprintf(mark, sizeof(mark), "<!-- fields of %s: written by tests/unit/model/docs_test.c -->\n",
             kind);
    ptrdiff_t at = slice_find(strbuf_slice(docs), slice_of_str(mark));
    assert_true(at >= 0);
    size_t begin = (size_t)at + strlen(mark);
    struct slice rest = slice_skip(strbuf_slice(docs), begin);
    ptrdiff_t length = slice_find(rest, end);
    assert_true(length >= 0);
    struct strbuf made;
    strbuf_init(&made, TEXT_MAX);
    strbuf_add(&made, slice_first(strbuf_slice(docs), begin));
    strbuf_add(&made, table);
    strbuf_add(&made, slice_skip(rest, (size_t)length));
    assert_false(made.failed);
    strbuf_fini(docs);
    *docs = made;
}

static void test_the_docs_tell_every_field(void **state)
{
    static const struct {
        const char *kind;
        const char *crd;
    } kinds[] = {
        {"AIRoute", "crds/headrace.dev_airoutes.yaml"},
        {"ModelBackend", "crds/headrace.dev_modelbackends.yaml"},
    };
    struct strbuf found, wanted;
    (void)state;
    read_file(docs_path, &found);
    read_file(docs_path, &wanted);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct strbuf table;
        strbuf_init(&table, TEXT_MAX);
        print_kind(kinds[i].crd, &table);
        place(&wanted, kinds[i].kind, strbuf_slice(&table));
        strbuf_fini(&table);
    }
    if (getenv("UPDATE_GOLDEN") != NULL && !slice_eq(strbuf_slice(&found), strbuf_slice(&wanted))) {
        FILE *file = fopen(docs_path, "we");
        assert_non_null(file);
        assert_int_equal(fwrite(wanted.ptr, 1, wanted.len, file), wanted.len);
        fclose(file);
    } else if (!slice_eq(strbuf_slice(&found), strbuf_slice(&wanted))) {
        fail_msg("%s is not what the CRDs say: UPDATE_GOLDEN=1 writes it anew", docs_path);
    }
    strbuf_fini(&found);
    strbuf_fini(&wanted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_docs_tell_every_field),
    };
    return cmocka_run_group_tests_name("docs", tests, NULL, NULL);
}
