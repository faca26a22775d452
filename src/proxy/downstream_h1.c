#include "proxy/downstream.h"

#include <sys/socket.h>

#include "http/h1.h"
#include "http/trailers.h"
#include "observe/metrics.h"
#include "proxy/body.h"
#include "proxy/downstream_h2.h"
#include "proxy/linger.h"
#include "proxy/request.h"
#include "proxy/tunnel.h"
#include "proxy/worker.h"

enum { READS_A_TURN = 16, REQUESTS_A_TURN = 16 };

static bool h1_read(struct downstream *down);

static struct downstream *downstream_of(struct stream *stream)
{
    return container_of(stream, struct downstream, stream);
}

// Closed, or another protocol's business by now: nothing more is to be read here.
static bool is_over(const struct downstream *down)
{
    return down->stream.closed || down->protocol != &downstream_h1;
}

// The next request, when its bytes are here already. Called with none running.
static void next_request(struct downstream *down);

// A client that pipelines gets its next answer when it has taken the one before: answers do not
// pile up here.
static bool answer_pending(const struct downstream *down)
{
    return down->out.len != 0;
}

// `in` holds more than the beginning of a head: it comes first, before more is read.
static bool kept_for_later(const struct downstream *down)
{
    return down->stream.request == NULL && down->in.len != 0 && down->state != DOWNSTREAM_HEAD;
}

static void on_resume(struct task *task, void *arg)
{
    (void)task;
    struct downstream *down = arg;
    if (down->stream.request == NULL && answer_pending(down)) {
        return; // set again once it is sent
    }
    if (down->stream.request == NULL) {
        next_request(down);
    } else if (down->readable || down->in.len != 0) {
        h1_read(down);
    }
}

static void h1_want_body(struct stream *stream)
{
    struct downstream *down = downstream_of(stream);
    loop_task_set(down->stream.worker->loop, &down->resume, on_resume, down);
}

static void h1_done(struct stream *stream, bool keep_alive, bool unread)
{
    struct downstream *down = downstream_of(stream);
    down->stream.request = NULL;
    strbuf_fini(&down->trailers);
    down->requests++;
    down->stream.bytes_in = 0;
    down->stream.bytes_out = 0;
    if (!keep_alive || down->hung_up) {
        if (down->out.len != 0 || ((unread || down->surplus || down->readable) && !down->hung_up)) {
            linger_start(down);
        } else {
            downstream_close(down);
        }
        return;
    }
    down->state = DOWNSTREAM_IDLE;
    // In a drain, too, when the answer began before it and so did not say that this is the end: the
    // client may be sending its next request, and shall not find the connection closed on it. That
    // answer says so.
    downstream_set_deadline(down, down->draining ? DOWNSTREAM_DRAIN_LAST_MS
                                                 : down->stream.worker->config->idle_timeout_ms);
    if (down->in.len != 0 || down->readable) {
        loop_task_set(down->stream.worker->loop, &down->resume, on_resume, down);
    } else {
        strbuf_fini(&down->in);
        (void)downstream_charge(down);
    }
}

// The body ended. False: the request was answered because of its trailers.
static bool take_trailers(struct downstream *down)
{
    struct worker *worker = down->stream.worker;
    struct request *request = down->stream.request;
    if (down->trailers.len == 0 && !down->trailers.failed) {
        return true;
    }
    if (down->trailers.failed) {
        request_abort(request, FAULT_INTERNAL);
        return false;
    }
    ptrdiff_t count = trailers_parse(strbuf_slice(&down->trailers), worker->headers,
                                     worker->config->limits.max_headers);
    if (count < 0) {
        request_refuse_body(request, (enum http_reject)-count);
        return false;
    }
    bool alive = body_set_trailers(request, worker->headers, (size_t)count);
    strbuf_fini(&down->trailers);
    return alive;
}

// Takes body bytes off the wire. Returns how many were used (the rest belongs to the next request),
// or -1 when the request was answered because of them.
static ptrdiff_t take_body(struct downstream *down, const char *data, size_t len)
{
    struct request *request = down->stream.request;
    size_t used = 0;
    bool end;
    if (request->tunnel) {
        if (!body_add(request, slice_of(data, len))) {
            return -1;
        }
        body_added(request, false);
        return is_over(down) ? -1 : (ptrdiff_t)len;
    }
    if (request->head.framing == HTTP_FRAMING_CHUNKED) {
        while (used < len && !down->chunked.done) {
            struct slice piece;
            ptrdiff_t n = h1_chunked_decode(&down->chunked, data + used, len - used, &piece);
            if (n < 0) {
                request_refuse_body(request, (enum http_reject)-n);
                return -1;
            }
            used += (size_t)n;
            if (piece.len != 0 && !body_add(request, piece)) {
                return -1;
            }
        }
        end = down->chunked.done;
        if (end && !take_trailers(down)) {
            return -1;
        }
    } else {
        used = (size_t)MIN_OF((uint64_t)len, down->body_left);
        down->body_left -= used;
        end = down->body_left == 0;
        if (!body_add(request, slice_of(data, used))) {
            return -1;
        }
    }
    body_added(request, end);
    return is_over(down) ? -1 : (ptrdiff_t)used;
}

// A head of head_len bytes was parsed at the start of buf[0..len). Returns as take_request does.
static ptrdiff_t begin_request(struct downstream *down, struct http_request *head, char *buf,
                               size_t head_len, size_t len)
{
    size_t body_here = 0;
    if (head->framing == HTTP_FRAMING_LENGTH) {
        body_here = (size_t)MIN_OF((uint64_t)(len - head_len), head->content_length);
    }
    bool whole = head->framing == HTTP_FRAMING_NONE ||
                 (head->framing == HTTP_FRAMING_LENGTH && body_here == head->content_length);
    size_t used = whole ? head_len + body_here : head_len;
    down->state = DOWNSTREAM_REQUEST;
    down->deadline_ms = 0;
    down->stream.bytes_out = 0;
    down->stream.bytes_in = whole ? used : len;
    down->surplus = whole && len > used;
    down->body_left = head->content_length;
    strbuf_init(&down->trailers, H1_TRAILERS_MAX);
    down->chunked = (struct h1_chunked){.trailers = &down->trailers};
    request_begin(&down->stream, head, buf, head_len, used - head_len, whole);
    struct request *request = down->stream.request;
    if (!is_over(down) && request != NULL && !whole && len > head_len) {
        // body bytes that came with the head; the rest goes the way of all later ones
        ptrdiff_t taken = request_wants_body(request) ? take_body(down, buf + head_len,
                                                                  len - head_len)
                                                      : 0;
        used += taken > 0 ? (size_t)taken : 0;
    }
    return is_over(down) ? -1 : (ptrdiff_t)used;
}

static void expect_more_of_head(struct downstream *down)
{
    if (down->state == DOWNSTREAM_IDLE) {
        down->state = DOWNSTREAM_HEAD;
        downstream_set_deadline(down, down->stream.worker->config->header_timeout_ms);
    }
}

// Parses a request at buf[0..len). Returns the bytes used; 0 when the head is not complete;
// -1 when nothing more is to be read (refused or closed).
static ptrdiff_t take_request(struct downstream *down, char *buf, size_t len, size_t seen)
{
    struct worker *worker = down->stream.worker;
    struct http_request head;
    // HTTP/2 with prior knowledge (RFC 9113 section 3.3).
    bool may_be_h2 = worker->config->http2 && down->requests == 0;
    size_t preface = may_be_h2 ? downstream_h2_preface(buf, len) : 0;
    if (preface == H2_PREFACE_LEN) {
        (void)downstream_h2_start(down, buf, len);
        return -1;
    }
    if (preface != 0) {
        expect_more_of_head(down);
        return 0;
    }
    ptrdiff_t n =
        h1_parse_request(buf, len, seen, &worker->config->limits, worker->headers, &head);
    if (n < 0) {
        request_refuse(&down->stream, (enum http_reject)-n, FAULT_BAD_REQUEST);
        return -1;
    }
    if (n == 0) {
        expect_more_of_head(down);
        return 0;
    }
    return begin_request(down, &head, buf, (size_t)n, len);
}

// Gives bytes to whatever is going on. Returns how many were used, or -1: stop.
static ptrdiff_t feed(struct downstream *down, char *data, size_t len, size_t seen)
{
    if (down->stream.request == NULL) {
        return answer_pending(down) ? 0 : take_request(down, data, len, seen);
    }
    if (!request_wants_body(down->stream.request)) {
        return 0; // pipelined: waits its turn
    }
    ptrdiff_t used = take_body(down, data, len);
    return is_over(down) ? -1 : used;
}

// One request at a time from what `in` holds; those that are answered at once (errors, the list of
// models) only so many in a turn, since others wait. False: stop.
static bool feed_kept(struct downstream *down)
{
    for (int i = 0; i < REQUESTS_A_TURN && down->in.len != 0; i++) {
        bool had_request = down->stream.request != NULL;
        struct strbuf in = down->in; // the callee may close the connection, and free `in` with it
        strbuf_init(&down->in, in.max);
        ptrdiff_t used = feed(down, in.ptr, in.len, down->head_seen);
        if (used < 0) {
            strbuf_fini(&in);
            return false;
        }
        strbuf_consume(&in, (size_t)used);
        down->in = in;
        down->head_seen = down->state == DOWNSTREAM_HEAD ? in.len : 0;
        if (used == 0 || (had_request && down->stream.request == NULL)) {
            break; // incomplete, paused, or ended: the next one starts from the loop
        }
    }
    if (kept_for_later(down)) {
        loop_task_set(down->stream.worker->loop, &down->resume, on_resume, down);
    }
    return true;
}

static void next_request(struct downstream *down)
{
    down->head_seen = 0;
    if (!feed_kept(down)) {
        return;
    }
    if (down->readable) {
        h1_read(down);
    }
}

// How full may `in` get before the socket is left alone? Enough for a head; a body goes on to the
// request.
static bool in_full(const struct downstream *down)
{
    return down->in.len >= down->stream.worker->config->limits.max_head_bytes;
}

// True when the bytes were handled and more may be read.
static bool take_read(struct downstream *down, char *data, size_t len)
{
    down->stream.bytes_in += len;
    metrics_add(down->stream.worker->metrics, METRIC_BYTES_IN, len);
    if (down->in.len == 0) {
        ptrdiff_t used = feed(down, data, len, 0);
        if (used < 0) {
            return false;
        }
        if ((size_t)used < len) {
            strbuf_add(&down->in, slice_of(data + used, len - (size_t)used));
            down->head_seen = down->state == DOWNSTREAM_HEAD ? down->in.len : 0;
            if (kept_for_later(down)) {
                loop_task_set(down->stream.worker->loop, &down->resume, on_resume, down);
            }
        }
    } else {
        strbuf_add(&down->in, slice_of(data, len));
        if (!down->in.failed && !feed_kept(down)) {
            return false;
        }
    }
    if (down->in.failed) {
        if (down->stream.request != NULL) {
            request_abort(down->stream.request, FAULT_INTERNAL);
        } else {
            downstream_close(down);
        }
        return false;
    }
    if (!downstream_charge(down) && down->state == DOWNSTREAM_HEAD) {
        request_refuse(&down->stream, HTTP_REJECT_NONE, FAULT_BUFFERS_FULL);
        return false;
    }
    return true;
}

// The peer closed its side. A client that does so while it waits has gone (as nginx and HAProxy
// with abortonclose see it); nothing it would still read is produced for it. In a tunnel it may
// have said all that it has to say.
static void on_hang_up(struct downstream *down, bool error)
{
    down->hung_up = true;
    if (down->stream.request != NULL && down->stream.request->tunnel && !error) {
        tunnel_client_ended(down->stream.request);
    } else if (down->stream.request != NULL) {
        request_abort(down->stream.request, FAULT_CLIENT_ABORT);
    } else if (down->out.len == 0) {
        downstream_close(down);
    } else {
        linger_start(down); // its last answer is complete: the rest of it is sent
    }
}

// The end of a tunnel's client comes behind its bytes, some of which wait in `in` while the server
// takes none: it is read again when they have gone on.
static bool end_is_early(const struct downstream *down)
{
    const struct request *request = down->stream.request;
    return down->in.len != 0 && request != NULL && request->tunnel;
}

// Reads until the socket is empty or nobody wants more. False: stop.
static bool h1_read(struct downstream *down)
{
    if (down->in.len != 0 && !feed_kept(down)) {
        return false;
    }
    for (int i = 0; i < READS_A_TURN; i++) {
        bool wanted = down->stream.request != NULL ? request_wants_body(down->stream.request)
                                            : !answer_pending(down) && !kept_for_later(down);
        if ((!wanted && !down->hung_up) || (!wanted && in_full(down))) {
            down->readable = true; // look again when it is wanted
            return true;
        }
        char *data = worker_receive_buffer(down->stream.worker);
        ssize_t n = transport_recv(&down->transport, data, SCRATCH_SIZE);
        if (n == -EAGAIN) {
            down->readable = false;
            return true;
        }
        if (n == 0 && end_is_early(down)) {
            down->readable = true;
            return true;
        }
        if (n <= 0) {
            on_hang_up(down, n < 0);
            return false;
        }
        if (!take_read(down, data, (size_t)n)) {
            return false;
        }
        if (transport_is_drained(&down->transport, (size_t)n, SCRATCH_SIZE) && !down->hung_up) {
            down->readable = false;
            return true;
        }
    }
    down->readable = true; // others wait: go on in the next turn
    loop_task_set(down->stream.worker->loop, &down->resume, on_resume, down);
    return true;
}

static void h1_on_deadline(struct downstream *down)
{
    switch (down->state) {
    case DOWNSTREAM_HEAD:
        request_refuse(&down->stream, HTTP_REJECT_NONE, FAULT_HEADER_TIMEOUT);
        break;
    case DOWNSTREAM_IDLE:
        if (down->out.len != 0 && downstream_progressed_lately(down)) {
            downstream_set_deadline(down, down->stream.worker->config->write_timeout_ms);
            break;
        }
        downstream_close(down);
        break;
    case DOWNSTREAM_REQUEST: // the request has its own timer
    case DOWNSTREAM_LINGER:  // not here
        break;
    }
}

static void h1_drain(struct downstream *down)
{
    // A request may lie in the socket, its edge not seen yet: it is served.
    if (down->state == DOWNSTREAM_IDLE && !h1_read(down)) {
        return;
    }
    if (down->state != DOWNSTREAM_IDLE || is_over(down)) {
        return;
    }
    if (down->requests == 0) {
        // Just accepted: its first request is on the way, and is its last.
        downstream_set_deadline(down, down->stream.worker->config->header_timeout_ms);
    } else if (down->out.len != 0) {
        linger_start(down); // sends the rest of its last answer first
    } else {
        downstream_close(down);
    }
}

static void h1_on_readable(struct downstream *down, uint32_t events)
{
    if ((events & EPOLLRDHUP) != 0) {
        down->hung_up = true;
        const struct request *request = down->stream.request;
        if (request != NULL && !request_wants_body(request) && !request->tunnel) {
            on_hang_up(down, false);
            return;
        }
    }
    h1_read(down);
}

static void h1_on_writable(struct downstream *down)
{
    if (down->stream.request != NULL) {
        request_on_writable(down->stream.request);
    } else if (down->in.len != 0 || down->readable) {
        loop_task_set(down->stream.worker->loop, &down->resume, on_resume, down);
    }
}

static void h1_on_broken(struct downstream *down)
{
    if (down->stream.request != NULL) {
        down->hung_up = true;
        request_abort(down->stream.request, FAULT_CLIENT_ABORT);
    } else {
        downstream_close(down);
    }
}

static void h1_cut(struct downstream *down)
{
    if (down->stream.request != NULL) {
        request_abort(down->stream.request, FAULT_SHUTDOWN);
    } else {
        downstream_close(down);
    }
}

// ---- what a request asks ------------------------------------------------------------------------

// Frames the payload in place for a chunked client; returns where it starts and its new length.
static char *frame_chunk(char *data, size_t len, size_t first, bool end, size_t *ret_len)
{
    char *start = data;
    char *stop = data + len;
    if (len + first != 0) {
        char head[H1_CHUNK_HEAD_MAX];
        size_t head_len = first == 0 ? h1_chunk_head(head, len) : 0;
        start -= head_len;
        memcpy(start, head, head_len);
        memcpy(stop, "\r\n", 2);
        stop += 2;
    }
    if (end) {
        struct slice last = H1_LAST_CHUNK;
        memcpy(stop, last.ptr, last.len);
        stop += last.len;
    }
    *ret_len = (size_t)(stop - start);
    return start;
}

// The last chunk, where it has more to say than that it is the last.
static struct slice last_with_trailers(struct stream *stream, const struct stream_output *output)
{
    struct strbuf *last = &stream->worker->head;
    if (output->trailer_count == 0 || !stream->request->wants_trailers) {
        return SLICE_NULL;
    }
    strbuf_reset(last);
    h1_write_trailers(last, output->trailers, output->trailer_count);
    return last->failed ? SLICE_NULL : strbuf_slice(last);
}

static int add_piece(struct iovec *iov, int count, const char *data, size_t len)
{
    if (len != 0) {
        iov[count++] = (struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    }
    return count;
}

static int h1_send(struct stream *stream, const struct stream_output *output)
{
    struct downstream *down = downstream_of(stream);
    struct iovec iov[6];
    char chunk[H1_CHUNK_HEAD_MAX];
    char *data = output->data;
    size_t len = output->len;
    size_t total = output->first.len + len;
    bool chunked = stream->request->client_framing == CLIENT_CHUNKED;
    bool in_place = chunked && output->room;
    struct slice last = chunked ? last_with_trailers(stream, output) : SLICE_NULL;
    bool plain_end = output->end && last.ptr == NULL;
    int count = add_piece(iov, 0, output->head.ptr, output->head.len);
    if (chunked && total != 0 && (!in_place || output->first.len != 0)) {
        count = add_piece(iov, count, chunk, h1_chunk_head(chunk, total));
    }
    if (in_place) {
        data = frame_chunk(data, len, output->first.len, plain_end, &len);
    }
    count = add_piece(iov, count, output->first.ptr, output->first.len);
    count = add_piece(iov, count, data, len);
    if (chunked && !in_place) {
        struct slice tail = plain_end ? SLICE("\r\n0\r\n\r\n") : SLICE("\r\n");
        tail = total != 0 ? tail : plain_end ? H1_LAST_CHUNK : SLICE("");
        count = add_piece(iov, count, tail.ptr, tail.len);
    }
    count = add_piece(iov, count, last.ptr, last.len);
    return count != 0 ? downstream_send(down, iov, count) : 0;
}

static int h1_send_interim(struct stream *stream, struct slice head)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)head.ptr, .iov_len = head.len};
    return downstream_send(downstream_of(stream), &iov, 1);
}

static bool h1_blocked(const struct stream *stream)
{
    return container_of(stream, const struct downstream, stream)->out.len != 0;
}

static void h1_close(struct stream *stream)
{
    struct downstream *down = downstream_of(stream);
    if (stream->reset) {
        transport_spoil(&down->transport);
    }
    downstream_close(down);
}

const struct stream_ops downstream_h1_stream = {
    .send = h1_send,
    .send_interim = h1_send_interim,
    .blocked = h1_blocked,
    .want_body = h1_want_body,
    .done = h1_done,
    .close = h1_close,
};

const struct downstream_protocol downstream_h1 = {
    .on_readable = h1_on_readable,
    .on_writable = h1_on_writable,
    .on_broken = h1_on_broken,
    .on_deadline = h1_on_deadline,
    .drain = h1_drain,
    .cut = h1_cut,
};
