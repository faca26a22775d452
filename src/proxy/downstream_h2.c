#include "proxy/downstream_h2.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/h2_session.h"
#include "http/trailers.h"
#include "observe/metrics.h"
#include "proxy/body.h"
#include "proxy/downstream_h2_stream.h"
#include "proxy/linger.h"
#include "proxy/request.h"
#include "proxy/warn.h"
#include "proxy/worker.h"

enum {
    READS_A_TURN = 16,
    CONNECTION_WINDOW = 1024 * 1024,
    SWEEP_MS = 1000,
    LAST_FRAMES_MS = 1000, // for a GOAWAY to be read before the connection closes
};

// ---- life ---------------------------------------------------------------------------------------

// Ends what runs on the connection; the connection itself stays.
static void server_end(struct h2_server *server, enum fault fault)
{
    struct downstream *down = server->down;
    while (!list_empty(&server->streams)) {
        struct h2_stream *st = list_first(&server->streams, struct h2_stream, node);
        if (st->stream.request != NULL) {
            request_abort(st->stream.request, fault); // closes the stream
        } else {
            h2_stream_free(st);
        }
    }
    nghttp2_session_del(server->session);
    h2_head_fini(&server->head);
    free(server);
    down->h2 = NULL;
}

static void server_close(struct h2_server *server, enum fault fault)
{
    struct downstream *down = server->down;
    server_end(server, fault);
    downstream_close(down);
}

// Everything was said. The client may still be sending: that it opens windows, for one.
static void server_finish(struct h2_server *server)
{
    struct downstream *down = server->down;
    bool unwelcome = down->hung_up || server->flooded; // a flood is not read any further
    server_end(server, FAULT_CLIENT_ABORT);
    if (unwelcome) {
        downstream_close(down);
    } else {
        linger_start(down);
    }
}

static void flush(struct h2_server *server)
{
    struct downstream *down = server->down;
    int rc = 1;
    while (rc > 0 && down->out.len == 0) {
        rc = h2_stream_send_batch(server);
    }
    if (rc < 0 || server->failed) {
        bool ours = rc == -ENOMEM || server->failed;
        server_close(server, ours ? FAULT_INTERNAL : FAULT_CLIENT_ABORT);
        return;
    }
    (void)downstream_charge(down);
    bool over = !nghttp2_session_want_read(server->session) &&
                !nghttp2_session_want_write(server->session);
    if ((over || (server->leaving && server->stream_count == 0)) && down->out.len == 0) {
        server_finish(server);
        return;
    }
    h2_stream_wake(server);
}

static void server_read(struct h2_server *server);

static void on_task(struct task *task, void *arg)
{
    (void)task;
    struct downstream *down = arg;
    if (down->readable) {
        server_read(down->h2); // sends, too
        return;
    }
    flush(down->h2);
}

void h2_server_schedule(struct h2_server *server)
{
    if (!server->receiving) {
        loop_task_set(server->down->stream.worker->loop, &server->down->resume, on_task,
                      server->down);
    }
}

// ---- receiving ----------------------------------------------------------------------------------

// Of the frames that make up messages, those that nghttp2 lets in.
static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *arg)
{
    (void)session;
    if (hd->type == NGHTTP2_DATA && h2_calm_is_message(hd->type, hd->flags, hd->length)) {
        h2_calm_taken(arg);
    }
    return 0;
}

uint64_t downstream_h2_holds(const struct h2_server *server)
{
    size_t used = server->memory.used;
    return server->held + (used > H2_SESSION_BASE ? used - H2_SESSION_BASE : 0);
}

static struct h2_stream *find_stream(struct h2_server *server, int32_t id)
{
    return nghttp2_session_get_stream_user_data(server->session, id);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct h2_server *server = arg;
    bool request = frame->headers.cat == NGHTTP2_HCAT_REQUEST;
    h2_calm_taken(server);
    server->head_since_ms = worker_now_ms(server->down->stream.worker);
    h2_head_reset(&server->head, request ? H2_REQUEST : H2_TRAILERS);
    if (!request) {
        return 0;
    }
    struct h2_stream *st = server->flooded ? NULL : h2_stream_new(server, frame->hd.stream_id);
    if (st == NULL) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; // resets the stream
    }
    nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, st);
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *arg)
{
    (void)session;
    (void)frame;
    (void)flags;
    struct h2_server *server = arg;
    h2_head_add(&server->head, slice_of((const char *)name, name_len),
                slice_of((const char *)value, value_len));
    return 0;
}

// nghttp2 found a field that may not be: it would reset the stream; a reason is better.
static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame,
                             const uint8_t *name, size_t name_len, const uint8_t *value,
                             size_t value_len, uint8_t flags, void *arg)
{
    (void)session;
    (void)frame;
    (void)name;
    (void)name_len;
    (void)value;
    (void)value_len;
    (void)flags;
    struct h2_server *server = arg;
    if (server->head.reject == HTTP_REJECT_NONE) {
        server->head.reject = HTTP_REJECT_HEADER_VALUE;
    }
    return 0;
}

// nghttp2 found a message that is malformed as a whole, or bytes that are no frame. It has reset
// the stream, or is about to end the connection.
static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error,
                            void *arg)
{
    (void)session;
    (void)frame;
    (void)error;
    struct h2_server *server = arg;
    metrics_reject(server->down->stream.worker->metrics, HTTP_REJECT_HTTP2_MESSAGE);
    return 0;
}

static void begin_request(struct h2_server *server, struct h2_stream *st, bool end)
{
    struct worker *worker = server->down->stream.worker;
    struct http_request head;
    st->body_ended = end;
    server->down->requests++;
    enum http_reject reject = h2_head_request(&server->head, end, worker->headers, &head);
    if (server->head.no_memory) {
        request_refuse(&st->stream, HTTP_REJECT_NONE, FAULT_INTERNAL);
        return;
    }
    if (reject != HTTP_REJECT_NONE) {
        request_refuse(&st->stream, reject, FAULT_BAD_REQUEST);
        return;
    }
    st->stream.bytes_in = server->head.text.len;
    st->connects = head.upgrade.ptr != NULL;
    request_begin(&st->stream, &head, server->head.text.ptr, server->head.text.len, 0,
                  end || st->connects);
}

// False: the request was answered because of them.
static bool take_trailers(struct h2_server *server, struct request *request)
{
    struct worker *worker = server->down->stream.worker;
    ptrdiff_t count = server->head.reject != HTTP_REJECT_NONE
                          ? -(ptrdiff_t)server->head.reject
                          : trailers_parse(strbuf_slice(&server->head.text), worker->headers,
                                           worker->config->limits.max_headers);
    if (count < 0) {
        request_refuse_body(request, (enum http_reject)-count);
        return false;
    }
    return body_set_trailers(request, worker->headers, (size_t)count);
}

static void end_body(struct h2_server *server, struct h2_stream *st, bool by_trailers)
{
    st->body_ended = true;
    struct request *request = st->stream.request;
    if (st->connects && request != NULL) {
        h2_stream_add_tunnel(st, SLICE_NULL, true);
        return;
    }
    if (request != NULL && request_wants_more(request) &&
        (!by_trailers || take_trailers(server, request))) {
        body_added(request, true);
    }
}

static void take_frame(struct h2_server *server, const nghttp2_frame *frame)
{
    bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    struct h2_stream *st =
        frame->hd.stream_id != 0 ? find_stream(server, frame->hd.stream_id) : NULL;
    if (frame->hd.type == NGHTTP2_DATA && !end && frame->hd.length != 0 &&
        frame->hd.length == frame->data.padlen) {
        h2_calm_spend(server, H2_CALM_PADDING);
    }
    if (st == NULL) {
        return;
    }
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        begin_request(server, st, end);
    } else if (frame->hd.type == NGHTTP2_HEADERS && st->connects) {
        // RFC 9113 section 8.5: nothing but DATA.
        h2_server_must(server, nghttp2_submit_rst_stream(server->session, NGHTTP2_FLAG_NONE,
                                                         st->id, NGHTTP2_PROTOCOL_ERROR));
    } else if (end && (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA)) {
        end_body(server, st, frame->hd.type == NGHTTP2_HEADERS);
    }
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    (void)session;
    struct h2_server *server = arg;
    if (frame->hd.type == NGHTTP2_HEADERS) {
        server->head_since_ms = 0;
    }
    take_frame(server, frame);
    if (frame->hd.type == NGHTTP2_HEADERS) {
        h2_head_release(&server->head);
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t len, void *arg)
{
    (void)flags;
    struct h2_server *server = arg;
    struct h2_stream *st = find_stream(server, id);
    // The connection's window is shared: one stream that waits must not stop the others.
    int rc = nghttp2_session_consume_connection(session, len);
    if (rc != 0 || st == NULL) {
        return rc != 0 ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
    }
    struct request *request = st->stream.request;
    st->stream.bytes_in += len;
    if (request == NULL || !(st->connects || request_wants_more(request))) {
        return 0; // answered already: the window stays shut
    }
    st->unconsumed += len;
    if (st->connects) {
        h2_stream_add_tunnel(st, slice_of((const char *)data, len), false);
    } else if (body_add(request, slice_of((const char *)data, len))) {
        body_added(request, false);
    }
    if (st->stream.request != NULL && request_wants_body(st->stream.request)) {
        rc = nghttp2_session_consume_stream(session, id, st->unconsumed);
        st->unconsumed = 0;
    }
    return rc != 0 ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

// A client that makes us reset its streams has what rapid resets would give it (CVE-2025-8671).
static bool breaks_rules(uint32_t error)
{
    return error == NGHTTP2_PROTOCOL_ERROR || error == NGHTTP2_FLOW_CONTROL_ERROR ||
           error == NGHTTP2_STREAM_CLOSED || error == NGHTTP2_FRAME_SIZE_ERROR;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *arg)
{
    (void)session;
    struct h2_server *server = arg;
    struct h2_stream *st = find_stream(server, id);
    if (st == NULL) {
        return 0;
    }
    st->closing = true;
    bool broken = breaks_rules(error);
    if (broken) {
        h2_calm_spend(server, H2_CALM_RESET); // as if the client had reset it
    }
    if (st->stream.request != NULL) {
        // The client gave it up, or broke the rules of its framing.
        request_abort(st->stream.request,
                      error == NGHTTP2_INTERNAL_ERROR ? FAULT_INTERNAL : FAULT_CLIENT_ABORT);
        return 0;
    }
    if (!broken) {
        h2_calm_earn(server, H2_CALM_A_REQUEST);
    }
    h2_stream_free(st);
    return 0;
}

// Takes bytes off the wire. False: the connection is closed.
static bool take_bytes(struct h2_server *server, const char *data, size_t len)
{
    metrics_add(server->down->stream.worker->metrics, METRIC_BYTES_IN, len);
    if (!h2_calm_before(server, data, len)) {
        return true; // nothing more is taken; what is said of it is in the queue
    }
    server->receiving = true;
    ssize_t n = nghttp2_session_mem_recv(server->session, (const uint8_t *)data, len);
    server->receiving = false;
    if (n >= 0) {
        h2_calm_after(server);
        return true; // what is wrong with a frame has put a GOAWAY in the queue
    }
    // Whatever it is, the session is at its end: no preface, no memory, a flood of answers to
    // SETTINGS and PING, or of CONTINUATION, which the library has a limit of its own for.
    if (n != NGHTTP2_ERR_BAD_CLIENT_MAGIC && n != NGHTTP2_ERR_NOMEM &&
        n != NGHTTP2_ERR_CALLBACK_FAILURE) {
        metrics_add(server->down->stream.worker->metrics, METRIC_HTTP2_FLOODS, 1);
        warn_flood(server->down->stream.worker, server->down->peer);
    }
    server_close(server, FAULT_CLIENT_ABORT);
    return false;
}

static void server_read(struct h2_server *server)
{
    struct downstream *down = server->down;
    char *data = worker_receive_buffer(down->stream.worker);
    down->readable = false;
    for (int i = 0;; i++) {
        if (i == READS_A_TURN || down->out.len != 0 || server->flooded) {
            // Others wait; or the client does not take what it is told: it shall not say more.
            down->readable = true;
            break;
        }
        ssize_t n = transport_recv(&down->transport, data, SCRATCH_SIZE);
        if (n == -EAGAIN) {
            break;
        }
        if (n <= 0) {
            server_close(server, FAULT_CLIENT_ABORT);
            return;
        }
        if (!take_bytes(server, data, (size_t)n)) {
            return;
        }
        if (transport_is_drained(&down->transport, (size_t)n, SCRATCH_SIZE) && !down->hung_up) {
            break;
        }
    }
    flush(server);
    if (down->h2 != NULL && down->readable && down->out.len == 0) {
        h2_server_schedule(server);
    }
}

// ---- what the connection tells ------------------------------------------------------------------

static void h2_on_readable(struct downstream *down, uint32_t events)
{
    down->hung_up = down->hung_up || (events & EPOLLRDHUP) != 0;
    down->readable = true;
    if (down->out.len == 0 || down->hung_up) {
        server_read(down->h2);
    }
}

static void h2_on_writable(struct downstream *down)
{
    if (down->readable) {
        server_read(down->h2);
    } else {
        flush(down->h2);
    }
}

static void h2_on_broken(struct downstream *down)
{
    server_close(down->h2, FAULT_CLIENT_ABORT);
}

static void h2_cut(struct downstream *down)
{
    server_close(down->h2, FAULT_SHUTDOWN);
}

void h2_server_say_goodbye(struct h2_server *server)
{
    if (!server->notified) {
        server->notified = true;
        h2_server_must(server, nghttp2_submit_shutdown_notice(server->session));
        downstream_set_deadline(server->down, DOWNSTREAM_DRAIN_LAST_MS);
    } else if (!server->leaving) {
        server->leaving = true;
        int32_t last = nghttp2_session_get_last_proc_stream_id(server->session);
        h2_server_must(server, nghttp2_submit_goaway(server->session, NGHTTP2_FLAG_NONE, last,
                                                     NGHTTP2_NO_ERROR, NULL, 0));
    }
    h2_server_schedule(server);
}

static void h2_drain(struct downstream *down)
{
    h2_server_say_goodbye(down->h2);
}

// Answers that are complete on our side, but that the client does not take.
static void reset_stalled(struct h2_server *server)
{
    struct worker *worker = server->down->stream.worker;
    uint64_t now = worker_now_ms(worker);
    list_for_each(&server->streams, node) {
        struct h2_stream *st = container_of(node, struct h2_stream, node);
        if (st->done && now - st->stream.progress_ms >= worker->config->write_timeout_ms) {
            h2_server_must(server, nghttp2_submit_rst_stream(server->session, NGHTTP2_FLAG_NONE,
                                                             st->id, NGHTTP2_CANCEL));
            h2_server_schedule(server);
        }
    }
}

static void h2_on_deadline(struct downstream *down)
{
    struct h2_server *server = down->h2;
    const struct proxy_config *config = down->stream.worker->config;
    uint64_t now = worker_now_ms(down->stream.worker);
    bool stalled = down->out.len != 0 && !downstream_progressed_lately(down);
    bool slow_head = server->head_since_ms != 0 &&
                     now - server->head_since_ms >= config->header_timeout_ms;
    bool idle = server->stream_count == 0 &&
                now - server->idle_since_ms >= config->idle_timeout_ms;
    if (stalled || slow_head || (idle && server->leaving)) {
        server_close(server, FAULT_CLIENT_ABORT);
        return;
    }
    reset_stalled(server);
    if (idle || server->notified) {
        server->notified = true;
        h2_server_say_goodbye(server);
        server->idle_since_ms = idle ? now - config->idle_timeout_ms : server->idle_since_ms;
        downstream_set_deadline(down, LAST_FRAMES_MS);
        return;
    }
    downstream_set_deadline(down, server->stream_count != 0 || server->head_since_ms != 0
                                      ? SWEEP_MS
                                      : MIN_OF(config->idle_timeout_ms, (uint32_t)60000));
}

const struct downstream_protocol downstream_h2 = {
    .on_readable = h2_on_readable,
    .on_writable = h2_on_writable,
    .on_broken = h2_on_broken,
    .on_deadline = h2_on_deadline,
    .drain = h2_drain,
    .cut = h2_cut,
};

// ---- start --------------------------------------------------------------------------------------

static void set_callbacks(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks, on_invalid_header);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    h2_stream_set_callbacks(callbacks);
}

// Each stream may have the head of its answer waiting.
static size_t memory_limit(const struct proxy_config *config)
{
    return H2_SESSION_BASE +
           config->http2_max_streams * (config->limits.max_head_bytes + H2_SESSION_A_STREAM);
}

static int set_up_session(struct h2_server *server)
{
    const struct proxy_config *config = server->down->stream.worker->config;
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, config->http2_max_streams},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, REQUEST_STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)config->limits.max_head_bytes},
        {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1},
    };
    server->memory.max = memory_limit(config);
    const struct h2_session_config session = {
        .is_server = true,
        .set_callbacks = set_callbacks,
        .arg = server,
        .memory = &server->memory,
        .settings = settings,
        .setting_count = ARRAY_LEN(settings),
        .window = CONNECTION_WINDOW,
    };
    return h2_session_new(&session, &server->session);
}

size_t downstream_h2_preface(const char *data, size_t len)
{
    size_t n = MIN_OF(len, (size_t)H2_PREFACE_LEN);
    return memcmp(data, NGHTTP2_CLIENT_MAGIC, n) == 0 ? n : 0;
}

bool downstream_h2_start(struct downstream *down, const char *data, size_t len)
{
    struct worker *worker = down->stream.worker;
    struct h2_server *server = calloc(1, sizeof(*server));
    if (server == NULL) {
        downstream_close(down);
        return false;
    }
    server->down = down;
    server->idle_since_ms = worker_now_ms(worker);
    h2_calm_init(&server->calm, server->idle_since_ms);
    list_init(&server->streams);
    h2_head_init(&server->head, &worker->config->limits);
    loop_task_cancel(worker->loop, &down->resume);
    down->h2 = server;
    down->protocol = &downstream_h2;
    metrics_add(worker->metrics, METRIC_HTTP2_CONNECTIONS, 1);
    if (set_up_session(server) != 0) {
        server_close(server, FAULT_INTERNAL);
        return false;
    }
    downstream_set_deadline(down, SWEEP_MS);
    if (len != 0 && !take_bytes(server, data, len)) {
        return false;
    }
    down->readable = true; // there may be more, and its edge was seen
    if (down->draining) {
        h2_server_say_goodbye(server);
    }
    h2_server_schedule(server);
    return true;
}
