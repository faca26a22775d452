#include "model/airoute.h"

#include "model/pattern.h"
#include "model/patterns.h"

static const struct schema_name method_names[] = {
    {"GET", ROUTE_METHOD_GET},       {"HEAD", ROUTE_METHOD_HEAD},
    {"POST", ROUTE_METHOD_POST},     {"PUT", ROUTE_METHOD_PUT},
    {"PATCH", ROUTE_METHOD_PATCH},   {"DELETE", ROUTE_METHOD_DELETE},
    {"OPTIONS", ROUTE_METHOD_OPTIONS}, {NULL, 0},
};

static const struct schema_name model_match_names[] = {
    {"Exact", MATCH_EXACT}, {"Prefix", MATCH_PREFIX}, {"Regex", MATCH_REGEX}, {NULL, 0}};
static const struct schema_name path_match_names[] = {
    {"Exact", MATCH_EXACT}, {"Prefix", MATCH_PREFIX}, {NULL, 0}};
static const struct schema_name header_match_names[] = {
    {"Exact", MATCH_EXACT}, {"Regex", MATCH_REGEX}, {NULL, 0}};

static const struct schema_name retry_names[] = {
    {"ConnectFailure", RETRY_CONNECT_FAILURE}, {"Reset", RETRY_RESET},
    {"Overloaded", RETRY_OVERLOADED},          {"ServerError", RETRY_SERVER_ERROR},
    {"Timeout", RETRY_TIMEOUT},                {NULL, 0},
};

const char *route_method_text(int method)
{
    for (size_t i = 0; method_names[i].name != NULL; i++) {
        if (method_names[i].value == method) {
            return method_names[i].name;
        }
    }
    return "";
}

#define FIELD(type, member) offsetof(struct type, member)
#define OBJECT_OF(type, rows) \
    {.fields = (rows), .field_count = ARRAY_LEN(rows), .size = sizeof(type)}
#define ITEM_OF(schema) {.name = "", .type = SCHEMA_OBJECT, .object = &(schema)}

static const struct schema_field model_match_fields[] = {
    {.name = "type", .type = SCHEMA_ENUM, .offset = FIELD(airoute_model_match, type),
     .fallback = "\"Exact\"", .names = model_match_names},
    {.name = "value", .type = SCHEMA_STRING, .offset = FIELD(airoute_model_match, value),
     .required = true, .min_len = 1, .max_len = 256, .pattern = PATTERN_TEXT},
};
static const struct schema_object model_match_schema =
    OBJECT_OF(struct airoute_model_match, model_match_fields);

// What the proxy matches is a normalised path, in which such segments cannot be.
static bool path_is_normal(const void *object)
{
    struct slice path = ((const struct airoute_path_match *)object)->value;
    return slice_find(path, SLICE("//")) < 0 && slice_find(path, SLICE("/./")) < 0 &&
           slice_find(path, SLICE("/../")) < 0 && !slice_has_suffix(path, SLICE("/.")) &&
           !slice_has_suffix(path, SLICE("/.."));
}

// Nor another writing of it (http/h1_target.c decodes what need not be encoded and refuses what
// must be).
static bool path_is_as_requested(const void *object)
{
    return pattern_matches("^([]-_!$&-;=@-[a-z|~]|%(2[0-9A-CF]|3[A-F]|40|5[B-E]|60|7[B-D]|"
                           "[89A-F][0-9A-F]))*$",
                           ((const struct airoute_path_match *)object)->value.ptr);
}

static const struct schema_rule path_match_rules[] = {
    {"value", "must be without empty, '.' and '..' segments", path_is_normal},
    {"value",
     "must be written as requests are compared, percent-encoded where a character is not allowed "
     "as it is and nowhere else, in upper case (%2F)",
     path_is_as_requested},
};
static const struct schema_field path_match_fields[] = {
    {.name = "type", .type = SCHEMA_ENUM, .offset = FIELD(airoute_path_match, type),
     .fallback = "\"Prefix\"", .names = path_match_names},
    {.name = "value", .type = SCHEMA_STRING, .offset = FIELD(airoute_path_match, value),
     .required = true, .min_len = 1, .max_len = 1024, .pattern = "^/[!-\"$->@-~]*$"},
};
static const struct schema_object path_match_schema = {
    .fields = path_match_fields,
    .field_count = ARRAY_LEN(path_match_fields),
    .size = sizeof(struct airoute_path_match),
    .rules = path_match_rules,
    .rule_count = ARRAY_LEN(path_match_rules),
};

static const struct schema_field header_match_fields[] = {
    {.name = "type", .type = SCHEMA_ENUM, .offset = FIELD(airoute_header_match, type),
     .fallback = "\"Exact\"", .names = header_match_names},
    {.name = "name", .type = SCHEMA_STRING, .offset = FIELD(airoute_header_match, name),
     .required = true, .min_len = 1, .max_len = 128,
     .pattern = "^[A-Za-z0-9!#$%&'*+.^_|~-]+$"},
    {.name = "value", .type = SCHEMA_STRING, .offset = FIELD(airoute_header_match, value),
     .required = true, .min_len = 1, .max_len = 512, .pattern = PATTERN_TEXT},
};
static const struct schema_object header_match_schema =
    OBJECT_OF(struct airoute_header_match, header_match_fields);

static const struct schema_field model_match_item = ITEM_OF(model_match_schema);
static const struct schema_field header_match_item = ITEM_OF(header_match_schema);

static const struct schema_field match_fields[] = {
    {.name = "models", .type = SCHEMA_LIST, .offset = FIELD(airoute_match, models), .max_len = 32,
     .item = &model_match_item, .item_size = sizeof(struct airoute_model_match)},
    {.name = "path", .type = SCHEMA_OBJECT, .offset = FIELD(airoute_match, path),
     .object = &path_match_schema},
    {.name = "method", .type = SCHEMA_ENUM, .offset = FIELD(airoute_match, method),
     .names = method_names},
    {.name = "headers", .type = SCHEMA_LIST, .offset = FIELD(airoute_match, headers), .max_len = 8,
     .item = &header_match_item, .item_size = sizeof(struct airoute_header_match),
     .list_type = SCHEMA_MAP, .keys = {"name"}},
};
static const struct schema_object match_schema = OBJECT_OF(struct airoute_match, match_fields);
static const struct schema_field match_item = ITEM_OF(match_schema);

static const struct schema_field backend_fields[] = {
    {.name = "name", .type = SCHEMA_STRING, .offset = FIELD(airoute_backend, name),
     .required = true, .min_len = 1, .max_len = 253, .pattern = PATTERN_DNS_SUBDOMAIN},
    {.name = "weight", .type = SCHEMA_INT, .offset = FIELD(airoute_backend, weight),
     .fallback = "1", .min = 0, .max = 1000000},
    {.name = "model", .type = SCHEMA_STRING, .offset = FIELD(airoute_backend, model), .min_len = 1,
     .max_len = 256, .pattern = PATTERN_TEXT},
};
static const struct schema_object backend_schema =
    OBJECT_OF(struct airoute_backend, backend_fields);
static const struct schema_field backend_item = ITEM_OF(backend_schema);

static const struct schema_field fallback_fields[] = {
    {.name = "name", .type = SCHEMA_STRING, .offset = FIELD(airoute_backend, name),
     .required = true, .min_len = 1, .max_len = 253, .pattern = PATTERN_DNS_SUBDOMAIN},
    {.name = "model", .type = SCHEMA_STRING, .offset = FIELD(airoute_backend, model), .min_len = 1,
     .max_len = 256, .pattern = PATTERN_TEXT},
};
static const struct schema_object fallback_schema =
    OBJECT_OF(struct airoute_backend, fallback_fields);
static const struct schema_field fallback_item = ITEM_OF(fallback_schema);

static const struct schema_field timeouts_fields[] = {
    {.name = "request", .type = SCHEMA_DURATION, .offset = FIELD(airoute_timeouts, request_ms),
     .min = 100, .max = 86400000, .min_len = 2, .max_len = 20, .pattern = PATTERN_DURATION},
};
static const struct schema_object timeouts_schema =
    OBJECT_OF(struct airoute_timeouts, timeouts_fields);

static const struct schema_field when_item = {
    .name = "", .type = SCHEMA_ENUM, .names = retry_names};
static const struct schema_field retry_fields[] = {
    {.name = "attempts", .type = SCHEMA_INT, .offset = FIELD(airoute_retry, attempts),
     .fallback = "2", .min = 0, .max = 10},
    {.name = "when", .type = SCHEMA_LIST, .offset = FIELD(airoute_retry, when), .max_len = 5,
     .fallback = "[\"ConnectFailure\",\"Reset\",\"Overloaded\"]", .item = &when_item,
     .item_size = sizeof(int), .list_type = SCHEMA_SET},
};
static const struct schema_object retry_schema = OBJECT_OF(struct airoute_retry, retry_fields);

static bool some_weight(const void *object)
{
    const struct airoute_rule *rule = object;
    int64_t sum = 0;
    for (size_t i = 0; i < rule->backends.len; i++) {
        sum += rule->backends.items[i].weight;
    }
    return sum > 0;
}

static const struct schema_rule rule_rules[] = {
    {"backends", "at least one backend needs a weight above 0", some_weight},
};
static const struct schema_field rule_fields[] = {
    {.name = "name", .type = SCHEMA_STRING, .offset = FIELD(airoute_rule, name), .required = true,
     .min_len = 1, .max_len = 63, .pattern = PATTERN_DNS_LABEL},
    {.name = "matches", .type = SCHEMA_LIST, .offset = FIELD(airoute_rule, matches), .max_len = 16,
     .item = &match_item, .item_size = sizeof(struct airoute_match)},
    {.name = "backends", .type = SCHEMA_LIST, .offset = FIELD(airoute_rule, backends),
     .required = true, .min_len = 1, .max_len = 16, .item = &backend_item,
     .item_size = sizeof(struct airoute_backend)},
    {.name = "fallbacks", .type = SCHEMA_LIST, .offset = FIELD(airoute_rule, fallbacks),
     .max_len = 8, .item = &fallback_item, .item_size = sizeof(struct airoute_backend)},
    {.name = "timeouts", .type = SCHEMA_OBJECT, .offset = FIELD(airoute_rule, timeouts),
     .object = &timeouts_schema},
    {.name = "retry", .type = SCHEMA_OBJECT, .offset = FIELD(airoute_rule, retry),
     .fallback = "{}", .object = &retry_schema},
};
static const struct schema_object rule_schema = {
    .fields = rule_fields,
    .field_count = ARRAY_LEN(rule_fields),
    .size = sizeof(struct airoute_rule),
    .rules = rule_rules,
    .rule_count = ARRAY_LEN(rule_rules),
};
static const struct schema_field rule_item = ITEM_OF(rule_schema);

static const struct schema_field hostname_item = {.name = "", .type = SCHEMA_STRING, .min_len = 1,
                                                  .max_len = 253, .pattern = PATTERN_HOSTNAME};

static const struct schema_field spec_fields[] = {
    {.name = "ingressClassName", .type = SCHEMA_STRING,
     .offset = FIELD(airoute_spec, ingress_class), .fallback = "\"headrace\"", .min_len = 1,
     .max_len = 253, .pattern = PATTERN_DNS_SUBDOMAIN},
    {.name = "hostnames", .type = SCHEMA_LIST, .offset = FIELD(airoute_spec, hostnames),
     .max_len = 16, .item = &hostname_item, .item_size = sizeof(struct slice),
     .list_type = SCHEMA_SET},
    {.name = "rules", .type = SCHEMA_LIST, .offset = FIELD(airoute_spec, rules), .required = true,
     .min_len = 1, .max_len = 32, .item = &rule_item, .item_size = sizeof(struct airoute_rule),
     .list_type = SCHEMA_MAP, .keys = {"name"}},
};
const struct schema_object airoute_spec_schema = OBJECT_OF(struct airoute_spec, spec_fields);
