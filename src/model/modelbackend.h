// ModelBackend.spec as C. Field by field what crds/headrace.dev_modelbackends.yaml describes.
#pragma once

#include "base/engine.h"
#include "model/ca_ref.h"
#include "model/schema.h"

enum backend_policy {
    BACKEND_POLICY_INFERENCE_AWARE = 0,
    BACKEND_POLICY_LEAST_REQUEST,
    BACKEND_POLICY_ROUND_ROBIN,
    BACKEND_POLICY_RANDOM,
};

struct backend_service_ref {
    struct slice name;
    struct int_or_string port;
};

struct backend_selector {
    SCHEMA_LIST(struct string_pair) match_labels;
};

struct backend_pool {
    struct backend_service_ref *service_ref; // exactly one of these two
    struct backend_selector *selector;
    int64_t port; // with selector
};

struct backend_static_endpoint {
    struct slice address;
    int64_t port;
    int64_t weight;
};

struct backend_static {
    SCHEMA_LIST(struct backend_static_endpoint) endpoints;
};

struct backend_metrics_mapping {
    struct slice waiting; // ptr NULL: none
    struct slice running;
    struct slice kv_utilization;
};

// As probes of Kubernetes name it.
enum backend_scheme { BACKEND_SCHEME_UNSET = 0, BACKEND_SCHEME_HTTP, BACKEND_SCHEME_HTTPS };

struct backend_metrics {
    struct slice path; // ptr NULL: the engine's own
    int scheme;        // enum backend_scheme
    int64_t port;      // 0: the endpoint's own
    int64_t interval_ms;
    int64_t stale_after_ms;
    struct backend_metrics_mapping *mapping; // NULL: none
};

struct backend_model {
    struct slice name;
    struct slice upstream_name; // ptr NULL: the same
    SCHEMA_LIST(struct slice) aliases;
};

struct backend_balancing {
    int policy; // enum backend_policy
    int64_t slow_start_ms;   // 0: none
    int64_t panic_threshold; // percent
};

struct backend_timeouts {
    int64_t connect_ms;
    int64_t first_token_ms;
    int64_t between_tokens_ms;
    int64_t between_tokens_when_leaving_ms;
};

enum backend_check_type { BACKEND_CHECK_HTTP = 0, BACKEND_CHECK_TCP };

struct backend_active_check {
    int type;          // enum backend_check_type
    struct slice path; // ptr NULL: the engine's own
    int scheme;        // enum backend_scheme
    int64_t port;      // 0: the endpoint's own
    int64_t interval_ms;
    int64_t timeout_ms;
    int64_t healthy_threshold;
    int64_t unhealthy_threshold;
};

struct backend_outlier {
    int64_t consecutive_errors; // 0: not judged by this; so with those below
    int64_t eject_for_ms;
    int64_t max_eject_for_ms;
    int64_t max_ejected_percent;
    int64_t interval_ms;
    int64_t min_requests;
    int64_t error_percent;
    int64_t slow_factor;
};

struct backend_health {
    struct backend_active_check *active; // NULL: none
    struct backend_outlier *outlier;     // never NULL
};

enum backend_protocol {
    BACKEND_PROTOCOL_AUTO = 0,
    BACKEND_PROTOCOL_HTTP1,
    BACKEND_PROTOCOL_HTTP2,
};

struct backend_certificate_ref {
    struct slice name; // of a Secret
};

struct backend_tls {
    struct ca_ref *ca_ref;    // NULL: the system's authorities
    struct slice server_name; // ptr NULL: see compile/tls.h
    struct backend_certificate_ref *client_certificate_ref; // NULL: none
    bool insecure;
};

struct modelbackend_spec {
    struct backend_pool *pool;          // exactly one of these two
    struct backend_static *static_list; // "static"
    int engine;                         // enum engine
    int protocol;                        // enum backend_protocol
    struct backend_tls *tls;             // NULL: in the clear
    struct backend_metrics *metrics;     // never NULL
    SCHEMA_LIST(struct backend_model) models;
    struct backend_balancing *balancing; // never NULL
    struct backend_timeouts *timeouts;   // never NULL
    struct backend_health *health;       // never NULL
};

extern const struct schema_object modelbackend_spec_schema;
