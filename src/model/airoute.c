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
    return airoute_path_is_normal(((const struct airoute_path_match *)object)->value);
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
    {"value", AIROUTE_PATH_IS_NORMAL_MESSAGE, path_is_normal},
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
     .required = true, .min_len = 1, .max_len = 128, .pattern = PATTERN_HEADER_NAME},
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
    {.name = "firstToken", .type = SCHEMA_DURATION,
     .offset = FIELD(airoute_timeouts, first_token_ms), .min = 100, .max = 86400000, .min_len = 2,
     .max_len = 20, .pattern = PATTERN_DURATION},
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
    {.name = "perTryTimeout", .type = SCHEMA_DURATION, .offset = FIELD(airoute_retry, per_try_ms),
     .min = 100, .max = 86400000, .min_len = 2, .max_len = 20, .pattern = PATTERN_DURATION},
    {.name = "budget", .type = SCHEMA_OBJECT, .offset = FIELD(airoute_retry, budget),
     .fallback = "{}", .object = &airoute_retry_budget_schema},
};
static const struct schema_object retry_schema = OBJECT_OF(struct airoute_retry, retry_fields);

static const struct schema_field hedge_fields[] = {
    {.name = "delay", .type = SCHEMA_DURATION, .offset = FIELD(airoute_hedge, delay_ms),
     .required = true, .min = 10, .max = 3600000, .min_len = 2, .max_len = 20,
     .pattern = PATTERN_DURATION},
};
static const struct schema_object hedge_schema = OBJECT_OF(struct airoute_hedge, hedge_fields);

static bool some_weight(const void *object)
{
    const struct airoute_rule *rule = object;
    int64_t sum = 0;
    for (size_t i = 0; i < rule->backends.len; i++) {
        sum += rule->backends.items[i].weight;
    }
    return sum > 0 || rule->backends.len == 0;
}

static bool one_answer(const void *object)
{
    const struct airoute_rule *rule = object;
    return (rule->backends.len > 0) + (rule->redirect != NULL) + (rule->fixed_response != NULL) ==
           1;
}

static bool backends_for_the_rest(const void *object)
{
    const struct airoute_rule *rule = object;
    return rule->backends.len > 0 ||
           (rule->fallbacks.len == 0 && rule->path_rewrite == NULL &&
            rule->request_headers == NULL && rule->session_affinity == NULL &&
            rule->mirror == NULL && rule->timeouts == NULL && rule->hedge == NULL);
}

static const struct schema_rule rule_rules[] = {
    {"", "exactly one of backends, redirect and fixedResponse must be set", one_answer},
    {"backends", "at least one backend needs a weight above 0", some_weight},
    {"",
     "fallbacks, pathRewrite, requestHeaders, sessionAffinity, mirror, timeouts and hedge need "
     "backends",
     backends_for_the_rest},
};
static const struct schema_field rule_fields[] = {
    {.name = "name", .type = SCHEMA_STRING, .offset = FIELD(airoute_rule, name), .required = true,
     .min_len = 1, .max_len = 63, .pattern = PATTERN_DNS_LABEL},
    {.name = "matches", .type = SCHEMA_LIST, .offset = FIELD(airoute_rule, matches), .max_len = 16,
     .item = &match_item, .item_size = sizeof(struct airoute_match)},
    {.name = "backends", .type = SCHEMA_LIST, .offset = FIELD(airoute_rule, backends),
     .min_len = 1, .max_len = 16, .item = &backend_item,
     .item_size = sizeof(struct airoute_backend)},
    {.name = "redirect", .type = SCHEMA_OBJECT, .offset = FIELD(airoute_rule, redirect),
     .object = &airoute_redirect_schema},
    {.name = "fixedResponse", .type = SCHEMA_OBJECT, .offset = FIELD(airoute_rule, fixed_response),
     .object = &airoute_fixed_response_schema},
    {.name = "fallbacks", .type = SCHEMA_LIST, .offset = FIELD(airoute_rule, fallbacks),
     .max_len = 8, .item = &fallback_item, .item_size = sizeof(struct airoute_backend)},
    {.name = "pathRewrite", .type = SCHEMA_OBJECT, .offset = FIELD(airoute_rule, path_rewrite),
     .object = &airoute_path_change_schema},
    {.name = "requestHeaders", .type = SCHEMA_OBJECT,
     .offset = FIELD(airoute_rule, request_headers), .object = &airoute_header_edit_schema},
    {.name = "responseHeaders", .type = SCHEMA_OBJECT,
     .offset = FIELD(airoute_rule, response_headers), .object = &airoute_header_edit_schema},
    {.name = "cors", .type = SCHEMA_OBJECT, .offset = FIELD(airoute_rule, cors),
     .object = &airoute_cors_schema},
    {.name = "sessionAffinity", .type = SCHEMA_OBJECT,
     .offset = FIELD(airoute_rule, session_affinity), .object = &airoute_affinity_schema},
    {.name = "mirror", .type = SCHEMA_OBJECT, .offset = FIELD(airoute_rule, mirror),
     .object = &airoute_mirror_schema},
    {.name = "timeouts", .type = SCHEMA_OBJECT, .offset = FIELD(airoute_rule, timeouts),
     .object = &timeouts_schema},
    {.name = "retry", .type = SCHEMA_OBJECT, .offset = FIELD(airoute_rule, retry),
     .fallback = "{}", .object = &retry_schema},
    {.name = "hedge", .type = SCHEMA_OBJECT, .offset = FIELD(airoute_rule, hedge),
     .object = &hedge_schema},
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

// ---- TLS ----

static const struct schema_name client_auth_names[] = {{"Optional", ROUTE_CLIENT_AUTH_OPTIONAL},
                                                       {"Required", ROUTE_CLIENT_AUTH_REQUIRED},
                                                       {NULL, 0}};
static const struct schema_field client_auth_fields[] = {
    {.name = "mode", .type = SCHEMA_ENUM, .offset = FIELD(airoute_client_auth, mode),
     .fallback = "\"Required\"", .names = client_auth_names},
    {.name = "caRef", .type = SCHEMA_OBJECT, .offset = FIELD(airoute_client_auth, ca_ref),
     .required = true, .object = &ca_ref_schema},
    {.name = "forward", .type = SCHEMA_BOOL, .offset = FIELD(airoute_client_auth, forward),
     .fallback = "false"},
};
static const struct schema_object client_auth_schema =
    OBJECT_OF(struct airoute_client_auth, client_auth_fields);

static const struct schema_field tls_fields[] = {
    {.name = "secretName", .type = SCHEMA_STRING, .offset = FIELD(airoute_tls, secret_name),
     .required = true, .min_len = 1, .max_len = 253, .pattern = PATTERN_DNS_SUBDOMAIN},
    {.name = "hosts", .type = SCHEMA_LIST, .offset = FIELD(airoute_tls, hosts), .min_len = 1,
     .max_len = 16, .item = &hostname_item, .item_size = sizeof(struct slice),
     .list_type = SCHEMA_SET},
    {.name = "clientAuth", .type = SCHEMA_OBJECT, .offset = FIELD(airoute_tls, client_auth),
     .object = &client_auth_schema},
};
static const struct schema_object tls_schema = OBJECT_OF(struct airoute_tls, tls_fields);
static const struct schema_field tls_item = ITEM_OF(tls_schema);

// What browsers ask of a site that wants into their lists (hstspreload.org).
static bool fit_for_preload(const void *object)
{
    const struct airoute_hsts *hsts = object;
    return !hsts->preload ||
           (hsts->include_subdomains && hsts->max_age_ms >= INT64_C(8760) * 3600 * 1000);
}

static const struct schema_rule hsts_rules[] = {
    {"preload", "preload needs includeSubDomains and a maxAge of at least a year (8760h)",
     fit_for_preload},
};
static const struct schema_field hsts_fields[] = {
    {.name = "maxAge", .type = SCHEMA_DURATION, .offset = FIELD(airoute_hsts, max_age_ms),
     .fallback = "\"8760h\"", .min_len = 2, .max_len = 20, .pattern = PATTERN_DURATION},
    {.name = "includeSubDomains", .type = SCHEMA_BOOL,
     .offset = FIELD(airoute_hsts, include_subdomains), .fallback = "false"},
    {.name = "preload", .type = SCHEMA_BOOL, .offset = FIELD(airoute_hsts, preload),
     .fallback = "false"},
};
static const struct schema_object hsts_schema = {
    .fields = hsts_fields,
    .field_count = ARRAY_LEN(hsts_fields),
    .size = sizeof(struct airoute_hsts),
    .rules = hsts_rules,
    .rule_count = ARRAY_LEN(hsts_rules),
};

static bool hostname_covers(struct slice hostname, struct slice host)
{
    return slice_eq(hostname, host) ||
           (slice_has_prefix(hostname, SLICE("*.")) && host.len >= hostname.len &&
            slice_has_suffix(host, slice_skip(hostname, 1)));
}

static bool tls_hosts_are_served(const void *object)
{
    const struct airoute_spec *spec = object;
    bool served = true;
    for (size_t t = 0; t < spec->tls.len && spec->hostnames.len > 0; t++) {
        const struct airoute_tls *tls = &spec->tls.items[t];
        for (size_t h = 0; h < tls->hosts.len; h++) {
            bool covered = false;
            for (size_t i = 0; i < spec->hostnames.len; i++) {
                covered = covered ||
                          hostname_covers(spec->hostnames.items[i], tls->hosts.items[h]);
            }
            served = served && covered;
        }
    }
    return served;
}

static size_t count_entries_with(const struct airoute_spec *spec, struct slice host)
{
    size_t n = 0;
    for (size_t t = 0; t < spec->tls.len; t++) {
        for (size_t h = 0; h < spec->tls.items[t].hosts.len; h++) {
            n += slice_eq(spec->tls.items[t].hosts.items[h], host);
        }
    }
    return n;
}

static bool tls_entries_are_apart(const void *object)
{
    const struct airoute_spec *spec = object;
    bool apart = true;
    for (size_t t = 0; t < spec->tls.len && spec->tls.len > 1; t++) {
        const struct airoute_tls *tls = &spec->tls.items[t];
        apart = apart && tls->hosts.len > 0;
        for (size_t h = 0; h < tls->hosts.len; h++) {
            apart = apart && count_entries_with(spec, tls->hosts.items[h]) == 1;
        }
    }
    return apart;
}

static bool port_with_redirect(const void *object)
{
    const struct airoute_spec *spec = object;
    return spec->https_port == 0 || spec->https_redirect;
}

static const struct schema_rule spec_rules[] = {
    {"tls", "every host of tls must be one of hostnames, or under a wildcard of them",
     tls_hosts_are_served},
    {"tls", "where tls has several entries, each names its hosts, and no two the same",
     tls_entries_are_apart},
    {"httpsPort", "httpsPort goes with httpsRedirect", port_with_redirect},
};
static const struct schema_field spec_fields[] = {
    {.name = "ingressClassName", .type = SCHEMA_STRING,
     .offset = FIELD(airoute_spec, ingress_class), .fallback = "\"headrace\"", .min_len = 1,
     .max_len = 253, .pattern = PATTERN_DNS_SUBDOMAIN},
    {.name = "hostnames", .type = SCHEMA_LIST, .offset = FIELD(airoute_spec, hostnames),
     .max_len = 16, .item = &hostname_item, .item_size = sizeof(struct slice),
     .list_type = SCHEMA_SET},
    {.name = "tls", .type = SCHEMA_LIST, .offset = FIELD(airoute_spec, tls), .max_len = 16,
     .item = &tls_item, .item_size = sizeof(struct airoute_tls)},
    {.name = "httpsRedirect", .type = SCHEMA_BOOL, .offset = FIELD(airoute_spec, https_redirect),
     .fallback = "false"},
    {.name = "httpsPort", .type = SCHEMA_INT, .offset = FIELD(airoute_spec, https_port), .min = 1,
     .max = 65535},
    {.name = "hsts", .type = SCHEMA_OBJECT, .offset = FIELD(airoute_spec, hsts),
     .object = &hsts_schema},
    {.name = "rules", .type = SCHEMA_LIST, .offset = FIELD(airoute_spec, rules), .required = true,
     .min_len = 1, .max_len = 32, .item = &rule_item, .item_size = sizeof(struct airoute_rule),
     .list_type = SCHEMA_MAP, .keys = {"name"}},
};
const struct schema_object airoute_spec_schema = {
    .fields = spec_fields,
    .field_count = ARRAY_LEN(spec_fields),
    .size = sizeof(struct airoute_spec),
    .rules = spec_rules,
    .rule_count = ARRAY_LEN(spec_rules),
};
