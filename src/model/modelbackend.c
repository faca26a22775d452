#include "model/modelbackend.h"

#include "model/patterns.h"

#define PATTERN_METRIC "^[a-zA-Z_:][a-zA-Z0-9_:]*$"

static const struct schema_name engine_names[] = {
#define ENGINE_NAME(id, name) {(name), ENGINE_##id},
    ENGINE_TABLE(ENGINE_NAME)
#undef ENGINE_NAME
    {NULL, 0},
};

static const struct schema_name policy_names[] = {
    {"InferenceAware", BACKEND_POLICY_INFERENCE_AWARE},
    {"LeastRequest", BACKEND_POLICY_LEAST_REQUEST},
    {"RoundRobin", BACKEND_POLICY_ROUND_ROBIN},
    {"Random", BACKEND_POLICY_RANDOM},
    {NULL, 0},
};

#define FIELD(type, member) offsetof(struct type, member)
#define OBJECT_OF(type, rows) \
    {.fields = (rows), .field_count = ARRAY_LEN(rows), .size = sizeof(type)}
#define OBJECT_WITH_RULES(type, rows, checks)                                                 \
    {.fields = (rows), .field_count = ARRAY_LEN(rows), .size = sizeof(type), .rules = (checks), \
     .rule_count = ARRAY_LEN(checks)}
#define ITEM_OF(schema) {.name = "", .type = SCHEMA_OBJECT, .object = &(schema)}

// ---- pool ----

static const struct schema_field service_ref_fields[] = {
    {.name = "name", .type = SCHEMA_STRING, .offset = FIELD(backend_service_ref, name),
     .required = true, .min_len = 1, .max_len = 63, .pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$"},
    {.name = "port", .type = SCHEMA_INT_OR_STRING, .offset = FIELD(backend_service_ref, port),
     .required = true, .min = 1, .max = 65535, .min_len = 1, .max_len = 63,
     .pattern = PATTERN_DNS_LABEL},
};
static const struct schema_object service_ref_schema =
    OBJECT_OF(struct backend_service_ref, service_ref_fields);

static const struct schema_field label_item = {
    .name = "", .type = SCHEMA_STRING, .max_len = 63,
    .pattern = PATTERN_LABEL_VALUE};
static const struct schema_field selector_fields[] = {
    {.name = "matchLabels", .type = SCHEMA_STRING_MAP,
     .offset = FIELD(backend_selector, match_labels),
     .required = true, .min_len = 1, .max_len = 16, .item = &label_item,
     .check = SCHEMA_CHECK_LABEL_KEYS},
};
static const struct schema_object selector_schema =
    OBJECT_OF(struct backend_selector, selector_fields);

static bool one_pool_source(const void *object)
{
    const struct backend_pool *pool = object;
    return (pool->service_ref != NULL) != (pool->selector != NULL);
}

static bool port_with_selector(const void *object)
{
    const struct backend_pool *pool = object;
    return (pool->selector != NULL) == (pool->port != 0);
}

static const struct schema_rule pool_rules[] = {
    {"", "set exactly one of serviceRef and selector", one_pool_source},
    {"port", "port goes with selector, a serviceRef has its own port", port_with_selector},
};
static const struct schema_field pool_fields[] = {
    {.name = "serviceRef", .type = SCHEMA_OBJECT, .offset = FIELD(backend_pool, service_ref),
     .object = &service_ref_schema},
    {.name = "selector", .type = SCHEMA_OBJECT, .offset = FIELD(backend_pool, selector),
     .object = &selector_schema},
    {.name = "port", .type = SCHEMA_INT, .offset = FIELD(backend_pool, port), .min = 1,
     .max = 65535},
};
static const struct schema_object pool_schema =
    OBJECT_WITH_RULES(struct backend_pool, pool_fields, pool_rules);

// ---- static ----

static const struct schema_field static_endpoint_fields[] = {
    {.name = "address", .type = SCHEMA_STRING, .offset = FIELD(backend_static_endpoint, address),
     .required = true, .min_len = 2, .max_len = 45, .check = SCHEMA_CHECK_IP},
    {.name = "port", .type = SCHEMA_INT, .offset = FIELD(backend_static_endpoint, port),
     .required = true, .min = 1, .max = 65535},
    {.name = "weight", .type = SCHEMA_INT, .offset = FIELD(backend_static_endpoint, weight),
     .fallback = "1", .min = 1, .max = 100},
};
static const struct schema_object static_endpoint_schema =
    OBJECT_OF(struct backend_static_endpoint, static_endpoint_fields);
static const struct schema_field static_endpoint_item = ITEM_OF(static_endpoint_schema);
static const struct schema_field static_fields[] = {
    {.name = "endpoints", .type = SCHEMA_LIST, .offset = FIELD(backend_static, endpoints),
     .required = true, .min_len = 1, .max_len = 256, .item = &static_endpoint_item,
     .item_size = sizeof(struct backend_static_endpoint), .list_type = SCHEMA_MAP,
     .keys = {"address", "port"}},
};
static const struct schema_object static_schema = OBJECT_OF(struct backend_static, static_fields);

// ---- metrics ----

static const struct schema_name scheme_names[] = {
    {"HTTP", BACKEND_SCHEME_HTTP},
    {"HTTPS", BACKEND_SCHEME_HTTPS},
    {NULL, 0},
};

static const struct schema_field mapping_fields[] = {
    {.name = "waiting", .type = SCHEMA_STRING, .offset = FIELD(backend_metrics_mapping, waiting),
     .min_len = 1, .max_len = 128, .pattern = PATTERN_METRIC},
    {.name = "running", .type = SCHEMA_STRING, .offset = FIELD(backend_metrics_mapping, running),
     .min_len = 1, .max_len = 128, .pattern = PATTERN_METRIC},
    {.name = "kvUtilization", .type = SCHEMA_STRING,
     .offset = FIELD(backend_metrics_mapping, kv_utilization), .min_len = 1, .max_len = 128,
     .pattern = PATTERN_METRIC},
};
static const struct schema_object mapping_schema = {
    .fields = mapping_fields,
    .field_count = ARRAY_LEN(mapping_fields),
    .size = sizeof(struct backend_metrics_mapping),
    .min_properties = 1,
};

static bool stale_after_interval(const void *object)
{
    const struct backend_metrics *metrics = object;
    return metrics->stale_after_ms >= metrics->interval_ms && metrics->stale_after_ms <= 600000;
}

static const struct schema_rule metrics_rules[] = {
    {"staleAfter", "must be at least interval and at most 10m", stale_after_interval},
};
static const struct schema_field metrics_fields[] = {
    {.name = "path", .type = SCHEMA_STRING, .offset = FIELD(backend_metrics, path), .min_len = 1,
     .max_len = 255, .pattern = "^/[!-~]*$"},
    {.name = "port", .type = SCHEMA_INT, .offset = FIELD(backend_metrics, port), .min = 1,
     .max = 65535},
    {.name = "scheme", .type = SCHEMA_ENUM, .offset = FIELD(backend_metrics, scheme),
     .names = scheme_names},
    {.name = "interval", .type = SCHEMA_DURATION, .offset = FIELD(backend_metrics, interval_ms),
     .fallback = "\"200ms\"", .min = 20, .max = 60000, .min_len = 2, .max_len = 20,
     .pattern = PATTERN_DURATION},
    {.name = "staleAfter", .type = SCHEMA_DURATION,
     .offset = FIELD(backend_metrics, stale_after_ms), .fallback = "\"2s\"", .min_len = 2,
     .max_len = 20, .pattern = PATTERN_DURATION},
    {.name = "mapping", .type = SCHEMA_OBJECT, .offset = FIELD(backend_metrics, mapping),
     .object = &mapping_schema},
};
static const struct schema_object metrics_schema =
    OBJECT_WITH_RULES(struct backend_metrics, metrics_fields, metrics_rules);

// ---- models ----

static bool name_not_alias(const void *object)
{
    const struct backend_model *model = object;
    for (size_t i = 0; i < model->aliases.len; i++) {
        if (slice_eq(model->aliases.items[i], model->name)) {
            return false;
        }
    }
    return true;
}

static const struct schema_rule model_rules[] = {
    {"aliases", "the name of the model cannot be its alias too", name_not_alias},
};
static const struct schema_field alias_item = {.name = "", .type = SCHEMA_STRING, .min_len = 1,
                                               .max_len = 256, .pattern = PATTERN_TEXT};
static const struct schema_field model_fields[] = {
    {.name = "name", .type = SCHEMA_STRING, .offset = FIELD(backend_model, name), .required = true,
     .min_len = 1, .max_len = 256, .pattern = PATTERN_TEXT},
    {.name = "upstreamName", .type = SCHEMA_STRING, .offset = FIELD(backend_model, upstream_name),
     .min_len = 1, .max_len = 256, .pattern = PATTERN_TEXT},
    {.name = "aliases", .type = SCHEMA_LIST, .offset = FIELD(backend_model, aliases), .max_len = 16,
     .item = &alias_item, .item_size = sizeof(struct slice), .list_type = SCHEMA_SET},
};
static const struct schema_object model_schema =
    OBJECT_WITH_RULES(struct backend_model, model_fields, model_rules);
static const struct schema_field model_item = ITEM_OF(model_schema);

// ---- balancing, timeouts ----

static const struct schema_field balancing_fields[] = {
    {.name = "policy", .type = SCHEMA_ENUM, .offset = FIELD(backend_balancing, policy),
     .fallback = "\"InferenceAware\"", .names = policy_names},
    {.name = "slowStart", .type = SCHEMA_DURATION,
     .offset = FIELD(backend_balancing, slow_start_ms), .min = 1000, .max = 3600000, .min_len = 2,
     .max_len = 20, .pattern = PATTERN_DURATION},
    {.name = "panicThreshold", .type = SCHEMA_INT,
     .offset = FIELD(backend_balancing, panic_threshold), .fallback = "50", .max = 100},
};
static const struct schema_object balancing_schema =
    OBJECT_OF(struct backend_balancing, balancing_fields);

static const struct schema_field timeouts_fields[] = {
    {.name = "connect", .type = SCHEMA_DURATION, .offset = FIELD(backend_timeouts, connect_ms),
     .fallback = "\"2s\"", .min = 10, .max = 300000, .min_len = 2, .max_len = 20,
     .pattern = PATTERN_DURATION},
    {.name = "firstToken", .type = SCHEMA_DURATION,
     .offset = FIELD(backend_timeouts, first_token_ms), .fallback = "\"120s\"", .min = 100,
     .max = 86400000, .min_len = 2, .max_len = 20, .pattern = PATTERN_DURATION},
    {.name = "betweenTokens", .type = SCHEMA_DURATION,
     .offset = FIELD(backend_timeouts, between_tokens_ms), .fallback = "\"60s\"", .min = 100,
     .max = 86400000, .min_len = 2, .max_len = 20, .pattern = PATTERN_DURATION},
    {.name = "betweenTokensWhenLeaving", .type = SCHEMA_DURATION,
     .offset = FIELD(backend_timeouts, between_tokens_when_leaving_ms), .fallback = "\"5s\"",
     .min = 100, .max = 86400000, .min_len = 2, .max_len = 20, .pattern = PATTERN_DURATION},
};
static const struct schema_object timeouts_schema =
    OBJECT_OF(struct backend_timeouts, timeouts_fields);

// ---- protocol, TLS ----

static const struct schema_name protocol_names[] = {
    {"Auto", BACKEND_PROTOCOL_AUTO},
    {"HTTP1", BACKEND_PROTOCOL_HTTP1},
    {"HTTP2", BACKEND_PROTOCOL_HTTP2},
    {NULL, 0},
};

static const struct schema_field certificate_ref_fields[] = {
    {.name = "name", .type = SCHEMA_STRING, .offset = FIELD(backend_certificate_ref, name),
     .required = true, .min_len = 1, .max_len = 253, .pattern = PATTERN_DNS_SUBDOMAIN},
};
static const struct schema_object certificate_ref_schema =
    OBJECT_OF(struct backend_certificate_ref, certificate_ref_fields);

static bool trust_or_none(const void *object)
{
    const struct backend_tls *tls = object;
    return !tls->insecure || tls->ca_ref == NULL;
}

static const struct schema_rule tls_rules[] = {
    {"insecureSkipVerify", "nothing is verified against caRef with insecureSkipVerify: set one",
     trust_or_none},
};
static const struct schema_field tls_fields[] = {
    {.name = "caRef", .type = SCHEMA_OBJECT, .offset = FIELD(backend_tls, ca_ref),
     .object = &ca_ref_schema},
    {.name = "serverName", .type = SCHEMA_STRING, .offset = FIELD(backend_tls, server_name),
     .min_len = 1, .max_len = 253, .pattern = PATTERN_DNS_SUBDOMAIN},
    {.name = "clientCertificateRef", .type = SCHEMA_OBJECT,
     .offset = FIELD(backend_tls, client_certificate_ref), .object = &certificate_ref_schema},
    {.name = "insecureSkipVerify", .type = SCHEMA_BOOL, .offset = FIELD(backend_tls, insecure),
     .fallback = "false"},
};
static const struct schema_object tls_schema =
    OBJECT_WITH_RULES(struct backend_tls, tls_fields, tls_rules);

// ---- health ----

static bool timeout_within_interval(const void *object)
{
    const struct backend_active_check *active = object;
    return active->timeout_ms <= active->interval_ms;
}

static bool path_is_asked_for(const void *object)
{
    const struct backend_active_check *active = object;
    return active->type == BACKEND_CHECK_HTTP || active->path.ptr == NULL;
}

static const struct schema_rule active_rules[] = {
    {"timeout", "must be at most interval", timeout_within_interval},
    {"path", "a check of type TCP asks for no path", path_is_asked_for},
};
static const struct schema_name check_type_names[] = {
    {"HTTP", BACKEND_CHECK_HTTP},
    {"TCP", BACKEND_CHECK_TCP},
    {NULL, 0},
};
static const struct schema_field active_fields[] = {
    {.name = "type", .type = SCHEMA_ENUM, .offset = FIELD(backend_active_check, type),
     .fallback = "\"HTTP\"", .names = check_type_names},
    {.name = "path", .type = SCHEMA_STRING, .offset = FIELD(backend_active_check, path),
     .min_len = 1, .max_len = 255, .pattern = "^/[!-~]*$"},
    {.name = "port", .type = SCHEMA_INT, .offset = FIELD(backend_active_check, port), .min = 1,
     .max = 65535},
    {.name = "scheme", .type = SCHEMA_ENUM, .offset = FIELD(backend_active_check, scheme),
     .names = scheme_names},
    {.name = "interval", .type = SCHEMA_DURATION,
     .offset = FIELD(backend_active_check, interval_ms), .fallback = "\"5s\"", .min = 100,
     .max = 600000, .min_len = 2, .max_len = 20, .pattern = PATTERN_DURATION},
    {.name = "timeout", .type = SCHEMA_DURATION, .offset = FIELD(backend_active_check, timeout_ms),
     .fallback = "\"2s\"", .min = 10, .max = 600000, .min_len = 2, .max_len = 20,
     .pattern = PATTERN_DURATION},
    {.name = "healthyThreshold", .type = SCHEMA_INT,
     .offset = FIELD(backend_active_check, healthy_threshold), .fallback = "2", .min = 1,
     .max = 100},
    {.name = "unhealthyThreshold", .type = SCHEMA_INT,
     .offset = FIELD(backend_active_check, unhealthy_threshold), .fallback = "3", .min = 1,
     .max = 100},
};
static const struct schema_object active_schema =
    OBJECT_WITH_RULES(struct backend_active_check, active_fields, active_rules);

static bool longest_after_first(const void *object)
{
    const struct backend_outlier *outlier = object;
    return outlier->max_eject_for_ms >= outlier->eject_for_ms &&
           outlier->max_eject_for_ms <= 86400000;
}

static const struct schema_rule outlier_rules[] = {
    {"maxEjectFor", "must be at least ejectFor and at most 24h", longest_after_first},
};
static const struct schema_field outlier_fields[] = {
    {.name = "consecutiveErrors", .type = SCHEMA_INT,
     .offset = FIELD(backend_outlier, consecutive_errors), .fallback = "5", .max = 1000},
    {.name = "ejectFor", .type = SCHEMA_DURATION, .offset = FIELD(backend_outlier, eject_for_ms),
     .fallback = "\"30s\"", .min = 100, .max = 3600000, .min_len = 2, .max_len = 20,
     .pattern = PATTERN_DURATION},
    {.name = "maxEjectFor", .type = SCHEMA_DURATION,
     .offset = FIELD(backend_outlier, max_eject_for_ms), .fallback = "\"5m\"", .min_len = 2,
     .max_len = 20, .pattern = PATTERN_DURATION},
    {.name = "maxEjectedPercent", .type = SCHEMA_INT,
     .offset = FIELD(backend_outlier, max_ejected_percent), .fallback = "50", .max = 100},
    {.name = "interval", .type = SCHEMA_DURATION, .offset = FIELD(backend_outlier, interval_ms),
     .fallback = "\"10s\"", .min = 100, .max = 600000, .min_len = 2, .max_len = 20,
     .pattern = PATTERN_DURATION},
    {.name = "minRequests", .type = SCHEMA_INT, .offset = FIELD(backend_outlier, min_requests),
     .fallback = "20", .min = 1, .max = 100000},
    {.name = "errorPercent", .type = SCHEMA_INT, .offset = FIELD(backend_outlier, error_percent),
     .fallback = "30", .max = 100},
    {.name = "slowFactor", .type = SCHEMA_INT, .offset = FIELD(backend_outlier, slow_factor),
     .fallback = "5", .max = 1000},
};
static const struct schema_object outlier_schema =
    OBJECT_WITH_RULES(struct backend_outlier, outlier_fields, outlier_rules);

static const struct schema_field health_fields[] = {
    {.name = "active", .type = SCHEMA_OBJECT, .offset = FIELD(backend_health, active),
     .object = &active_schema},
    {.name = "outlier", .type = SCHEMA_OBJECT, .offset = FIELD(backend_health, outlier),
     .fallback = "{}", .object = &outlier_schema},
};
static const struct schema_object health_schema = OBJECT_OF(struct backend_health, health_fields);

// ---- spec ----

static bool one_source(const void *object)
{
    const struct modelbackend_spec *spec = object;
    return (spec->pool != NULL) != (spec->static_list != NULL);
}

static bool mapping_is_generic(const void *object)
{
    const struct modelbackend_spec *spec = object;
    return spec->metrics->mapping == NULL || spec->engine == ENGINE_GENERIC;
}

// Checks speak HTTP/1, which a server of HTTP/2 in the clear does not know; over TLS it may agree.
static bool check_is_answered(const void *object)
{
    const struct modelbackend_spec *spec = object;
    const struct backend_active_check *active = spec->health->active;
    return active == NULL || active->port != 0 || active->type == BACKEND_CHECK_TCP ||
           spec->tls != NULL || spec->protocol != BACKEND_PROTOCOL_HTTP2;
}

static bool metrics_know_whom_to_trust(const void *object)
{
    const struct modelbackend_spec *spec = object;
    return spec->tls != NULL || spec->metrics->scheme != BACKEND_SCHEME_HTTPS;
}

static bool check_knows_whom_to_trust(const void *object)
{
    const struct modelbackend_spec *spec = object;
    const struct backend_active_check *active = spec->health->active;
    return spec->tls != NULL || active == NULL || active->scheme != BACKEND_SCHEME_HTTPS;
}

static const struct schema_rule spec_rules[] = {
    {"", "set exactly one of pool and static", one_source},
    {"metrics", "metrics.mapping is only for engine Generic, the other engines' metrics are known",
     mapping_is_generic},
    {"metrics", "metrics.scheme HTTPS goes with tls, which says whom to trust",
     metrics_know_whom_to_trust},
    {"health", "health.active.scheme HTTPS goes with tls, which says whom to trust",
     check_knows_whom_to_trust},
    {"health",
     "health checks speak HTTP/1: with protocol HTTP2 set health.active.port to one that does, or "
     "health.active.type to TCP",
     check_is_answered},
};
static const struct schema_field spec_fields[] = {
    {.name = "pool", .type = SCHEMA_OBJECT, .offset = FIELD(modelbackend_spec, pool),
     .object = &pool_schema},
    {.name = "static", .type = SCHEMA_OBJECT, .offset = FIELD(modelbackend_spec, static_list),
     .object = &static_schema},
    {.name = "engine", .type = SCHEMA_ENUM, .offset = FIELD(modelbackend_spec, engine),
     .fallback = "\"Auto\"", .names = engine_names},
    {.name = "protocol", .type = SCHEMA_ENUM, .offset = FIELD(modelbackend_spec, protocol),
     .fallback = "\"Auto\"", .names = protocol_names},
    {.name = "tls", .type = SCHEMA_OBJECT, .offset = FIELD(modelbackend_spec, tls),
     .object = &tls_schema},
    {.name = "metrics", .type = SCHEMA_OBJECT, .offset = FIELD(modelbackend_spec, metrics),
     .fallback = "{}", .object = &metrics_schema},
    {.name = "models", .type = SCHEMA_LIST, .offset = FIELD(modelbackend_spec, models),
     .max_len = 64, .item = &model_item, .item_size = sizeof(struct backend_model),
     .list_type = SCHEMA_MAP, .keys = {"name"}},
    {.name = "balancing", .type = SCHEMA_OBJECT, .offset = FIELD(modelbackend_spec, balancing),
     .fallback = "{}", .object = &balancing_schema},
    {.name = "timeouts", .type = SCHEMA_OBJECT, .offset = FIELD(modelbackend_spec, timeouts),
     .fallback = "{}", .object = &timeouts_schema},
    {.name = "health", .type = SCHEMA_OBJECT, .offset = FIELD(modelbackend_spec, health),
     .fallback = "{}", .object = &health_schema},
};
const struct schema_object modelbackend_spec_schema =
    OBJECT_WITH_RULES(struct modelbackend_spec, spec_fields, spec_rules);
