// Memory of nghttp2's sessions: by way of our own calls, so that tests can make those fail, and
// with a limit for each session. What it holds is mostly its peer's doing: frames that wait to be
// sent, tables of header compression, streams.
#pragma once

#include <stddef.h>

#include <nghttp2/nghttp2.h>

struct h2_memory {
    size_t used; // bytes
    size_t max;
};

// For nghttp2_session_client_new3 and its kin, which copy it; memory lives as long as the session.
// Beyond its maximum the session is told that there is none (NGHTTP2_ERR_NOMEM).
nghttp2_mem h2_memory(struct h2_memory *memory);
