#include "proxy/upstream_h1.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "http/trailers.h"
#include "observe/metrics.h"
#include "proxy/attempt.h"
#include "proxy/relay.h"
#include "proxy/worker.h"

// A server that reports every few seconds that it is still there does so for an hour within
// INTERIMS_MAX; more is a flood.
enum { SEND_PIECES = 8, READS_A_TURN = 16, INTERIMS_MAX = 1000 };

static void upstream_on_io(struct io *io, uint32_t events, void *arg);
static const struct exchange_ops upstream_h1_exchange;

static struct upstream *upstream_of(struct exchange *exchange)
{
    return container_of(exchange, struct upstream, exchange);
}

static void reset_response(struct upstream *up)
{
    up->got_bytes = false;
    up->out_last_text = SLICE_NULL;
    up->out_frame_len = 0;
    up->out_frame_sent = 0;
    up->out_chunked = false;
    up->out_last = false;
    up->out_chunk = 0;
    up->head_done = false;
    up->body_done = false;
    up->exchange.paused = false;
    up->framing_odd = false;
    up->left = 0;
    up->interims = 0;
    up->chunked = (struct h1_chunked){0};
    strbuf_fini(&up->trailers);
    strbuf_reset(&up->partial_head);
}

struct exchange *upstream_h1_open(struct worker *worker, struct endpoint *endpoint,
                                  struct request *request, int *ret_errno)
{
    struct upstream *up = calloc(1, sizeof(*up));
    if (up == NULL) {
        *ret_errno = ENOMEM;
        return NULL;
    }
    int fd = socket(endpoint->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        *ret_errno = errno;
        free(up);
        return NULL;
    }
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    up->transport.fd = fd;
    *ret_errno = upstream_tls_begin(worker, &up->transport, endpoint, request);
    if (*ret_errno == 0 &&
        connect(fd, (const struct sockaddr *)&endpoint->address, endpoint->address_len) != 0 &&
        errno != EINPROGRESS) {
        *ret_errno = errno;
    }
    if (*ret_errno == 0) {
        // Edge-triggered and once for all: no epoll_ctl while the connection lives.
        *ret_errno = -loop_io_add(worker->loop, &up->io, fd,
                                  EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, upstream_on_io, up);
    }
    if (*ret_errno != 0) {
        transport_close(&up->transport);
        free(up);
        return NULL;
    }
    up->worker = worker;
    up->endpoint = endpoint;
    endpoint_ref(endpoint);
    up->exchange =
        (struct exchange){.ops = &upstream_h1_exchange, .request = request, .room = true};
    up->pin = upstream_tls_pin(request);
    up->state = UPSTREAM_CONNECTING;
    list_init(&up->pool_node);
    list_init(&up->age_node);
    strbuf_init(&up->trailers, H1_TRAILERS_MAX);
    strbuf_init(&up->partial_head, worker->config->limits.max_head_bytes + SCRATCH_SIZE);
    metrics_add(worker->metrics, METRIC_UPSTREAM_CONNECTS, 1);
    return &up->exchange;
}

static void upstream_close(struct upstream *up)
{
    if (up->state == UPSTREAM_IDLE) {
        upstream_pool_remove(&up->worker->pool, up);
    }
    loop_io_del(up->worker->loop, &up->io);
    transport_close(&up->transport);
    endpoint_unref(up->worker->config->endpoints, up->endpoint);
    strbuf_fini(&up->partial_head);
    strbuf_fini(&up->trailers);
    free(up);
}

// Bytes that lie here before a request was sent would be read as its answer. The loop has told of
// them already (and the connection was closed), or is about to in this very turn, or has not looked
// since the last answer ended: only then it costs a system call to know. Bytes that are still on
// their way when the request goes out are told from an answer by nobody; they can come from this
// server alone, which may answer what it likes anyway.
static bool is_quiet(struct upstream *up)
{
    const struct loop *loop = up->worker->loop;
    uint32_t pending = loop_io_pending(loop, &up->io);
    if ((pending & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
        return false;
    }
    if ((pending & EPOLLIN) == 0 && up->idle_turn != loop_turns(loop)) {
        return true;
    }
    if (up->transport.tls != NULL) {
        return transport_is_silent(&up->transport);
    }
    char byte;
    ssize_t n = (pending & EPOLLIN) == 0 ? recv(up->io.fd, &byte, 1, MSG_PEEK) : 0;
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

struct exchange *upstream_h1_reuse(struct worker *worker, const struct endpoint *endpoint,
                                   struct request *request)
{
    struct upstream *up;
    uint64_t turn = loop_turns(worker->loop);
    struct upstream_pin pin = upstream_tls_pin(request);
    while ((up = upstream_pool_take(&worker->pool, endpoint->id, turn)) != NULL) {
        up->state = UPSTREAM_ACTIVE;
        // What the backend's configuration was before is of no use any more.
        if (upstream_tls_same(&up->pin, &pin) && is_quiet(up)) {
            break;
        }
        upstream_close(up);
    }
    if (up != NULL) {
        reset_response(up);
        up->exchange.request = request;
        up->reused = true;
        metrics_add(worker->metrics, METRIC_UPSTREAM_REUSES, 1);
    }
    return up != NULL ? &up->exchange : NULL;
}

static void upstream_release(struct exchange *exchange, bool whole)
{
    struct upstream *up = upstream_of(exchange);
    struct worker *worker = up->worker;
    bool cut = !whole || up->out_chunk != 0 || up->out_frame_sent < up->out_frame_len ||
               up->out_chunked != up->out_last;
    bool removed = atomic_load_explicit(&up->endpoint->removed, memory_order_relaxed);
    if (cut || !up->keep_alive || !up->body_done || up->framing_odd || up->more_unread ||
        up->hung_up || removed) {
        upstream_close(up);
        return;
    }
    up->exchange.request = NULL;
    strbuf_fini(&up->partial_head);
    strbuf_fini(&up->trailers);
    if (!upstream_pool_put(&worker->pool, up, worker->config->max_idle_per_endpoint)) {
        upstream_close(up);
        return;
    }
    up->state = UPSTREAM_IDLE;
    up->idle_since_ms = worker_now_ms(worker);
    up->idle_turn = loop_turns(worker->loop);
}

void upstream_h1_sweep(struct worker *worker, bool all)
{
    uint64_t now = worker_now_ms(worker);
    struct upstream *up;
    while ((up = upstream_pool_oldest(&worker->pool)) != NULL &&
           (all || now - up->idle_since_ms >= worker->config->upstream_idle_timeout_ms)) {
        upstream_close(up);
    }
    list_for_each(&worker->pool.by_age, node) {
        up = container_of(node, struct upstream, age_node);
        if (atomic_load_explicit(&up->endpoint->removed, memory_order_relaxed)) {
            upstream_close(up);
        }
    }
}

// The exchange cannot go on. Detaches and closes first, so that the request starts from a clean
// table.
static void upstream_broken(struct upstream *up, enum fault fault)
{
    struct request *request = up->exchange.request;
    bool stale = up->reused && !up->got_bytes && fault == FAULT_UPSTREAM_RESET;
    request->up = NULL;
    upstream_close(up);
    if (stale && attempt_stale_connection(request)) {
        return;
    }
    relay_on_broken(request, fault);
}

// An edge that is used up is made to come again, in the next turn.
static int ask_for_event(struct upstream *up)
{
    struct loop *loop = up->worker->loop;
    int rc = loop_io_mod(loop, &up->io, EPOLLIN | EPOLLRDHUP | EPOLLET);
    return rc == 0 ? loop_io_mod(loop, &up->io, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET) : rc;
}

// ---- sending ------------------------------------------------------------------------------------

// Writes the framing that comes next: the size line of a chunk for `size` bytes, or the last chunk.
static void frame_next(struct upstream *up, uint64_t size)
{
    size_t len = 0;
    struct slice last = up->exchange.request->body_last;
    if (size == 0 && last.ptr != NULL) {
        up->out_last_text = slice_skip(last, up->out_chunked ? 0 : 2);
        up->out_last = true;
        up->out_chunked = true;
        up->out_frame_len = up->out_last_text.len;
        up->out_frame_sent = 0;
        return;
    }
    if (up->out_chunked) {
        up->out_frame[len++] = '\r'; // ends the chunk before
        up->out_frame[len++] = '\n';
    }
    if (size != 0) {
        len += h1_chunk_head(up->out_frame + len, size);
    } else {
        last = H1_LAST_CHUNK;
        memcpy(up->out_frame + len, last.ptr, last.len);
        len += last.len;
        up->out_last = true;
    }
    up->out_chunked = true;
    up->out_chunk = size;
    up->out_frame_len = len;
    up->out_frame_sent = 0;
}

static size_t sum_of(const struct iovec *iov, int count)
{
    size_t sum = 0;
    for (int i = 0; i < count; i++) {
        sum += iov[i].iov_len;
    }
    return sum;
}

// Puts the framing behind the pieces of the head and before those of the body, which are cut to
// what the chunk has room for. Returns the new count.
static int insert_frame(struct upstream *up, struct iovec *iov, int count, int heads)
{
    int at = heads;
    for (int i = count; i > heads; i--) {
        iov[i] = iov[i - 1];
    }
    count++;
    const char *frame = up->out_last_text.ptr != NULL ? up->out_last_text.ptr : up->out_frame;
    iov[at] = (struct iovec){.iov_base = (void *)(uintptr_t)(frame + up->out_frame_sent),
                             .iov_len = up->out_frame_len - up->out_frame_sent};
    uint64_t room = up->out_chunk;
    for (at++; at < count && room != 0; at++) {
        iov[at].iov_len = (size_t)MIN_OF((uint64_t)iov[at].iov_len, room);
        room -= iov[at].iov_len;
    }
    return at;
}

// The next pieces of the message; 0: nothing to send now. *ret_head: bytes of the head among them.
static int next_pieces(struct upstream *up, struct iovec *iov, size_t *ret_head)
{
    struct request *request = up->exchange.request;
    int count = attempt_pieces(request, request->up_sent, iov, SEND_PIECES - 1);
    size_t head = attempt_head_left(request);
    *ret_head = head;
    if (!request->up_chunked) {
        return count;
    }
    if (up->out_chunk == 0 && up->out_frame_sent == up->out_frame_len && !up->out_last) {
        size_t ready = sum_of(iov, count) - head;
        if (ready != 0 || request->body_complete) {
            frame_next(up, ready);
        }
    }
    return insert_frame(up, iov, count, head != 0 ? 1 : 0);
}

// n bytes of those pieces went out.
static void note_sent(struct upstream *up, size_t n, size_t head)
{
    struct request *request = up->exchange.request;
    if (!request->up_chunked) {
        attempt_sent(request, n);
        return;
    }
    size_t of_head = MIN_OF(n, head);
    size_t of_frame = MIN_OF(n - of_head, up->out_frame_len - up->out_frame_sent);
    size_t of_body = n - of_head - of_frame;
    up->out_frame_sent += of_frame;
    up->out_chunk -= of_body;
    attempt_sent(request, of_head + of_body);
}

// A client that has said all ends its half of a tunnel; the server goes on as it likes.
static void end_tunnel(struct upstream *up)
{
    const struct request *request = up->exchange.request;
    if (request->tunnel && request->body_complete) {
        int rc = transport_flush(&up->transport);
        (void)rc; // what is wrong is found by reading
        transport_shutdown(&up->transport);
    }
}

static void upstream_send(struct exchange *exchange)
{
    struct upstream *up = upstream_of(exchange);
    if (up->state != UPSTREAM_ACTIVE) {
        return;
    }
    for (;;) {
        struct iovec iov[SEND_PIECES];
        size_t head;
        int count = next_pieces(up, iov, &head);
        size_t want = sum_of(iov, count);
        if (want == 0) {
            end_tunnel(up);
            return;
        }
        ssize_t n = transport_send(&up->transport, iov, count);
        if (n < 0) {
            // A broken pipe is found by reading: an early answer may still be there to be read.
            if (transport_has_failed(&up->transport)) {
                (void)ask_for_event(up);
            }
            return;
        }
        note_sent(up, (size_t)n, head);
        if ((size_t)n < want) {
            return; // full; EPOLLOUT continues
        }
    }
}

// ---- receiving ----------------------------------------------------------------------------------

// The response ended with trailers. False: they are too many, and the connection is gone.
static bool take_trailers(struct upstream *up)
{
    struct worker *worker = up->worker;
    ptrdiff_t count = trailers_parse(strbuf_slice(&up->trailers), worker->headers,
                                     worker->config->limits.max_headers);
    if (count < 0 || up->trailers.failed) {
        upstream_broken(up, count < 0 ? FAULT_UPSTREAM_PROTOCOL : FAULT_INTERNAL);
        return false;
    }
    relay_set_trailers(up->exchange.request, worker->headers, (size_t)count);
    return true;
}

// Handles [data, data + len) of the response's body. False: stop, the connection is gone or done.
static bool take_body(struct upstream *up, char *data, size_t len)
{
    struct request *request = up->exchange.request;
    size_t kept = 0;
    switch ((enum http_framing)up->framing) {
    case HTTP_FRAMING_NONE:
        up->framing_odd = len != 0;
        up->body_done = true;
        break;
    case HTTP_FRAMING_LENGTH:
        kept = len < up->left ? len : (size_t)up->left;
        up->left -= kept;
        up->body_done = up->left == 0;
        up->framing_odd = kept < len;
        break;
    case HTTP_FRAMING_CLOSE:
        kept = len;
        break;
    case HTTP_FRAMING_CHUNKED:
        // Decoded in place: the pieces move together.
        for (size_t at = 0; at < len && !up->chunked.done;) {
            struct slice piece;
            ptrdiff_t n = h1_chunked_decode(&up->chunked, data + at, len - at, &piece);
            if (n < 0) {
                metrics_reject(up->worker->metrics, (enum http_reject)-n);
                upstream_broken(up, FAULT_UPSTREAM_PROTOCOL);
                return false;
            }
            if (piece.len != 0) {
                memmove(data + kept, piece.ptr, piece.len);
                kept += piece.len;
            }
            at += (size_t)n;
            up->framing_odd = up->chunked.done && at < len;
        }
        up->body_done = up->chunked.done;
        break;
    }
    if (kept == 0 && !up->body_done) {
        return true;
    }
    if (up->body_done && up->trailers.len != 0 && !take_trailers(up)) {
        return false;
    }
    return relay_on_data(request, data, kept, up->body_done) && !up->body_done;
}

static ptrdiff_t parse_head(const struct request *request, char *buf, size_t len, size_t seen,
                            struct http_response *ret_response)
{
    struct worker *worker = request->worker;
    const struct h1_limits *limits = &worker->config->limits;
    if (request->head.upgrade.ptr != NULL) {
        return h1_parse_upgrade_response(buf, len, seen, limits, request->head.upgrade,
                                         worker->headers, ret_response);
    }
    return h1_parse_response(buf, len, seen, limits, request->head.method, worker->headers,
                             ret_response);
}

// Takes a response head from buf; *ret_used = 0 when it is not complete. False: stop.
static bool take_head(struct upstream *up, char *buf, size_t len, size_t seen, size_t *ret_used)
{
    const struct request *request = up->exchange.request;
    size_t at = 0;
    *ret_used = 0;
    for (;;) {
        struct http_response response;
        ptrdiff_t n = parse_head(request, buf + at, len - at, seen > at ? seen - at : 0, &response);
        if (n < 0) {
            metrics_reject(up->worker->metrics, (enum http_reject)-n);
            upstream_broken(up, FAULT_UPSTREAM_PROTOCOL);
            return false;
        }
        if (n == 0) {
            *ret_used = at;
            return true;
        }
        at += (size_t)n;
        bool tunnel = response.status == 101;
        if (response.status < 200 && !tunnel) {
            if (++up->interims > INTERIMS_MAX) {
                upstream_broken(up, FAULT_UPSTREAM_PROTOCOL);
                return false;
            }
            if (!relay_on_interim(up->exchange.request, &response)) {
                return false;
            }
            continue;
        }
        up->chunked.trailers = request->wants_trailers ? &up->trailers : NULL;
        up->head_done = true;
        up->keep_alive = response.keep_alive;
        up->framing = (uint8_t)(tunnel ? HTTP_FRAMING_CLOSE : response.framing);
        up->keep_alive = up->keep_alive && !tunnel;
        up->left = response.content_length;
        up->body_done = !tunnel && (response.framing == HTTP_FRAMING_NONE ||
                        (response.framing == HTTP_FRAMING_LENGTH && response.content_length == 0));
        *ret_used = at;
        return relay_on_head(up->exchange.request, &response);
    }
}

// len bytes arrived at data (in the worker's receive buffer). False: stop reading.
static bool take_bytes(struct upstream *up, char *data, size_t len)
{
    if (!up->head_done) {
        size_t used;
        if (up->partial_head.len != 0) {
            size_t seen = up->partial_head.len;
            strbuf_add(&up->partial_head, slice_of(data, len));
            if (up->partial_head.failed) {
                upstream_broken(up, FAULT_UPSTREAM_PROTOCOL);
                return false;
            }
            if (!take_head(up, up->partial_head.ptr, up->partial_head.len, seen, &used)) {
                return false;
            }
            if (up->head_done) {
                // What follows the head came with the last read, or it would have been complete
                // before: it fits the receive buffer.
                len = up->partial_head.len - used;
                memcpy(data, up->partial_head.ptr + used, len);
                strbuf_fini(&up->partial_head);
            } else {
                strbuf_consume(&up->partial_head, used);
                return true;
            }
        } else {
            if (!take_head(up, data, len, 0, &used)) {
                return false;
            }
            data += used;
            len -= used;
            if (!up->head_done) {
                strbuf_add(&up->partial_head, slice_of(data, len));
                return true;
            }
        }
        if (up->body_done) {
            up->framing_odd = len != 0;
            bool alive = relay_on_data(up->exchange.request, data, 0, true);
            BUG_ON(alive);
            return false;
        }
    }
    return len == 0 || take_body(up, data, len);
}

static void take_end(struct upstream *up, bool error)
{
    if (up->head_done && up->framing == HTTP_FRAMING_CLOSE && !error) {
        up->body_done = true;
        up->keep_alive = false;
        char *nothing = worker_receive_buffer(up->worker);
        bool alive = relay_on_data(up->exchange.request, nothing, 0, true);
        BUG_ON(alive); // a complete response ends the exchange
        return;
    }
    upstream_broken(up, FAULT_UPSTREAM_RESET);
}

static void upstream_read(struct upstream *up)
{
    struct worker *worker = up->worker;
    for (int i = 0; i < READS_A_TURN; i++) {
        if (up->exchange.paused) {
            return;
        }
        char *data = worker_receive_buffer(worker);
        ssize_t n = transport_recv(&up->transport, data, SCRATCH_SIZE);
        if (n == -EAGAIN) {
            return;
        }
        if (n <= 0) {
            take_end(up, n < 0);
            return;
        }
        up->got_bytes = true;
        up->more_unread = !transport_is_drained(&up->transport, (size_t)n, SCRATCH_SIZE);
        metrics_add(worker->metrics, METRIC_UPSTREAM_BYTES_IN, (uint64_t)n);
        if (!take_bytes(up, data, (size_t)n)) {
            return;
        }
        // A short read means that the socket is empty; the edge for more will come. But the end of
        // the stream may have been signalled already.
        if (transport_is_drained(&up->transport, (size_t)n, SCRATCH_SIZE) && !up->hung_up) {
            return;
        }
    }
    // Others wait, and the socket still has data.
    if (ask_for_event(up) != 0) {
        upstream_broken(up, FAULT_INTERNAL);
    }
}

static void upstream_resume(struct exchange *exchange)
{
    struct upstream *up = upstream_of(exchange);
    up->exchange.paused = false;
    upstream_read(up);
}

// False: it failed, and the connection is gone.
static bool finish_connect(struct upstream *up)
{
    int error = 0;
    socklen_t len = sizeof(error);
    if (getsockopt(up->io.fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0) {
        error = errno;
    }
    if (error != 0) {
        struct request *request = up->exchange.request;
        request->up = NULL;
        upstream_close(up);
        relay_on_connect_failed(request, error);
        return false;
    }
    up->state = UPSTREAM_SHAKING;
    return true;
}

// False: hands are not shaken yet, or the connection is gone.
static bool shake(struct upstream *up)
{
    int rc = upstream_tls_shake(up->worker, &up->transport, up->endpoint);
    if (rc == 0) {
        up->state = UPSTREAM_ACTIVE;
        relay_on_connected(up->exchange.request);
    } else if (rc != -EAGAIN) {
        struct request *request = up->exchange.request;
        request->up = NULL;
        upstream_close(up);
        relay_on_tls_failed(request);
    }
    return rc == 0;
}

static void upstream_on_io(struct io *io, uint32_t events, void *arg)
{
    (void)io;
    struct upstream *up = arg;
    if (up->state == UPSTREAM_IDLE) {
        // Anything but a late "writable" means that the server closed, or spoke out of turn.
        if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0 ||
            ((events & EPOLLIN) != 0 && !transport_is_silent(&up->transport))) {
            upstream_close(up);
        }
        return;
    }
    if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
        up->hung_up = true;
    }
    if (up->state == UPSTREAM_CONNECTING) {
        if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) == 0 || !finish_connect(up)) {
            return;
        }
    }
    if (up->state == UPSTREAM_SHAKING) {
        if (!shake(up)) {
            return;
        }
        events |= EPOLLOUT;
    }
    if ((events & EPOLLOUT) != 0) {
        upstream_send(&up->exchange);
    }
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0 ||
        transport_has_pending(&up->transport)) {
        upstream_read(up);
    }
}

static void upstream_give_up(struct exchange *exchange)
{
    struct upstream *up = upstream_of(exchange);
    if (exchange->request->tunnel) {
        transport_spoil(&up->transport); // neither side has ended it
    }
    upstream_close(up);
}

static const struct exchange_ops upstream_h1_exchange = {
    .send = upstream_send,
    .resume = upstream_resume,
    .release = upstream_release,
    .close = upstream_give_up,
};
