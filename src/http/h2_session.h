// How a session of nghttp2 is made, for either side of a connection.
#pragma once

#include <stdbool.h>

#include "base/macros.h"
#include "http/h2_memory.h"

struct h2_session_config {
    bool is_server;
    void (*set_callbacks)(nghttp2_session_callbacks *callbacks);
    void *arg;                // of the callbacks
    struct h2_memory *memory; // its limit is set
    const nghttp2_settings_entry *settings;
    size_t setting_count;
    int32_t window;             // of the connection, for what comes
    uint32_t streams_at_first;  // of ours, until the peer says how many; 0: as the library has it
};

// Makes a session without automatic windows, and puts our SETTINGS in its queue. 0 or -ENOMEM.
MUST_CHECK int h2_session_new(const struct h2_session_config *config,
                              nghttp2_session **ret_session);
