#include "model/airoute_filters.h"

#include "model/patterns.h"

#define FIELD(type, member) offsetof(struct type, member)
#define OBJECT_OF(type, rows) \
    {.fields = (rows), .field_count = ARRAY_LEN(rows), .size = sizeof(type)}
#define OBJECT_WITH_RULES(type, rows, checks)                                                 \
    {.fields = (rows), .field_count = ARRAY_LEN(rows), .size = sizeof(type), .rules = (checks), \
     .rule_count = ARRAY_LEN(checks)}
#define ITEM_OF(schema) {.name = "", .type = SCHEMA_OBJECT, .object = &(schema)}

bool airoute_path_is_normal(struct slice path)
{
    return slice_find(path, SLICE("//")) < 0 && slice_find(path, SLICE("/./")) < 0 &&
           slice_find(path, SLICE("/../")) < 0 && !slice_has_suffix(path, SLICE("/.")) &&
           !slice_has_suffix(path, SLICE("/.."));
}

// ---- header fields ----

static const struct schema_field header_fields[] = {
    {.name = "name", .type = SCHEMA_STRING, .offset = FIELD(airoute_header, name),
     .required = true, .min_len = 1, .max_len = 128, .pattern = PATTERN_HEADER_NAME,
     .check = SCHEMA_CHECK_HEADER_NAME},
    {.name = "value", .type = SCHEMA_STRING, .offset = FIELD(airoute_header, value),
     .required = true, .min_len = 1, .max_len = 1024, .pattern = PATTERN_TEXT},
};
static const struct schema_object header_schema =
    OBJECT_OF(struct airoute_header, header_fields);
static const struct schema_field header_item = ITEM_OF(header_schema);
static const struct schema_field header_name_item = {
    .name = "", .type = SCHEMA_STRING, .min_len = 1, .max_len = 128,
    .pattern = PATTERN_HEADER_NAME, .check = SCHEMA_CHECK_HEADER_NAME};

static const struct schema_field header_edit_fields[] = {
    {.name = "set", .type = SCHEMA_LIST, .offset = FIELD(airoute_header_edit, set), .max_len = 16,
     .item = &header_item, .item_size = sizeof(struct airoute_header), .list_type = SCHEMA_MAP,
     .keys = {"name"}},
    {.name = "add", .type = SCHEMA_LIST, .offset = FIELD(airoute_header_edit, add), .max_len = 16,
     .item = &header_item, .item_size = sizeof(struct airoute_header)},
    {.name = "remove", .type = SCHEMA_LIST, .offset = FIELD(airoute_header_edit, remove),
     .max_len = 16, .item = &header_name_item, .item_size = sizeof(struct slice),
     .list_type = SCHEMA_SET},
};
const struct schema_object airoute_header_edit_schema = {
    .fields = header_edit_fields,
    .field_count = ARRAY_LEN(header_edit_fields),
    .size = sizeof(struct airoute_header_edit),
    .min_properties = 1,
};

// ---- redirects, answers of its own ----

static bool change_is_normal(const void *object)
{
    return airoute_path_is_normal(((const struct airoute_path_change *)object)->value);
}

static const struct schema_name path_change_names[] = {
    {"ReplaceFullPath", PATH_REPLACE_FULL}, {"ReplacePrefixMatch", PATH_REPLACE_PREFIX},
    {NULL, 0}};
static const struct schema_rule path_change_rules[] = {
    {"value", AIROUTE_PATH_IS_NORMAL_MESSAGE, change_is_normal},
};
static const struct schema_field path_change_fields[] = {
    {.name = "type", .type = SCHEMA_ENUM, .offset = FIELD(airoute_path_change, type),
     .required = true, .names = path_change_names},
    {.name = "value", .type = SCHEMA_STRING, .offset = FIELD(airoute_path_change, value),
     .required = true, .min_len = 1, .max_len = 1024,
     .pattern = "^/([A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-F]{2})*$"},
};
const struct schema_object airoute_path_change_schema =
    OBJECT_WITH_RULES(struct airoute_path_change, path_change_fields, path_change_rules);

static bool status_redirects(const void *object)
{
    int64_t status = ((const struct airoute_redirect *)object)->status_code;
    return (status >= 301 && status <= 303) || status == 307 || status == 308;
}

static bool leads_elsewhere(const void *object)
{
    const struct airoute_redirect *redirect = object;
    return redirect->scheme != REDIRECT_SCHEME_AS_ASKED || redirect->hostname.ptr != NULL ||
           redirect->port != 0 || redirect->path != NULL;
}

static const struct schema_name scheme_names[] = {
    {"http", REDIRECT_SCHEME_HTTP}, {"https", REDIRECT_SCHEME_HTTPS}, {NULL, 0}};
static const struct schema_rule redirect_rules[] = {
    {"statusCode", "must be 301, 302, 303, 307 or 308", status_redirects},
    {"", "needs scheme, hostname, port or path: else it leads to where it came from",
     leads_elsewhere},
};
static const struct schema_field redirect_fields[] = {
    {.name = "scheme", .type = SCHEMA_ENUM, .offset = FIELD(airoute_redirect, scheme),
     .names = scheme_names},
    {.name = "hostname", .type = SCHEMA_STRING, .offset = FIELD(airoute_redirect, hostname),
     .min_len = 1, .max_len = 253, .pattern = PATTERN_DNS_SUBDOMAIN},
    {.name = "port", .type = SCHEMA_INT, .offset = FIELD(airoute_redirect, port), .min = 1,
     .max = 65535},
    {.name = "path", .type = SCHEMA_OBJECT, .offset = FIELD(airoute_redirect, path),
     .object = &airoute_path_change_schema},
    {.name = "statusCode", .type = SCHEMA_INT, .offset = FIELD(airoute_redirect, status_code),
     .fallback = "302", .min = 301, .max = 308},
};
const struct schema_object airoute_redirect_schema =
    OBJECT_WITH_RULES(struct airoute_redirect, redirect_fields, redirect_rules);

static bool status_has_body(const void *object)
{
    const struct airoute_fixed_response *response = object;
    bool empty = response->status == 204 || response->status == 205 || response->status == 304;
    return !empty || response->body.ptr == NULL;
}

static const struct schema_rule fixed_response_rules[] = {
    {"body", "an answer of status 204, 205 or 304 has no body", status_has_body},
};
static const struct schema_field fixed_response_fields[] = {
    {.name = "status", .type = SCHEMA_INT, .offset = FIELD(airoute_fixed_response, status),
     .required = true, .min = 200, .max = 599},
    {.name = "contentType", .type = SCHEMA_STRING,
     .offset = FIELD(airoute_fixed_response, content_type),
     .fallback = "\"text/plain; charset=utf-8\"", .min_len = 1, .max_len = 128,
     .pattern = PATTERN_TEXT},
    {.name = "body", .type = SCHEMA_STRING, .offset = FIELD(airoute_fixed_response, body),
     .max_len = 4096},
};
const struct schema_object airoute_fixed_response_schema =
    OBJECT_WITH_RULES(struct airoute_fixed_response, fixed_response_fields, fixed_response_rules);

// ---- CORS ----

static bool credentials_are_for_somebody(const void *object)
{
    const struct airoute_cors *cors = object;
    for (size_t i = 0; i < cors->allow_origins.len && cors->allow_credentials; i++) {
        if (slice_eq(cors->allow_origins.items[i], SLICE("*"))) {
            return false;
        }
    }
    return true;
}

static const struct schema_field origin_item = {
    .name = "", .type = SCHEMA_STRING, .min_len = 1, .max_len = 280,
    .pattern = "^(\\*|[a-z][a-z0-9+.-]{0,31}://((\\*\\.)?[a-z0-9]([-a-z0-9._]*[a-z0-9])?|"
               "\\[[0-9a-f:]+\\])(:[1-9][0-9]{0,4})?)$"};
static const struct schema_field method_item = {
    .name = "", .type = SCHEMA_STRING, .min_len = 1, .max_len = 16,
    .pattern = "^(\\*|[A-Z][A-Z-]*)$"};
static const struct schema_field cors_header_item = {
    .name = "", .type = SCHEMA_STRING, .min_len = 1, .max_len = 128,
    .pattern = PATTERN_HEADER_NAME};

static const struct schema_rule cors_rules[] = {
    {"allowCredentials", "needs origins by name: not for everybody (*)",
     credentials_are_for_somebody},
};
static const struct schema_field cors_fields[] = {
    {.name = "allowOrigins", .type = SCHEMA_LIST, .offset = FIELD(airoute_cors, allow_origins),
     .required = true, .min_len = 1, .max_len = 64, .item = &origin_item,
     .item_size = sizeof(struct slice), .list_type = SCHEMA_SET},
    {.name = "allowMethods", .type = SCHEMA_LIST, .offset = FIELD(airoute_cors, allow_methods),
     .fallback = "[\"GET\",\"HEAD\",\"POST\"]", .min_len = 1, .max_len = 16, .item = &method_item,
     .item_size = sizeof(struct slice), .list_type = SCHEMA_SET},
    {.name = "allowHeaders", .type = SCHEMA_LIST, .offset = FIELD(airoute_cors, allow_headers),
     .fallback = "[\"*\"]", .max_len = 64, .item = &cors_header_item,
     .item_size = sizeof(struct slice), .list_type = SCHEMA_SET},
    {.name = "exposeHeaders", .type = SCHEMA_LIST, .offset = FIELD(airoute_cors, expose_headers),
     .max_len = 64, .item = &cors_header_item, .item_size = sizeof(struct slice),
     .list_type = SCHEMA_SET},
    {.name = "allowCredentials", .type = SCHEMA_BOOL,
     .offset = FIELD(airoute_cors, allow_credentials), .fallback = "false"},
    {.name = "maxAge", .type = SCHEMA_DURATION, .offset = FIELD(airoute_cors, max_age_ms),
     .fallback = "\"10m\"", .min = 1000, .max = 86400000, .min_len = 2, .max_len = 20,
     .pattern = PATTERN_DURATION},
};
const struct schema_object airoute_cors_schema =
    OBJECT_WITH_RULES(struct airoute_cors, cors_fields, cors_rules);

// ---- sessions ----

static bool one_kind_of_session(const void *object)
{
    const struct airoute_affinity *affinity = object;
    return (affinity->header.ptr != NULL) != (affinity->cookie != NULL);
}

static const struct schema_name same_site_names[] = {
    {"Lax", SAME_SITE_LAX}, {"Strict", SAME_SITE_STRICT}, {"None", SAME_SITE_NONE}, {NULL, 0}};
static const struct schema_field affinity_cookie_fields[] = {
    {.name = "name", .type = SCHEMA_STRING, .offset = FIELD(airoute_affinity_cookie, name),
     .fallback = "\"headrace-session\"", .min_len = 1, .max_len = 64,
     .pattern = PATTERN_HEADER_NAME},
    {.name = "ttl", .type = SCHEMA_DURATION, .offset = FIELD(airoute_affinity_cookie, ttl_ms),
     .min = 1000, .max = 2592000000, .min_len = 2, .max_len = 20, .pattern = PATTERN_DURATION},
    {.name = "path", .type = SCHEMA_STRING, .offset = FIELD(airoute_affinity_cookie, path),
     .fallback = "\"/\"", .min_len = 1, .max_len = 256, .pattern = "^/[!-:<-~]*$"},
    {.name = "sameSite", .type = SCHEMA_ENUM,
     .offset = FIELD(airoute_affinity_cookie, same_site), .fallback = "\"Lax\"",
     .names = same_site_names},
};
static const struct schema_object affinity_cookie_schema =
    OBJECT_OF(struct airoute_affinity_cookie, affinity_cookie_fields);

static const struct schema_rule affinity_rules[] = {
    {"", "exactly one of header and cookie must be set", one_kind_of_session},
};
static const struct schema_field affinity_fields[] = {
    {.name = "header", .type = SCHEMA_STRING, .offset = FIELD(airoute_affinity, header),
     .min_len = 1, .max_len = 128, .pattern = PATTERN_HEADER_NAME},
    {.name = "cookie", .type = SCHEMA_OBJECT, .offset = FIELD(airoute_affinity, cookie),
     .object = &affinity_cookie_schema},
};
const struct schema_object airoute_affinity_schema =
    OBJECT_WITH_RULES(struct airoute_affinity, affinity_fields, affinity_rules);

// ---- mirrors, budgets ----

static const struct schema_field mirror_fields[] = {
    {.name = "name", .type = SCHEMA_STRING, .offset = FIELD(airoute_mirror, name),
     .required = true, .min_len = 1, .max_len = 253, .pattern = PATTERN_DNS_SUBDOMAIN},
    {.name = "percent", .type = SCHEMA_INT, .offset = FIELD(airoute_mirror, percent),
     .fallback = "100", .min = 0, .max = 100},
    {.name = "model", .type = SCHEMA_STRING, .offset = FIELD(airoute_mirror, model), .min_len = 1,
     .max_len = 256, .pattern = PATTERN_TEXT},
};
const struct schema_object airoute_mirror_schema =
    OBJECT_OF(struct airoute_mirror, mirror_fields);

static const struct schema_field retry_budget_fields[] = {
    {.name = "percent", .type = SCHEMA_INT, .offset = FIELD(airoute_retry_budget, percent),
     .fallback = "20", .min = 0, .max = 100},
    {.name = "minConcurrency", .type = SCHEMA_INT,
     .offset = FIELD(airoute_retry_budget, min_concurrency), .fallback = "10", .min = 0,
     .max = 1000},
};
const struct schema_object airoute_retry_budget_schema =
    OBJECT_OF(struct airoute_retry_budget, retry_budget_fields);
