// AIRoute.spec as C. Field by field what crds/headrace.dev_airoutes.yaml describes.
#pragma once

#include "model/airoute_filters.h"
#include "model/ca_ref.h"

enum match_type { MATCH_EXACT = 0, MATCH_PREFIX, MATCH_REGEX };

enum route_method {
    ROUTE_METHOD_ANY = 0,
    ROUTE_METHOD_GET,
    ROUTE_METHOD_HEAD,
    ROUTE_METHOD_POST,
    ROUTE_METHOD_PUT,
    ROUTE_METHOD_PATCH,
    ROUTE_METHOD_DELETE,
    ROUTE_METHOD_OPTIONS,
};

enum retry_when {
    RETRY_CONNECT_FAILURE = 0,
    RETRY_RESET,
    RETRY_OVERLOADED,
    RETRY_SERVER_ERROR,
    RETRY_TIMEOUT,
};

struct airoute_model_match {
    int type; // enum match_type
    struct slice value;
};

struct airoute_path_match {
    int type; // MATCH_EXACT or MATCH_PREFIX
    struct slice value;
};

struct airoute_header_match {
    int type; // MATCH_EXACT or MATCH_REGEX
    struct slice name;
    struct slice value;
};

struct airoute_match {
    SCHEMA_LIST(struct airoute_model_match) models;
    struct airoute_path_match *path; // NULL = any
    int method;                      // enum route_method
    SCHEMA_LIST(struct airoute_header_match) headers;
};

struct airoute_backend {
    struct slice name;
    int64_t weight; // of a fallback: 0
    struct slice model;
};

struct airoute_timeouts {
    int64_t request_ms;     // 0 = none
    int64_t first_token_ms; // 0 = none
};

struct airoute_retry {
    int64_t attempts;
    SCHEMA_LIST(int) when; // enum retry_when
    int64_t per_try_ms;    // 0 = none
    struct airoute_retry_budget *budget; // never NULL
};

struct airoute_hedge {
    int64_t delay_ms;
};

struct airoute_rule {
    struct slice name;
    SCHEMA_LIST(struct airoute_match) matches; // none = everything
    // Exactly one of these:
    SCHEMA_LIST(struct airoute_backend) backends;
    struct airoute_redirect *redirect;
    struct airoute_fixed_response *fixed_response;
    // With backends only; each may be NULL.
    SCHEMA_LIST(struct airoute_backend) fallbacks;
    struct airoute_path_change *path_rewrite;
    struct airoute_header_edit *request_headers;
    struct airoute_affinity *session_affinity;
    struct airoute_mirror *mirror;
    struct airoute_timeouts *timeouts;
    struct airoute_hedge *hedge;
    struct airoute_retry *retry; // never NULL
    // With anything; each may be NULL.
    struct airoute_header_edit *response_headers;
    struct airoute_cors *cors;
};

enum route_client_auth { ROUTE_CLIENT_AUTH_OPTIONAL = 0, ROUTE_CLIENT_AUTH_REQUIRED };

struct airoute_client_auth {
    int mode;              // enum route_client_auth
    struct ca_ref *ca_ref; // never NULL
    bool forward;          // servers are told who the client is
};

struct airoute_tls {
    struct slice secret_name;
    SCHEMA_LIST(struct slice) hosts;         // none = the route's hostnames
    struct airoute_client_auth *client_auth; // NULL: no certificate is asked for
};

struct airoute_hsts {
    int64_t max_age_ms;
    bool include_subdomains;
    bool preload;
};

struct airoute_spec {
    struct slice ingress_class;
    SCHEMA_LIST(struct slice) hostnames; // none = any host
    SCHEMA_LIST(struct airoute_tls) tls;
    bool https_redirect;
    int64_t https_port;        // 0: 443, which a URL leaves out
    struct airoute_hsts *hsts; // NULL = none
    SCHEMA_LIST(struct airoute_rule) rules;
};

extern const struct schema_object airoute_spec_schema;

const char *route_method_text(int method); // "" for any
