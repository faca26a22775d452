#include "model/schema.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json/yaml_json.h"
#include "model/closest.h"
#include "model/duration.h"
#include "model/header_name.h"
#include "model/pattern.h"

// Where in the object the reader is: a chain on the stack, as deep as the tables nest.
struct place {
    const struct place *up; // NULL at the root
    const char *name;       // NULL for an item
    size_t index;
    int line;
};

enum { PATH_MAX_BYTES = 512 };

static int read_value(const struct schema_reader *reader, const struct schema_field *field,
                      struct json_object *value, const struct place *at, void *target);
static int read_object(const struct schema_reader *reader, const struct schema_object *schema,
                       struct json_object *value, const struct place *at, char *out);

static void print_place(const struct place *at, struct strbuf *out)
{
    const struct place *chain[32];
    size_t n = 0;
    for (; at != NULL && n < ARRAY_LEN(chain); at = at->up) {
        chain[n++] = at;
    }
    while (n > 0) {
        const struct place *part = chain[--n];
        if (part->name == NULL) {
            strbuf_printf(out, "[%zu]", part->index);
        } else if (part->name[0] != '\0') {
            strbuf_printf(out, "%s%s", out->len > 0 ? "." : "", part->name);
        }
    }
}

static void complain(const struct schema_reader *reader, const struct place *at, const char *fmt,
                     ...) PRINTF_LIKE(3, 4);
static void complain(const struct schema_reader *reader, const struct place *at, const char *fmt,
                     ...)
{
    char message[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    struct strbuf path;
    strbuf_init(&path, PATH_MAX_BYTES);
    print_place(at, &path);
    problems_add(reader->problems, at->line, strbuf_cstr(&path), "%s", message);
    strbuf_fini(&path);
}

// A value without a mark of its own (null, a fraction) is reported on its parent's line.
static struct place place_in(const struct place *up, const char *name, size_t index,
                             struct json_object *value)
{
    int line = yaml_json_line(value);
    line = line > 0 ? line : up->line;
    return (struct place){.up = up, .name = name, .index = index, .line = line};
}

static const char *type_text(struct json_object *value)
{
    switch (json_object_get_type(value)) {
    case json_type_null:
        return "null";
    case json_type_boolean:
        return "a boolean";
    case json_type_double:
        return json_object_get_double(value) < 9e15 && json_object_get_double(value) > -9e15
                   ? "a fraction"
                   : "such a large number";
    case json_type_int:
        return "a number";
    case json_type_object:
        return "an object";
    case json_type_array:
        return "a list";
    case json_type_string:
        return "a string";
    }
    return "something else";
}

static int complain_type(const struct schema_reader *reader, const struct place *at,
                         struct json_object *value, const char *wanted)
{
    enum json_type type = json_object_get_type(value);
    bool scalar = type == json_type_boolean || type == json_type_int || type == json_type_double;
    bool quote = scalar && strncmp(wanted, "a string", 8) == 0;
    complain(reader, at, "must be %s, not %s%s", wanted, type_text(value),
             quote ? " (in YAML, put it in quotes)" : "");
    return -EINVAL;
}

static int complain_length(const struct schema_reader *reader, const struct place *at, size_t n,
                           const struct schema_field *field, const char *unit)
{
    if (n < field->min_len) {
        complain(reader, at, n == 0 ? "must not be empty" : "needs at least %zu %s", field->min_len,
                 unit);
        return -EINVAL;
    }
    if (n > field->max_len) {
        complain(reader, at, "has %zu %s, more than %zu", n, unit, field->max_len);
        return -EINVAL;
    }
    return 0;
}

static void complain_unknown(const struct schema_reader *reader, const struct place *at,
                             const struct schema_object *schema, const char *name)
{
    const char *names[32] = {NULL};
    for (size_t i = 0; i < schema->field_count && i + 1 < ARRAY_LEN(names); i++) {
        names[i] = schema->fields[i].name;
    }
    const char *closest = closest_name(name, names);
    complain(reader, at, "unknown field \"%.64s\"%s%s%s", name,
             closest != NULL ? ", did you mean \"" : "", closest != NULL ? closest : "",
             closest != NULL ? "\"?" : "");
}

// ---- scalars ----

static size_t code_points(struct slice s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        n += ((unsigned char)s.ptr[i] & 0xC0) != 0x80;
    }
    return n;
}

static bool is_ip(struct slice text)
{
    char copy[64];
    unsigned char address[16];
    if (text.len >= sizeof(copy)) {
        return false;
    }
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
    // As isIP() of the API server: an IPv4 address in the guise of IPv6 is refused.
    return inet_pton(AF_INET, copy, address) == 1 ||
           (inet_pton(AF_INET6, copy, address) == 1 &&
            memcmp(address, mapped, sizeof(mapped)) != 0);
}

// The text of a JSON string as a row demands it; ptr NULL after a complaint.
static struct slice check_text(const struct schema_reader *reader, const struct schema_field *field,
                               struct json_object *value, const struct place *at)
{
    struct slice text = slice_of(json_object_get_string(value),
                                 (size_t)json_object_get_string_len(value));
    if (slice_find_byte(text, '\0') >= 0) {
        complain(reader, at, "must not contain a zero byte");
        return SLICE_NULL;
    }
    if (complain_length(reader, at, code_points(text), field, "characters") < 0) {
        return SLICE_NULL;
    }
    if (field->pattern != NULL && !pattern_matches(field->pattern, text.ptr)) {
        complain(reader, at, "\"%.100s\" must match %s", text.ptr, field->pattern);
        return SLICE_NULL;
    }
    if (field->check == SCHEMA_CHECK_IP && !is_ip(text)) {
        complain(reader, at, "\"%.100s\": " SCHEMA_CHECK_IP_MESSAGE, text.ptr);
        return SLICE_NULL;
    }
    if (field->check == SCHEMA_CHECK_HEADER_NAME && header_name_is_ours(text)) {
        complain(reader, at, "\"%.100s\": " SCHEMA_CHECK_HEADER_NAME_MESSAGE, text.ptr);
        return SLICE_NULL;
    }
    return text;
}

static int read_string(const struct schema_reader *reader, const struct schema_field *field,
                       struct json_object *value, const struct place *at, void *target)
{
    if (!json_object_is_type(value, json_type_string)) {
        return complain_type(reader, at, value, "a string");
    }
    struct slice text = check_text(reader, field, value, at);
    if (text.ptr == NULL) {
        return -EINVAL;
    }
    struct slice *out = target;
    *out = arena_dup(reader->arena, text);
    return out->ptr != NULL ? 0 : -ENOMEM;
}

// JSON knows one kind of number: 3.0 is an integer too, as for the API server.
static bool whole_number(struct json_object *value, int64_t *ret)
{
    if (json_object_is_type(value, json_type_int)) {
        *ret = json_object_get_int64(value);
        return true;
    }
    double number = json_object_get_double(value);
    if (!json_object_is_type(value, json_type_double) || !(fabs(number) < 9e15) ||
        floor(number) < number) {
        return false;
    }
    *ret = (int64_t)number;
    return true;
}

static int read_int(const struct schema_reader *reader, const struct schema_field *field,
                    struct json_object *value, const struct place *at, int64_t *target)
{
    int64_t number;
    if (!whole_number(value, &number)) {
        return complain_type(reader, at, value,
                             field->type == SCHEMA_INT ? "a whole number"
                                                       : "a string or a whole number");
    }
    if (number < field->min || number > field->max) {
        complain(reader, at, "must be from %" PRId64 " to %" PRId64 ", not %" PRId64, field->min,
                 field->max, number);
        return -EINVAL;
    }
    *target = number;
    return 0;
}

static int read_int_or_string(const struct schema_reader *reader, const struct schema_field *field,
                              struct json_object *value, const struct place *at, void *target)
{
    struct int_or_string *out = target;
    if (json_object_is_type(value, json_type_string)) {
        return read_string(reader, field, value, at, &out->text);
    }
    return read_int(reader, field, value, at, &out->number);
}

static int read_bool(const struct schema_reader *reader, struct json_object *value,
                     const struct place *at, void *target)
{
    if (!json_object_is_type(value, json_type_boolean)) {
        return complain_type(reader, at, value, "true or false");
    }
    *(bool *)target = json_object_get_boolean(value);
    return 0;
}

static int read_enum(const struct schema_reader *reader, const struct schema_field *field,
                     struct json_object *value, const struct place *at, void *target)
{
    if (!json_object_is_type(value, json_type_string)) {
        return complain_type(reader, at, value, "a string");
    }
    const char *text = json_object_get_string(value);
    const char *names[32] = {NULL};
    struct strbuf list;
    strbuf_init(&list, 400);
    for (size_t i = 0; field->names[i].name != NULL && i + 1 < ARRAY_LEN(names); i++) {
        names[i] = field->names[i].name;
        if (strcmp(names[i], text) == 0) {
            *(int *)target = field->names[i].value;
            strbuf_fini(&list);
            return 0;
        }
        strbuf_printf(&list, "%s%s", i > 0 ? ", " : "", names[i]);
    }
    const char *closest = closest_name(text, names);
    complain(reader, at, "\"%.64s\" must be one of %s%s%s%s", text, strbuf_cstr(&list),
             closest != NULL ? "; did you mean \"" : "", closest != NULL ? closest : "",
             closest != NULL ? "\"?" : "");
    strbuf_fini(&list);
    return -EINVAL;
}

void schema_duration_message(const struct schema_field *field, char *out, size_t size)
{
    char min[32], max[32];
    duration_format(field->min, min, sizeof(min));
    duration_format(field->max, max, sizeof(max));
    snprintf(out, size, "must be between %s and %s", min, max);
}

static int read_duration(const struct schema_reader *reader, const struct schema_field *field,
                         struct json_object *value, const struct place *at, void *target)
{
    if (!json_object_is_type(value, json_type_string)) {
        return complain_type(reader, at, value, "a string such as 200ms or 2s");
    }
    struct slice text = check_text(reader, field, value, at);
    int64_t ms;
    if (text.ptr == NULL) {
        return -EINVAL;
    }
    if (duration_parse(text, &ms) < 0) {
        complain(reader, at, "\"%.32s\" is no duration such as 200ms, 2s or 1m30s", text.ptr);
        return -EINVAL;
    }
    if (field->max > 0 && (ms < field->min || ms > field->max)) {
        char message[96];
        schema_duration_message(field, message, sizeof(message));
        complain(reader, at, "%s", message);
        return -EINVAL;
    }
    *(int64_t *)target = ms;
    return 0;
}

// ---- collections ----

struct any_list {
    void *items;
    size_t len;
};

static int compare_pairs(const void *a, const void *b)
{
    return slice_cmp(((const struct string_pair *)a)->key, ((const struct string_pair *)b)->key);
}

static int read_string_map(const struct schema_reader *reader, const struct schema_field *field,
                           struct json_object *value, const struct place *at, void *target)
{
    if (!json_object_is_type(value, json_type_object)) {
        return complain_type(reader, at, value, "an object");
    }
    size_t n = (size_t)json_object_object_length(value);
    if (complain_length(reader, at, n, field, "entries") < 0) {
        return -EINVAL;
    }
    struct string_pair *pairs = ARENA_ARRAY(reader->arena, struct string_pair, n);
    if (n > 0 && pairs == NULL) {
        return -ENOMEM;
    }
    size_t used = 0;
    int rc = 0;
    json_object_object_foreach(value, key, entry) {
        struct place inside = place_in(at, key, 0, entry);
        if (field->check == SCHEMA_CHECK_LABEL_KEYS && !pattern_is_label_key(slice_of_str(key))) {
            struct place here = place_in(at, "", 0, entry);
            complain(reader, &here, "\"%.100s\": " SCHEMA_CHECK_LABEL_KEYS_MESSAGE, key);
            rc = rc != -ENOMEM ? -EINVAL : rc;
        }
        pairs[used].key = arena_dup(reader->arena, slice_of_str(key));
        int entry_rc = read_string(reader, field->item, entry, &inside, &pairs[used].value);
        if (pairs[used].key.ptr == NULL) {
            entry_rc = -ENOMEM;
        }
        rc = entry_rc < 0 && rc != -ENOMEM ? entry_rc : rc;
        used++;
    }
    if (rc == 0) {
        qsort(pairs, used, sizeof(*pairs), compare_pairs);
        *(struct any_list *)target = (struct any_list){.items = pairs, .len = used};
    }
    return rc;
}

// The value of a key field in an item, with its default.
static struct json_object *key_value(const struct schema_field *list, struct json_object *item,
                                     const char *key)
{
    return list->list_type == SCHEMA_SET ? item : json_object_object_get(item, key);
}

static bool same_keys(const struct schema_field *list, struct json_object *a, struct json_object *b)
{
    size_t n = list->list_type == SCHEMA_SET ? 1 : ARRAY_LEN(list->keys);
    for (size_t i = 0; i < n; i++) {
        if (list->list_type == SCHEMA_MAP && list->keys[i] == NULL) {
            break;
        }
        if (!json_object_equal(key_value(list, a, list->keys[i]),
                               key_value(list, b, list->keys[i]))) {
            return false;
        }
    }
    return true;
}

static int check_duplicates(const struct schema_reader *reader, const struct schema_field *field,
                            struct json_object *value, const struct place *at)
{
    int rc = 0;
    size_t n = json_object_array_length(value);
    for (size_t i = 1; i < n && field->list_type != SCHEMA_ATOMIC; i++) {
        struct json_object *item = json_object_array_get_idx(value, i);
        for (size_t j = 0; j < i; j++) {
            if (same_keys(field, item, json_object_array_get_idx(value, j))) {
                struct place inside = place_in(at, NULL, i, item);
                struct json_object *key = key_value(field, item, field->keys[0]);
                complain(reader, &inside, "duplicate of [%zu]: %.100s", j,
                         json_object_to_json_string_ext(key, JSON_C_TO_STRING_NOSLASHESCAPE));
                rc = -EINVAL;
                break;
            }
        }
    }
    return rc;
}

static int read_list(const struct schema_reader *reader, const struct schema_field *field,
                     struct json_object *value, const struct place *at, void *target)
{
    if (!json_object_is_type(value, json_type_array)) {
        return complain_type(reader, at, value, "a list");
    }
    size_t n = json_object_array_length(value);
    if (complain_length(reader, at, n, field, "items") < 0) {
        return -EINVAL;
    }
    char *items = arena_zalloc_array(reader->arena, n, field->item_size);
    if (n > 0 && items == NULL) {
        return -ENOMEM;
    }
    int rc = 0;
    for (size_t i = 0; i < n; i++) {
        struct json_object *item = json_object_array_get_idx(value, i);
        struct place inside = place_in(at, NULL, i, item);
        char *out = items + i * field->item_size;
        int item_rc = field->item->type == SCHEMA_OBJECT
                          ? read_object(reader, field->item->object, item, &inside, out)
                          : read_value(reader, field->item, item, &inside, out);
        rc = item_rc < 0 && rc != -ENOMEM ? item_rc : rc;
    }
    if (rc == 0) {
        rc = check_duplicates(reader, field, value, at);
    }
    if (rc == 0) {
        *(struct any_list *)target = (struct any_list){.items = items, .len = n};
    }
    return rc;
}

// ---- objects ----

static const struct schema_field *find_field(const struct schema_object *schema, const char *name)
{
    for (size_t i = 0; i < schema->field_count; i++) {
        if (strcmp(schema->fields[i].name, name) == 0) {
            return &schema->fields[i];
        }
    }
    return NULL;
}

static int read_default(const struct schema_reader *reader, const struct schema_field *field,
                        const struct place *at, void *target)
{
    struct json_object *value = json_tokener_parse(field->fallback);
    if (value == NULL) {
        return -ENOMEM;
    }
    int rc = read_value(reader, field, value, at, target);
    json_object_put(value);
    return rc;
}

// null counts as absent: the API server drops it before it applies defaults.
static int read_field(const struct schema_reader *reader, const struct schema_field *field,
                      struct json_object *object, const struct place *at, char *out)
{
    struct json_object *value = json_object_object_get(object, field->name);
    struct place inside = place_in(at, field->name, 0, value);
    if (value != NULL) {
        return read_value(reader, field, value, &inside, out + field->offset);
    }
    if (field->fallback != NULL) {
        return read_default(reader, field, &inside, out + field->offset);
    }
    if (field->required) {
        complain(reader, &inside, "required");
        return -EINVAL;
    }
    return 0;
}

static int check_rules(const struct schema_reader *reader, const struct schema_object *schema,
                       struct json_object *value, const struct place *at, const void *object)
{
    int rc = 0;
    for (size_t i = 0; i < schema->rule_count; i++) {
        const struct schema_rule *rule = &schema->rules[i];
        if (!rule->holds(object)) {
            struct place inside =
                place_in(at, rule->field, 0, json_object_object_get(value, rule->field));
            complain(reader, &inside, "%s", rule->message);
            rc = -EINVAL;
        }
    }
    return rc;
}

// Fills the struct at `out`, which is zeroed.
static int read_object(const struct schema_reader *reader, const struct schema_object *schema,
                       struct json_object *value, const struct place *at, char *out)
{
    if (!json_object_is_type(value, json_type_object)) {
        return complain_type(reader, at, value, "an object");
    }
    int rc = 0;
    size_t known = 0;
    json_object_object_foreach(value, key, entry) {
        bool is_known = find_field(schema, key) != NULL;
        known += is_known && entry != NULL;
        if (reader->strict && !is_known) {
            struct place inside = place_in(at, "", 0, entry);
            complain_unknown(reader, &inside, schema, key);
            rc = -EINVAL;
        }
    }
    for (size_t i = 0; i < schema->field_count; i++) {
        int field_rc = read_field(reader, &schema->fields[i], value, at, out);
        rc = field_rc < 0 && rc != -ENOMEM ? field_rc : rc;
    }
    if (rc == 0 && known < schema->min_properties) {
        complain(reader, at, "must not be empty");
        rc = -EINVAL;
    }
    if (rc == 0) {
        rc = check_rules(reader, schema, value, at, out);
    }
    return rc;
}

static int read_new_object(const struct schema_reader *reader, const struct schema_object *schema,
                           struct json_object *value, const struct place *at, void **ret_object)
{
    char *out = arena_zalloc(reader->arena, schema->size);
    if (out == NULL) {
        return -ENOMEM;
    }
    int rc = read_object(reader, schema, value, at, out);
    if (rc == 0) {
        *ret_object = out;
    }
    return rc;
}

static int read_value(const struct schema_reader *reader, const struct schema_field *field,
                      struct json_object *value, const struct place *at, void *target)
{
    switch (field->type) {
    case SCHEMA_STRING:
        return read_string(reader, field, value, at, target);
    case SCHEMA_INT:
        return read_int(reader, field, value, at, target);
    case SCHEMA_INT_OR_STRING:
        return read_int_or_string(reader, field, value, at, target);
    case SCHEMA_BOOL:
        return read_bool(reader, value, at, target);
    case SCHEMA_ENUM:
        return read_enum(reader, field, value, at, target);
    case SCHEMA_DURATION:
        return read_duration(reader, field, value, at, target);
    case SCHEMA_OBJECT:
        return read_new_object(reader, field->object, value, at, target);
    case SCHEMA_LIST:
        return read_list(reader, field, value, at, target);
    case SCHEMA_STRING_MAP:
        return read_string_map(reader, field, value, at, target);
    }
    return -EINVAL;
}

int schema_read(const struct schema_reader *reader, const struct schema_object *schema,
                struct json_object *value, const char *path, int line, void **ret_object)
{
    struct place root = {.name = path, .line = line};
    return read_new_object(reader, schema, value, &root, ret_object);
}
