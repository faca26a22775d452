// Cross-origin resource sharing (the Fetch standard, "CORS protocol"): what browsers are told about
// who may read the answers. Pure; a policy is compiled once and read by workers.
#pragma once

#include "http/message.h"

// The text before and behind the '*' of a wildcard; the whole origin when there is none.
struct cors_origin {
    struct slice head;
    struct slice tail;
    bool is_wildcard; // any labels in between, at least one
};

struct cors_policy {
    const struct cors_origin *origins;
    size_t origin_count;
    bool any_origin;      // "*"; never together with credentials
    bool any_method;      // what is asked for is allowed: browsers take "*" at its word when
    bool any_header;      // credentials are sent, and never for Authorization
    bool credentials;
    struct slice methods; // "GET, POST"
    struct slice headers; // "authorization, content-type"; empty = none
    struct slice expose;  // empty = none
    struct slice max_age; // seconds, as digits
};

enum { CORS_FIELDS_MAX = 7 };

// Header fields for an answer; names are literals, values point into the policy or the request.
struct cors_fields {
    struct http_header items[CORS_FIELDS_MAX];
    size_t count;
};

// "https://*.example.com" in two; `text` must live as long as the result.
struct cors_origin cors_origin_parse(struct slice text);

// The value of an Origin field is one that may read. The empty one and "null" never are, unless any
// may.
bool cors_allows(const struct cors_policy *policy, struct slice origin);

// The fields for an answer to a request with this Origin (ptr NULL: it had none).
void cors_answer(const struct cors_policy *policy, struct slice origin, struct cors_fields *ret);

// A request that asks whether another may be made.
struct cors_question {
    struct slice origin;
    struct slice method;  // Access-Control-Request-Method
    struct slice headers; // Access-Control-Request-Headers; ptr NULL = none
};

// Reads it from a request of method OPTIONS. False: it is none.
bool cors_question_read(const struct http_header *headers, size_t count,
                        struct cors_question *ret);

// The fields for the answer to a question: nothing but Vary when the origin is not allowed.
void cors_preflight(const struct cors_policy *policy, const struct cors_question *question,
                    struct cors_fields *ret);

// A field that is the business of a policy, so that a server's own does not pass beside it.
bool cors_owns(struct slice name);
