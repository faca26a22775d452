// What a rule does with a request besides choosing an endpoint, as the proxy reads it. Part of the
// snapshot: constant once published.
#pragma once

#include "endpoint/affinity.h"
#include "http/cors.h"
#include "http/header_edit.h"
#include "http/redirect.h"

// An answer that is given without a backend.
struct snap_answer {
    const struct redirect *redirect; // NULL: a fixed one
    unsigned status;                 // of either
    struct slice content_type;       // fixed only; empty = none
    struct slice body;
};

struct snap_affinity {
    struct slice header;      // the request's field that tells sessions apart; empty: by cookie
    struct slice cookie_name;
    struct slice cookie_attributes; // "; Path=/; HttpOnly; SameSite=Lax"
    bool cookie_secure;             // only over TLS, whatever this request came over
    struct siphash_key key;         // of the tags in the cookie
};
