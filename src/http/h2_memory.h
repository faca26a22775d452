// Memory of nghttp2's sessions: by way of our own calls, so that tests can make those fail.
#pragma once

#include <nghttp2/nghttp2.h>

// For nghttp2_session_client_new3 and its kin, which copy it.
nghttp2_mem h2_memory(void);
