// Request targets and authorities (RFC 9112 section 3.2, RFC 3986).
#pragma once

#include "base/macros.h"
#include "http/message.h"
#include "http/reject.h"

// A target that was checked but not yet changed.
struct h1_target {
    char *path; // NULL: none in the target ("*", or an absolute form without a path)
    size_t path_len;
    struct slice query;     // ptr NULL when there is none
    struct slice authority; // of the absolute form; ptr NULL otherwise
    bool is_https;          // absolute form only
    bool is_asterisk;
    bool needs_normalising;
};

// Checks a target; `method` because "*" is for OPTIONS only. HTTP_REJECT_NONE or the reason.
MUST_CHECK enum http_reject h1_target_parse(char *target, size_t len, enum http_method method,
                                            struct h1_target *ret_target);

// Normalises the path of a checked target in place and returns it; it never grows, and ends where
// it ended before, so that a query still follows it.
struct slice h1_target_normalise(const struct h1_target *target);

struct h1_authority {
    struct slice host; // without brackets and without a dot at the end
    uint32_t port;     // 0 = none given
};

// host [":" port]; no user information, no percent-encoding. False when malformed or empty.
MUST_CHECK bool h1_authority_parse(struct slice text, struct h1_authority *ret_authority);
