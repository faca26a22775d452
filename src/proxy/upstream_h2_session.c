#include "proxy/upstream_h2_session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/h2_session.h"
#include "http/trailers.h"
#include "proxy/attempt.h"
#include "proxy/body.h"
#include "proxy/relay.h"
#include "proxy/worker.h"

enum {
    STREAM_WINDOW = 256 * 1024,
    CONNECTION_WINDOW = 4 * 1024 * 1024,
    MEMORY_BASE = 256 * 1024,
    FIELDS_MAX = 256,
    PIECES_MAX = 8,
    INTERIMS_MAX = 1000, // as with HTTP/1
};

void h2_exchange_forget(struct h2_exchange *ex)
{
    struct h2_client *client = ex->client;
    list_remove(&ex->node);
    client->exchange_count--;
    client->idle_since_ms = worker_now_ms(client->worker);
    if (ex->id >= 0 && client->session != NULL) {
        nghttp2_session_set_stream_user_data(client->session, ex->id, NULL);
    }
    free(ex);
}

void h2_client_must(struct h2_client *client, int rc)
{
    if (rc == NGHTTP2_ERR_NOMEM && client->doomed == FAULT_NONE) {
        client->doomed = FAULT_INTERNAL;
    }
}

// ---- sending ------------------------------------------------------------------------------------

// The trailers of the request, which end the stream behind its payload: > 0; 0: it has none.
static int submit_trailers(nghttp2_session *session, int32_t id, const struct request *request)
{
    nghttp2_nv fields[FIELDS_MAX];
    struct slice lines = slice_skip(request->body_last, sizeof("\r\n0\r\n") - 1);
    size_t count = lines.len != 0 ? h2_fields_of_trailers((char *)(uintptr_t)lines.ptr, lines.len,
                                                          fields, FIELDS_MAX)
                                  : 0;
    int rc = count != 0 ? nghttp2_submit_trailer(session, id, fields, count) : 0;
    return rc == 0 ? count != 0 : rc;
}

static ssize_t on_read_data(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length,
                            uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    (void)source;
    (void)arg;
    struct h2_exchange *ex = nghttp2_session_get_stream_user_data(session, id);
    if (ex == NULL) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; // given up: resets the stream
    }
    struct request *request = ex->exchange.request;
    if (request->head.upgrade.ptr != NULL) {
        ex->deferred = true; // nothing is said in a tunnel that the server has not agreed to
        return NGHTTP2_ERR_DEFERRED;
    }
    struct iovec iov[PIECES_MAX];
    int count = attempt_pieces(request, request->up_sent, iov, PIECES_MAX);
    size_t n = 0;
    for (int i = 0; i < count && n < length; i++) {
        size_t take = MIN_OF(iov[i].iov_len, length - n);
        memcpy(buf + n, iov[i].iov_base, take);
        n += take;
    }
    if (n != 0) {
        attempt_sent(request, n);
    }
    // Without `input` the whole message had been handed over when the answer began.
    if (attempt_all_sent(request) || (request->input == NULL && !request->tunnel)) {
        int rc = submit_trailers(session, id, request);
        if (rc < 0) {
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; // without them it is not whole
        }
        *flags |= NGHTTP2_DATA_FLAG_EOF | (rc > 0 ? NGHTTP2_DATA_FLAG_NO_END_STREAM : 0U);
        ex->sent_end = true;
        return (ssize_t)n;
    }
    ex->deferred = n == 0;
    return n != 0 ? (ssize_t)n : NGHTTP2_ERR_DEFERRED;
}

int h2_exchange_submit(struct h2_exchange *ex)
{
    struct request *request = ex->exchange.request;
    struct h2_client *client = ex->client;
    nghttp2_nv fields[FIELDS_MAX];
    // As it is registered: not every server takes it in the capitals of RFC 6455's examples.
    struct slice protocol = request->head.upgrade.ptr != NULL ? SLICE("websocket") : SLICE_NULL;
    size_t count = h2_fields_of_request(request->up_head.ptr, request->up_head.len,
                                        client->pin.tls ? SLICE("https") : SLICE("http"), protocol,
                                        fields, FIELDS_MAX);
    nghttp2_data_provider provider = {.read_callback = on_read_data};
    bool empty = request->body_complete && body_upstream_length(request) == 0 &&
                 request->head.upgrade.ptr == NULL;
    if (count == 0) {
        return -EPROTO;
    }
    ex->id = nghttp2_submit_request(client->session, NULL, fields, count,
                                    empty ? NULL : &provider, ex);
    if (ex->id < 0) {
        client->leaving = true; // its stream ids are used up
        return -EPROTO;
    }
    ex->sent_end = empty;
    client->served++;
    attempt_sent(request, request->up_head.len);
    return 0;
}

bool h2_client_takes_tunnels(const struct h2_client *client)
{
    return client->settled &&
           nghttp2_session_get_remote_settings(client->session,
                                               NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1;
}

static struct h2_exchange *next_unsubmitted(const struct h2_client *client)
{
    list_for_each(&client->exchanges, node) {
        struct h2_exchange *ex = container_of(node, struct h2_exchange, node);
        if (ex->id < 0 &&
            (client->settled || ex->exchange.request->head.upgrade.ptr == NULL)) {
            return ex;
        }
    }
    return NULL;
}

// What one leads to may come to others: each is looked for anew.
void h2_client_submit_all(struct h2_client *client)
{
    struct h2_exchange *ex;
    while ((ex = next_unsubmitted(client)) != NULL) {
        struct request *request = ex->exchange.request;
        if (request->head.upgrade.ptr != NULL && !h2_client_takes_tunnels(client)) {
            request->up = NULL;
            h2_exchange_forget(ex);
            relay_on_connect_failed(request, EPROTONOSUPPORT);
            continue;
        }
        relay_on_connected(request);
        if (h2_exchange_submit(ex) != 0) {
            request->up = NULL;
            h2_exchange_forget(ex);
            relay_on_broken(request, FAULT_INTERNAL);
        }
    }
}

// ---- receiving ----------------------------------------------------------------------------------

// This exchange cannot go on; the connection can.
static void exchange_broken(struct h2_exchange *ex, enum fault fault, bool untouched)
{
    struct request *request = ex->exchange.request;
    request->up = NULL;
    if (ex->id >= 0 && !untouched) {
        h2_client_must(ex->client,
                       nghttp2_submit_rst_stream(ex->client->session, NGHTTP2_FLAG_NONE, ex->id,
                                                 NGHTTP2_PROTOCOL_ERROR));
    }
    h2_exchange_forget(ex);
    if (!untouched || !attempt_stale_connection(request)) {
        relay_on_broken(request, fault);
    }
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *arg)
{
    (void)arg;
    if (hd->type == NGHTTP2_DATA) {
        struct h2_exchange *ex = nghttp2_session_get_stream_user_data(session, hd->stream_id);
        if (ex != NULL) {
            ex->frame_left = hd->length;
        }
    }
    return 0;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct h2_client *client = arg;
    const struct h2_exchange *ex =
        nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    h2_head_reset(&client->head, ex != NULL && ex->head_done ? H2_TRAILERS : H2_RESPONSE);
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *arg)
{
    (void)session;
    (void)frame;
    (void)flags;
    struct h2_client *client = arg;
    h2_head_add(&client->head, slice_of((const char *)name, name_len),
                slice_of((const char *)value, value_len));
    return 0;
}

// The answer is complete. Returns as relay_on_data does.
static void end_answer(struct h2_exchange *ex)
{
    bool alive = relay_on_data(ex->exchange.request, worker_receive_buffer(ex->client->worker), 0,
                               true);
    BUG_ON(alive);
}

static void take_head(struct h2_client *client, struct h2_exchange *ex, bool end)
{
    struct worker *worker = client->worker;
    struct request *request = ex->exchange.request;
    struct http_response response;
    enum http_reject reject = h2_head_response(&client->head, end, request->head.method,
                                               worker->headers, &response);
    ex->got_bytes = true;
    if (reject != HTTP_REJECT_NONE) {
        exchange_broken(ex, client->head.no_memory ? FAULT_INTERNAL : FAULT_UPSTREAM_PROTOCOL,
                        false);
        return;
    }
    if (response.status < 200) {
        if (end || ++ex->interims > INTERIMS_MAX) {
            exchange_broken(ex, FAULT_UPSTREAM_PROTOCOL, false);
        } else {
            bool alive = relay_on_interim(request, &response);
            (void)alive; // nothing follows here either way
        }
        return;
    }
    if (request->head.upgrade.ptr != NULL && response.status < 300) {
        response.status = 101; // the tunnel is open
        response.framing = HTTP_FRAMING_NONE;
    }
    ex->head_done = true;
    ex->length_left = response.framing == HTTP_FRAMING_LENGTH ? response.content_length : 0;
    if (!relay_on_head(request, &response)) {
        return;
    }
    if (end) {
        end_answer(ex);
        return;
    }
    bool alive = relay_head_alone(request);
    (void)alive; // nothing follows here either way
}

static void take_trailers(struct h2_client *client, struct h2_exchange *ex, bool end)
{
    struct worker *worker = client->worker;
    ptrdiff_t count = trailers_parse(strbuf_slice(&client->head.text), worker->headers,
                                     worker->config->limits.max_headers);
    bool tunnel = ex->exchange.request->tunnel; // has no trailers (RFC 9113 section 8.5)
    if (!end || tunnel || client->head.reject != HTTP_REJECT_NONE || count < 0) {
        exchange_broken(ex, FAULT_UPSTREAM_PROTOCOL, false);
        return;
    }
    relay_set_trailers(ex->exchange.request, worker->headers, (size_t)count);
    end_answer(ex);
}

// What is queued beyond what the server takes would wait for generations to end: it goes to other
// connections. A server that takes none at all means to take some later.
static void make_room(struct h2_client *client)
{
    nghttp2_session *session = client->session;
    uint32_t allowed =
        nghttp2_session_get_remote_settings(session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    while (allowed != 0 && client->exchange_count > allowed) {
        struct h2_exchange *ex = list_last(&client->exchanges, struct h2_exchange, node);
        struct request *request = ex->exchange.request;
        if (ex->id < 0 || nghttp2_session_find_stream(session, ex->id) != NULL) {
            break; // on its way; it and all before it stay
        }
        h2_client_must(client, nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, ex->id,
                                                         NGHTTP2_CANCEL));
        h2_exchange_forget(ex);
        request->up = NULL;
        attempt_move(request);
    }
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct h2_client *client = arg;
    bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (frame->hd.type == NGHTTP2_GOAWAY) {
        client->leaving = true;
        return 0;
    }
    if (frame->hd.type == NGHTTP2_SETTINGS && (frame->hd.flags & NGHTTP2_FLAG_ACK) == 0) {
        client->settled = true;
        h2_client_submit_all(client);
        make_room(client);
        return 0;
    }
    struct h2_exchange *ex =
        frame->hd.stream_id != 0
            ? nghttp2_session_get_stream_user_data(session, frame->hd.stream_id)
            : NULL;
    if (ex == NULL) {
        return 0;
    }
    if (frame->hd.type == NGHTTP2_HEADERS) {
        if (!ex->head_done) {
            take_head(client, ex, end);
        } else {
            take_trailers(client, ex, end);
        }
        h2_head_release(&client->head);
    } else if (frame->hd.type == NGHTTP2_DATA && end) {
        end_answer(ex);
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t len, void *arg)
{
    (void)arg;
    struct h2_exchange *ex = nghttp2_session_get_stream_user_data(session, id);
    // The connection's window is shared: one client that does not read must not stop the others.
    int rc = nghttp2_session_consume_connection(session, len);
    if (rc != 0 || ex == NULL) {
        return rc != 0 ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
    }
    ex->frame_left -= MIN_OF(len, ex->frame_left);
    ex->length_left -= MIN_OF(len, ex->length_left);
    // An answer that is shorter than it said is left to nghttp2, which comes to it behind its data.
    bool end = (flags & NGHTTP2_FLAG_END_STREAM) != 0 && ex->frame_left == 0 &&
               ex->length_left == 0;
    if (!ex->head_done) {
        return 0; // nghttp2 does not let that happen
    }
    ex->unconsumed += len;
    if (!relay_on_data(ex->exchange.request, (char *)(uintptr_t)data, len, end)) {
        return 0; // it is another's business now, or over
    }
    if (!ex->exchange.paused) {
        rc = nghttp2_session_consume_stream(session, id, ex->unconsumed);
        ex->unconsumed = 0;
    }
    return rc != 0 ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *arg)
{
    (void)arg;
    struct h2_exchange *ex = nghttp2_session_get_stream_user_data(session, id);
    if (ex != NULL) {
        // A refused stream was not looked at (RFC 9113 section 8.7).
        bool untouched = error == NGHTTP2_REFUSED_STREAM && !ex->got_bytes;
        exchange_broken(ex, error == NGHTTP2_PROTOCOL_ERROR ? FAULT_UPSTREAM_PROTOCOL
                                                            : FAULT_UPSTREAM_RESET,
                        untouched);
    }
    return 0;
}

static void set_callbacks(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
}

int h2_client_set_up(struct h2_client *client)
{
    const struct proxy_config *config = client->worker->config;
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)config->limits.max_head_bytes},
    };
    // Each exchange may have a head waiting, to which we have added.
    client->memory.max = MEMORY_BASE + (size_t)config->http2_upstream_streams * WORKER_HEAD_MAX;
    const struct h2_session_config session = {
        .set_callbacks = set_callbacks,
        .arg = client,
        .memory = &client->memory,
        .settings = settings,
        .setting_count = ARRAY_LEN(settings),
        .window = CONNECTION_WINDOW,
        // The others wait for its SETTINGS: what comes before them it might have to refuse.
        .streams_at_first = 1,
    };
    return h2_session_new(&session, &client->session);
}
