#include "proxy/downstream_h2_stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/body.h"
#include "proxy/reply.h"
#include "proxy/request.h"
#include "proxy/tunnel.h"
#include "proxy/worker.h"

enum {
    OUT_HIGH = 64 * 1024, // unsent bytes of a stream from which it is blocked, and below which
    OUT_LOW = 16 * 1024,  // it goes on
    BATCH = 64 * 1024,    // bytes that are sent at once
    FIELDS_MAX = 256,
    EARNING_MIN = 1024,
    INTERIM_QUEUE_MAX = 16, // frames that wait before them
    EARLY_MAX = 16 * 1024, // for a tunnel that is not open
};

static const struct stream_ops h2_stream_ops;

static void on_reap(struct task *task, void *arg)
{
    (void)task;
    downstream_reap(arg);
}

void downstream_h2_reap(struct worker *worker)
{
    list_for_each(&worker->closed_streams, node) {
        list_remove(node);
        free(container_of(node, struct h2_stream, node));
    }
}

void h2_server_must(struct h2_server *server, int rc)
{
    server->failed = server->failed || rc == NGHTTP2_ERR_NOMEM;
}

static void count_held(struct h2_stream *st)
{
    uint64_t holds = st->out.cap + st->trailers.cap + st->early.cap;
    st->server->held += holds - st->held;
    st->held = holds;
}

struct h2_stream *h2_stream_new(struct h2_server *server, int32_t id)
{
    struct downstream *down = server->down;
    struct h2_stream *st = calloc(1, sizeof(*st));
    if (st == NULL) {
        return NULL;
    }
    st->stream = (struct stream){.ops = &h2_stream_ops,
                                 .worker = down->stream.worker,
                                 .peer = down->peer,
                                 .who = &down->client,
                                 .tls = down->tls,
                                 .version = STREAM_HTTP2};
    st->server = server;
    st->id = id;
    strbuf_init(&st->out, DOWNSTREAM_OUT_MAX);
    strbuf_init(&st->trailers, WORKER_HEAD_MAX);
    strbuf_init(&st->early, EARLY_MAX);
    list_push_back(&server->streams, &st->node);
    server->stream_count++;
    return st;
}

void h2_stream_free(struct h2_stream *st)
{
    struct worker *worker = st->stream.worker;
    if (st->stream.closed) {
        return;
    }
    st->stream.closed = true;
    strbuf_fini(&st->out);
    strbuf_fini(&st->trailers);
    strbuf_fini(&st->early);
    list_remove(&st->node);
    if (st->server != NULL) {
        count_held(st);
        st->server->stream_count--;
        st->server->idle_since_ms = worker_now_ms(worker);
        nghttp2_session_set_stream_user_data(st->server->session, st->id, NULL);
    }
    st->server = NULL;
    list_push_back(&worker->closed_streams, &st->node);
    loop_task_set(worker->loop, &worker->reap, on_reap, worker);
}

// ---- sending ------------------------------------------------------------------------------------

// The trailers of the answer, which end the stream behind its payload: > 0; 0: it has none.
static int submit_trailers(nghttp2_session *session, struct h2_stream *st)
{
    nghttp2_nv fields[FIELDS_MAX];
    size_t count =
        h2_fields_of_trailers(st->trailers.ptr, st->trailers.len, fields, FIELDS_MAX);
    int rc = count != 0 ? nghttp2_submit_trailer(session, st->id, fields, count) : 0;
    return rc == 0 ? count != 0 : rc;
}

static ssize_t on_read_data(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length,
                            uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    (void)buf;
    (void)source;
    (void)arg;
    struct h2_stream *st = nghttp2_session_get_stream_user_data(session, id);
    size_t n = st != NULL ? MIN_OF(st->out.len, length) : 0;
    if (st == NULL || (n == 0 && st->cut)) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; // resets the stream
    }
    if (n == 0 && !st->end) {
        st->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (n == st->out.len && st->end) {
        int rc = submit_trailers(session, st);
        if (rc < 0) {
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; // without them it is not whole
        }
        *flags |= NGHTTP2_DATA_FLAG_EOF | (rc > 0 ? NGHTTP2_DATA_FLAG_NO_END_STREAM : 0U);
    }
    return (ssize_t)n;
}

static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *frame_head,
                        size_t length, nghttp2_data_source *source, void *arg)
{
    (void)source;
    struct h2_server *server = arg;
    struct h2_stream *st = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    struct worker *worker = server->down->stream.worker;
    struct strbuf *batch = &worker->h2_batch;
    if (batch->len >= BATCH) {
        return NGHTTP2_ERR_WOULDBLOCK; // nghttp2 goes from frame to frame without returning
    }
    if (st == NULL || st->out.len < length) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; // given up since: resets the stream
    }
    if (frame->data.padlen != 0 || !strbuf_reserve(batch, length + 9)) {
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    strbuf_add(batch, slice_of((const char *)frame_head, 9));
    strbuf_add(batch, slice_of(st->out.ptr, length));
    strbuf_consume(&st->out, length);
    // Clients may open both windows again for each frame. One that dribbles (CVE-2019-9511) makes
    // frames small that need not be: those earn nothing.
    if (length >= EARNING_MIN || st->out.len == 0) {
        h2_calm_earn(server, H2_CALM_A_FRAME);
    }
    st->stream.progress_ms = worker_now_ms(worker);
    if (st->out.len == 0 && st->out.cap > OUT_LOW) {
        strbuf_fini(&st->out);
        count_held(st);
    }
    return 0;
}

// The answer is complete, but the client is still sending: it need not (RFC 9113 section 8.1).
static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 &&
               (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS);
    const struct h2_stream *st =
        end ? nghttp2_session_get_stream_user_data(session, frame->hd.stream_id) : NULL;
    if (st != NULL && !st->body_ended) {
        h2_server_must(arg, nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE,
                                                      frame->hd.stream_id, NGHTTP2_NO_ERROR));
    }
    return 0;
}

int h2_stream_send_batch(struct h2_server *server)
{
    struct downstream *down = server->down;
    struct strbuf *batch = &down->stream.worker->h2_batch;
    strbuf_reset(batch);
    while (batch->len < BATCH) {
        const uint8_t *data;
        ssize_t n = nghttp2_session_mem_send(server->session, &data);
        if (n < 0 || batch->failed) {
            return -ENOMEM;
        }
        if (n == 0 && !nghttp2_session_want_write(server->session)) {
            break;
        }
        size_t before = batch->len;
        strbuf_add(batch, slice_of((const char *)data, (size_t)n));
        if (n == 0 && batch->len == before) {
            break;
        }
    }
    if (batch->len == 0) {
        return 0;
    }
    struct iovec iov = {.iov_base = batch->ptr, .iov_len = batch->len};
    int rc = downstream_send(down, &iov, 1);
    return rc < 0 ? rc : 1;
}

// ---- tunnels ------------------------------------------------------------------------------------

void h2_stream_add_tunnel(struct h2_stream *st, struct slice data, bool end)
{
    struct request *request = st->stream.request;
    if (!request->tunnel || st->early_came) {
        st->early_came = true;
        bool fits = st->early.len + data.len <= EARLY_MAX;
        strbuf_add(&st->early, data);
        count_held(st);
        if (st->early.failed) {
            reply_fault(request, fits ? FAULT_INTERNAL : FAULT_BODY_TOO_LARGE,
                        fits ? SLICE("") : SLICE("the tunnel is not open yet"));
        }
        return;
    }
    if (data.len != 0) {
        if (!body_add(request, data)) {
            return;
        }
        body_added(request, false);
    }
    if (end && st->stream.request == request) {
        tunnel_client_ended(request);
    }
}

// The tunnel is open: it gets what has come for it.
static void release_early(struct h2_stream *st)
{
    struct strbuf early = st->early;
    strbuf_init(&st->early, EARLY_MAX);
    st->early_came = false;
    count_held(st);
    h2_stream_add_tunnel(st, strbuf_slice(&early), st->body_ended);
    strbuf_fini(&early);
}

// Streams that had been full and have room again go on. (What they do may close others, so each is
// looked for anew; a stream is full at most once a round.)
void h2_stream_wake(struct h2_server *server)
{
    list_for_each(&server->streams, node) {
        struct h2_stream *st = container_of(node, struct h2_stream, node);
        if (st->early_came && st->stream.request != NULL && st->stream.request->tunnel) {
            release_early(st);
        }
        if (st->full && st->out.len < OUT_LOW) {
            st->full = false;
            if (st->stream.request != NULL) {
                request_on_writable(st->stream.request);
            }
        }
    }
}

void h2_stream_set_callbacks(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_send_data_callback(callbacks, on_send_data);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_sent);
}

// ---- what a request asks ------------------------------------------------------------------------

static struct h2_stream *h2_of(struct stream *stream)
{
    return container_of(stream, struct h2_stream, stream);
}

static int submit_head(struct h2_stream *st, const struct stream_output *output)
{
    nghttp2_nv fields[FIELDS_MAX];
    size_t count = h2_fields_of_response((char *)(uintptr_t)output->head.ptr, output->head.len,
                                         fields, FIELDS_MAX);
    nghttp2_data_provider provider = {.read_callback = on_read_data};
    bool opens = output->head.len > 9 && output->head.ptr[9] == '2';
    bool empty = output->end && output->first.len + output->len + st->trailers.len == 0;
    if (count == 0 || (st->connects && opens && !st->stream.request->tunnel)) {
        return -ENOBUFS; // the client would take it for its tunnel
    }
    int rc = nghttp2_submit_response(st->server->session, st->id, fields, count,
                                     empty ? NULL : &provider);
    return rc == 0 ? 0 : -ENOMEM;
}

static int h2_send(struct stream *stream, const struct stream_output *output)
{
    struct h2_stream *st = h2_of(stream);
    if (st->server == NULL) {
        return -ECONNRESET;
    }
    if (st->out.len == 0) {
        stream->progress_ms = worker_now_ms(stream->worker);
    }
    strbuf_add(&st->out, output->first);
    strbuf_add(&st->out, slice_of(output->data, output->len));
    for (size_t i = 0; i < output->trailer_count; i++) {
        if (!output->trailers[i].drop) {
            h1_write_header(&st->trailers, output->trailers[i].name, output->trailers[i].value);
        }
    }
    count_held(st);
    st->end = output->end;
    st->full = st->full || st->out.len >= OUT_HIGH;
    stream->bytes_out += output->head.len + output->first.len + output->len;
    if (st->out.failed || st->trailers.failed) {
        return -ENOBUFS;
    }
    int rc = 0;
    if (output->head.len != 0) {
        rc = submit_head(st, output);
    } else if (st->deferred) {
        st->deferred = false;
        rc = nghttp2_session_resume_data(st->server->session, st->id) == 0 ? 0 : -ENOMEM;
    }
    h2_server_schedule(st->server);
    return rc;
}

static int h2_send_interim(struct stream *stream, struct slice head)
{
    struct h2_stream *st = h2_of(stream);
    nghttp2_nv fields[FIELDS_MAX];
    if (st->server == NULL) {
        return -ECONNRESET;
    }
    if (nghttp2_session_get_outbound_queue_size(st->server->session) > INTERIM_QUEUE_MAX) {
        return 0; // as when the stream is blocked
    }
    struct slice text = arena_dup(&stream->request->arena, head); // names are changed in place
    size_t count = text.ptr != NULL ? h2_fields_of_response((char *)(uintptr_t)text.ptr, text.len,
                                                            fields, FIELDS_MAX)
                                    : 0;
    if (count == 0) {
        return 0; // may be left out
    }
    int rc = nghttp2_submit_headers(st->server->session, NGHTTP2_FLAG_NONE, st->id, NULL, fields,
                                    count, NULL);
    h2_server_schedule(st->server);
    return rc == 0 ? 0 : -ENOMEM;
}

static bool h2_blocked(const struct stream *stream)
{
    return container_of(stream, const struct h2_stream, stream)->full;
}

static void h2_want_body(struct stream *stream)
{
    struct h2_stream *st = h2_of(stream);
    if (st->server == NULL || (st->unconsumed == 0 && !st->early_came)) {
        return;
    }
    h2_server_must(st->server, nghttp2_session_consume_stream(st->server->session, st->id,
                                                              st->unconsumed));
    st->unconsumed = 0;
    h2_server_schedule(st->server);
}

// keep_alive is the business of HTTP/1 alone: a stream ends by itself.
static void h2_done(struct stream *stream, bool keep_alive, bool unread)
{
    (void)keep_alive;
    (void)unread; // see on_frame_sent
    struct h2_stream *st = h2_of(stream);
    stream->request = NULL;
    st->done = true;
    if (st->server == NULL) {
        return;
    }
    if (!st->end) {
        st->cut = true; // nobody shall take it for complete
        if (st->deferred) {
            st->deferred = false;
            h2_server_must(st->server, nghttp2_session_resume_data(st->server->session, st->id));
        }
    }
    h2_server_schedule(st->server);
}

static void h2_close(struct stream *stream)
{
    struct h2_stream *st = h2_of(stream);
    stream->request = NULL;
    if (st->server != NULL) {
        struct h2_server *server = st->server;
        uint32_t error = stream->reset ? NGHTTP2_CANCEL : NGHTTP2_INTERNAL_ERROR;
        if (!st->closing) {
            h2_server_must(server, nghttp2_submit_rst_stream(server->session, NGHTTP2_FLAG_NONE,
                                                             st->id, error));
        }
        h2_stream_free(st);
        h2_server_schedule(server);
    }
}

static const struct stream_ops h2_stream_ops = {
    .send = h2_send,
    .send_interim = h2_send_interim,
    .blocked = h2_blocked,
    .want_body = h2_want_body,
    .done = h2_done,
    .close = h2_close,
};
