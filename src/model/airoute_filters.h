// What a rule of an AIRoute does with a request besides choosing a backend, as C.
#pragma once

#include "model/schema.h"

struct airoute_header {
    struct slice name; // in any case
    struct slice value;
};

struct airoute_header_edit {
    SCHEMA_LIST(struct airoute_header) set;
    SCHEMA_LIST(struct airoute_header) add;
    SCHEMA_LIST(struct slice) remove;
};

enum airoute_path_change_type { PATH_REPLACE_FULL = 0, PATH_REPLACE_PREFIX };

struct airoute_path_change {
    int type; // enum airoute_path_change_type
    struct slice value;
};

enum airoute_scheme { REDIRECT_SCHEME_AS_ASKED = 0, REDIRECT_SCHEME_HTTP, REDIRECT_SCHEME_HTTPS };

struct airoute_redirect {
    int scheme; // enum airoute_scheme
    struct slice hostname;
    int64_t port;                     // 0 = none
    struct airoute_path_change *path; // may be NULL
    int64_t status_code;
};

struct airoute_fixed_response {
    int64_t status;
    struct slice content_type;
    struct slice body;
};

struct airoute_cors {
    SCHEMA_LIST(struct slice) allow_origins;
    SCHEMA_LIST(struct slice) allow_methods;
    SCHEMA_LIST(struct slice) allow_headers;
    SCHEMA_LIST(struct slice) expose_headers;
    bool allow_credentials;
    int64_t max_age_ms;
};

enum airoute_same_site { SAME_SITE_LAX = 0, SAME_SITE_STRICT, SAME_SITE_NONE };

struct airoute_affinity_cookie {
    struct slice name;
    int64_t ttl_ms; // 0 = until the browser is closed
    struct slice path;
    int same_site; // enum airoute_same_site
};

struct airoute_affinity { // exactly one of
    struct slice header;
    struct airoute_affinity_cookie *cookie;
};

struct airoute_mirror {
    struct slice name;
    int64_t percent;
    struct slice model;
};

struct airoute_retry_budget {
    int64_t percent;
    int64_t min_concurrency;
};

extern const struct schema_object airoute_header_edit_schema;
extern const struct schema_object airoute_path_change_schema;
extern const struct schema_object airoute_redirect_schema;
extern const struct schema_object airoute_fixed_response_schema;
extern const struct schema_object airoute_cors_schema;
extern const struct schema_object airoute_affinity_schema;
extern const struct schema_object airoute_mirror_schema;
extern const struct schema_object airoute_retry_budget_schema;

// Without empty, '.' and '..' segments, as the paths that the proxy compares.
bool airoute_path_is_normal(struct slice path);
#define AIROUTE_PATH_IS_NORMAL_MESSAGE "must be without empty, '.' and '..' segments"
