#include "http/h2_session.h"

#include <errno.h>

enum {
    DEFLATE_TABLE = 4096, // of header compression, however much the peer would hold
    ACKS_MAX = 1000,      // of PING and SETTINGS, that wait to be sent
};

static int make(const struct h2_session_config *config, nghttp2_session_callbacks *callbacks,
                nghttp2_session **ret_session)
{
    nghttp2_option *option;
    if (nghttp2_option_new(&option) != 0) {
        return -ENOMEM;
    }
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_max_deflate_dynamic_table_size(option, DEFLATE_TABLE);
    nghttp2_option_set_max_outbound_ack(option, ACKS_MAX);
    if (config->streams_at_first != 0) {
        nghttp2_option_set_peer_max_concurrent_streams(option, config->streams_at_first);
    }
    nghttp2_mem memory = h2_memory(config->memory);
    int rc = (config->is_server ? nghttp2_session_server_new3 : nghttp2_session_client_new3)(
        ret_session, callbacks, config->arg, option, &memory);
    nghttp2_option_del(option);
    return rc;
}

int h2_session_new(const struct h2_session_config *config, nghttp2_session **ret_session)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_session *session = NULL;
    if (nghttp2_session_callbacks_new(&callbacks) != 0) {
        return -ENOMEM;
    }
    config->set_callbacks(callbacks);
    int rc = make(config, callbacks, &session);
    nghttp2_session_callbacks_del(callbacks);
    if (rc == 0) {
        rc = nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, config->settings,
                                     config->setting_count);
    }
    if (rc == 0) {
        rc = nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, config->window);
    }
    if (rc != 0) {
        nghttp2_session_del(session);
        return -ENOMEM;
    }
    *ret_session = session;
    return 0;
}
