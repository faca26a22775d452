#include "proxy/downstream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "observe/metrics.h"
#include "proxy/body.h"
#include "proxy/request.h"
#include "proxy/worker.h"

enum { FREE_DOWNSTREAMS_MAX = 256, READS_A_TURN = 16, OUT_KEEP = 4096 };
enum { DRAIN_LAST_REQUEST_MS = 500 };

static void downstream_on_io(struct io *io, uint32_t events, void *arg);
static void downstream_on_timer(struct timer *timer, void *arg);
static bool downstream_read(struct downstream *down);

static void set_deadline(struct downstream *down, uint32_t in_ms)
{
    uint64_t now = worker_now_ms(down->worker);
    down->deadline_ms = now + in_ms;
    // A timer that fires earlier than needed finds the later deadline; one that would fire too late
    // must move.
    if (!timer_is_set(&down->timer) || down->timer.deadline_ms > down->deadline_ms) {
        loop_timer_set(down->worker->loop, &down->timer, in_ms, downstream_on_timer, down);
    }
}

static struct downstream *downstream_alloc(struct worker *worker)
{
    struct downstream *down;
    if (!list_empty(&worker->free_downstreams)) {
        down = list_first(&worker->free_downstreams, struct downstream, node);
        list_remove(&down->node);
        worker->free_downstream_count--;
    } else {
        down = malloc(sizeof(*down));
    }
    return down;
}

void downstream_accept(struct worker *worker, int fd, const char *peer)
{
    struct downstream *down = downstream_alloc(worker);
    if (down == NULL) {
        close(fd);
        metrics_add(worker->metrics, METRIC_ACCEPT_FAILURES, 1);
        return;
    }
    *down = (struct downstream){.worker = worker};
    snprintf(down->peer, sizeof(down->peer), "%s", peer);
    strbuf_init(&down->in, worker->config->limits.max_head_bytes + SCRATCH_SIZE);
    strbuf_init(&down->out, DOWNSTREAM_OUT_MAX);
    list_push_back(&worker->downstreams, &down->node);
    atomic_fetch_add_explicit(&worker->downstream_count, 1, memory_order_relaxed);
    metrics_add(worker->metrics, METRIC_CONNECTIONS, 1);
    // Edge-triggered, once for all: no epoll_ctl while the connection lives.
    if (loop_io_add(worker->loop, &down->io, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                    downstream_on_io, down) != 0) {
        down->io.fd = fd;
        downstream_close(down);
        return;
    }
    set_deadline(down, worker->config->idle_timeout_ms);
}

void downstream_reap(struct worker *worker)
{
    list_for_each(&worker->closed_downstreams, node) {
        list_remove(node);
        if (worker->free_downstream_count < FREE_DOWNSTREAMS_MAX) {
            list_push_front(&worker->free_downstreams, node);
            worker->free_downstream_count++;
        } else {
            free(container_of(node, struct downstream, node));
        }
    }
}

static void on_reap(struct task *task, void *arg)
{
    (void)task;
    downstream_reap(arg);
}

void downstream_close(struct downstream *down)
{
    struct worker *worker = down->worker;
    BUG_ON(down->request != NULL);
    if (down->closed) {
        return;
    }
    down->closed = true;
    loop_io_del(worker->loop, &down->io);
    loop_timer_cancel(worker->loop, &down->timer);
    loop_task_cancel(worker->loop, &down->resume);
    close(down->io.fd);
    strbuf_fini(&down->in);
    strbuf_fini(&down->out);
    list_remove(&down->node);
    // Callers up the stack may still look at `closed`: the memory goes at the end of the turn.
    list_push_back(&worker->closed_downstreams, &down->node);
    loop_task_set(worker->loop, &worker->reap, on_reap, worker);
    worker_connection_closed(worker);
}

// Keeps what the socket did not take: skips `sent` bytes of the vector, copies the rest.
static int keep_unsent(struct downstream *down, const struct iovec *iov, int count, size_t sent)
{
    bool was_empty = down->out.len == 0;
    for (int i = 0; i < count; i++) {
        if (sent >= iov[i].iov_len) {
            sent -= iov[i].iov_len;
            continue;
        }
        strbuf_add(&down->out, slice_of((char *)iov[i].iov_base + sent, iov[i].iov_len - sent));
        sent = 0;
    }
    if (was_empty && down->out.len != 0) {
        down->progress_ms = worker_now_ms(down->worker);
    }
    return down->out.failed ? -ENOBUFS : 0;
}

int downstream_send(struct downstream *down, struct iovec *iov, int count)
{
    size_t total = 0;
    for (int i = 0; i < count; i++) {
        total += iov[i].iov_len;
    }
    down->bytes_out += total;
    metrics_add(down->worker->metrics, METRIC_BYTES_OUT, total);
    if (down->out.len != 0) {
        return keep_unsent(down, iov, count, 0);
    }
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = (size_t)count};
    ssize_t n;
    do {
        n = count == 1 ? send(down->io.fd, iov[0].iov_base, iov[0].iov_len, MSG_NOSIGNAL)
                       : sendmsg(down->io.fd, &message, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
        return -errno;
    }
    size_t sent = n > 0 ? (size_t)n : 0;
    return sent == total ? 0 : keep_unsent(down, iov, count, sent);
}

// Answered and nothing more to send: shut for writing, then wait for the client to stop, so that
// unread bytes do not turn into a reset that destroys the answer (RFC 9112 section 9.6).
static void start_linger(struct downstream *down)
{
    down->state = DOWNSTREAM_LINGER;
    down->lingered = 0;
    strbuf_fini(&down->in);
    shutdown(down->io.fd, SHUT_WR);
    set_deadline(down, DOWNSTREAM_LINGER_MS);
}

// Sends what waits. False: the connection is closed.
static bool flush_out(struct downstream *down)
{
    while (down->out.len != 0) {
        ssize_t n = send(down->io.fd, down->out.ptr, down->out.len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return true;
        }
        if (n < 0) {
            if (down->request != NULL) {
                request_abort(down->request, FAULT_CLIENT_ABORT);
            } else {
                downstream_close(down);
            }
            return false;
        }
        down->progress_ms = worker_now_ms(down->worker);
        strbuf_consume(&down->out, (size_t)n);
    }
    if (down->out.cap > OUT_KEEP) {
        strbuf_fini(&down->out);
    }
    return true;
}

// The next request, when its bytes are here already. Called with none running.
static void next_request(struct downstream *down);

// A client that pipelines gets its next answer when it has taken the one before: answers do not
// pile up here.
static bool answer_pending(const struct downstream *down)
{
    return down->out.len != 0 && down->state != DOWNSTREAM_LINGER;
}

// `in` holds more than the beginning of a head: it comes first, before more is read.
static bool kept_for_later(const struct downstream *down)
{
    return down->request == NULL && down->in.len != 0 && down->state != DOWNSTREAM_HEAD;
}

static void on_resume(struct task *task, void *arg)
{
    (void)task;
    struct downstream *down = arg;
    if (down->request == NULL && answer_pending(down)) {
        return; // set again once it is sent
    }
    if (down->request == NULL) {
        next_request(down);
    } else if (down->readable || down->in.len != 0) {
        downstream_read(down);
    }
}

void downstream_want_body(struct downstream *down)
{
    loop_task_set(down->worker->loop, &down->resume, on_resume, down);
}

void downstream_request_done(struct downstream *down, bool keep_alive, bool unread)
{
    down->request = NULL;
    down->requests++;
    down->bytes_in = 0;
    down->bytes_out = 0;
    if (!keep_alive || down->hung_up) {
        down->close_after = true;
        if (down->out.len != 0) {
            down->state = DOWNSTREAM_LINGER; // sends first; see downstream_on_io
            set_deadline(down, down->worker->config->write_timeout_ms);
        } else if ((unread || down->surplus || down->readable) && !down->hung_up) {
            start_linger(down);
        } else {
            downstream_close(down);
        }
        return;
    }
    down->state = DOWNSTREAM_IDLE;
    // In a drain, too, when the answer began before it and so did not say that this is the end: the
    // client may be sending its next request, and shall not find the connection closed on it. That
    // answer says so.
    set_deadline(down, down->worker->draining ? DRAIN_LAST_REQUEST_MS
                                              : down->worker->config->idle_timeout_ms);
    if (down->in.len != 0 || down->readable) {
        loop_task_set(down->worker->loop, &down->resume, on_resume, down);
    } else {
        strbuf_fini(&down->in);
    }
}

// Parses a request at buf[0..len). Returns the bytes used; 0 when the head is not complete;
// -1 when nothing more is to be read (refused or closed).
static ptrdiff_t take_request(struct downstream *down, char *buf, size_t len, size_t seen)
{
    struct worker *worker = down->worker;
    struct http_request head;
    ptrdiff_t n =
        h1_parse_request(buf, len, seen, &worker->config->limits, worker->headers, &head);
    if (n < 0) {
        request_refuse(down, (enum http_reject)-n, FAULT_BAD_REQUEST);
        return -1;
    }
    if (n == 0) {
        if (down->state == DOWNSTREAM_IDLE) {
            down->state = DOWNSTREAM_HEAD;
            set_deadline(down, worker->config->header_timeout_ms);
        }
        return 0;
    }
    down->state = DOWNSTREAM_REQUEST;
    down->deadline_ms = 0;
    size_t used = 0;
    request_begin(down, &head, buf, (size_t)n, len, &used);
    return down->closed ? -1 : (ptrdiff_t)used;
}

// Gives bytes to whatever is going on. Returns how many were used, or -1: stop.
static ptrdiff_t feed(struct downstream *down, char *data, size_t len, size_t seen)
{
    if (down->state == DOWNSTREAM_LINGER) {
        down->lingered += len;
        if (down->lingered > DOWNSTREAM_LINGER_BYTES && down->out.len == 0) {
            downstream_close(down);
            return -1;
        }
        return (ptrdiff_t)len;
    }
    if (down->request == NULL) {
        return answer_pending(down) ? 0 : take_request(down, data, len, seen);
    }
    if (!request_wants_body(down->request)) {
        return 0; // pipelined: waits its turn
    }
    ptrdiff_t used = body_take(down->request, data, len);
    return down->closed ? -1 : used;
}

// One request at a time from what `in` holds. False: stop.
static bool feed_kept(struct downstream *down)
{
    while (down->in.len != 0) {
        bool had_request = down->request != NULL;
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
        if (used == 0 || (had_request && down->request == NULL)) {
            break; // incomplete, paused, or ended: the next one starts from the loop
        }
    }
    if (kept_for_later(down)) {
        loop_task_set(down->worker->loop, &down->resume, on_resume, down);
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
        downstream_read(down);
    }
}

// How full may `in` get before the socket is left alone? Enough for a head; a body goes on to the
// request.
static bool in_full(const struct downstream *down)
{
    return down->in.len >= down->worker->config->limits.max_head_bytes;
}

// True when the bytes were handled and more may be read.
static bool take_read(struct downstream *down, char *data, size_t len)
{
    down->bytes_in += len;
    metrics_add(down->worker->metrics, METRIC_BYTES_IN, len);
    if (down->in.len == 0) {
        ptrdiff_t used = feed(down, data, len, 0);
        if (used < 0) {
            return false;
        }
        if ((size_t)used < len) {
            strbuf_add(&down->in, slice_of(data + used, len - (size_t)used));
            down->head_seen = down->state == DOWNSTREAM_HEAD ? down->in.len : 0;
            if (kept_for_later(down)) {
                loop_task_set(down->worker->loop, &down->resume, on_resume, down);
            }
        }
    } else {
        strbuf_add(&down->in, slice_of(data, len));
        if (!down->in.failed && !feed_kept(down)) {
            return false;
        }
    }
    if (down->in.failed) {
        if (down->request != NULL) {
            request_abort(down->request, FAULT_INTERNAL);
        } else {
            downstream_close(down);
        }
        return false;
    }
    return true;
}

// The peer closed its side. A client that does so while it waits has gone (as nginx and HAProxy
// with abortonclose see it); nothing it would still read is produced for it.
static void on_hang_up(struct downstream *down)
{
    down->hung_up = true;
    if (down->request != NULL) {
        request_abort(down->request, FAULT_CLIENT_ABORT);
    } else if (down->out.len == 0) {
        downstream_close(down);
    } else if (down->state != DOWNSTREAM_LINGER) {
        down->state = DOWNSTREAM_LINGER; // its last answer is complete: the rest of it is sent
        set_deadline(down, down->worker->config->write_timeout_ms);
    }
}

// Reads until the socket is empty or nobody wants more. False: stop.
static bool downstream_read(struct downstream *down)
{
    if (down->in.len != 0 && !feed_kept(down)) {
        return false;
    }
    for (int i = 0; i < READS_A_TURN; i++) {
        bool wanted = down->request != NULL ? request_wants_body(down->request)
                                            : !answer_pending(down) && !kept_for_later(down);
        if ((!wanted && !down->hung_up) || (!wanted && in_full(down))) {
            down->readable = true; // look again when it is wanted
            return true;
        }
        char *data = worker_receive_buffer(down->worker);
        ssize_t n = recv(down->io.fd, data, SCRATCH_SIZE, 0);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            down->readable = false;
            return true;
        }
        if (n <= 0) {
            on_hang_up(down);
            return false;
        }
        if (!take_read(down, data, (size_t)n)) {
            return false;
        }
        if ((size_t)n < SCRATCH_SIZE && !down->hung_up) {
            down->readable = false;
            return true;
        }
    }
    down->readable = true; // others wait: go on in the next turn
    loop_task_set(down->worker->loop, &down->resume, on_resume, down);
    return true;
}

static void downstream_on_io(struct io *io, uint32_t events, void *arg)
{
    (void)io;
    struct downstream *down = arg;
    if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
        if (down->request != NULL) {
            on_hang_up(down);
        } else {
            downstream_close(down); // nothing can be sent any more
        }
        return;
    }
    if ((events & EPOLLOUT) != 0 && down->out.len != 0) {
        if (!flush_out(down)) {
            return;
        }
        if (down->out.len == 0) {
            if (down->state == DOWNSTREAM_LINGER) {
                start_linger(down);
            } else if (down->request != NULL) {
                request_on_writable(down->request);
                if (down->closed) {
                    return;
                }
            } else if (down->in.len != 0 || down->readable) {
                loop_task_set(down->worker->loop, &down->resume, on_resume, down);
            }
        }
    }
    if ((events & EPOLLRDHUP) != 0) {
        down->hung_up = true;
        if (down->request != NULL && !request_wants_body(down->request)) {
            on_hang_up(down);
            return;
        }
    }
    if ((events & (EPOLLIN | EPOLLRDHUP)) != 0) {
        downstream_read(down);
    }
}

static bool progressed_lately(const struct downstream *down)
{
    return worker_now_ms(down->worker) - down->progress_ms < down->worker->config->write_timeout_ms;
}

static void on_deadline(struct downstream *down)
{
    switch (down->state) {
    case DOWNSTREAM_HEAD:
        request_refuse(down, HTTP_REJECT_NONE, FAULT_HEADER_TIMEOUT);
        break;
    case DOWNSTREAM_IDLE:
    case DOWNSTREAM_LINGER:
        if (down->out.len != 0 && progressed_lately(down)) {
            set_deadline(down, down->worker->config->write_timeout_ms);
            break;
        }
        downstream_close(down);
        break;
    case DOWNSTREAM_REQUEST: // the request has its own timer
        break;
    }
}

static void downstream_on_timer(struct timer *timer, void *arg)
{
    struct downstream *down = arg;
    uint64_t now = worker_now_ms(down->worker);
    if (down->deadline_ms == 0) {
        return;
    }
    if (down->deadline_ms > now) {
        loop_timer_set(down->worker->loop, timer, down->deadline_ms - now, downstream_on_timer,
                       down);
        return;
    }
    down->deadline_ms = 0;
    on_deadline(down);
}

void downstream_drain(struct downstream *down)
{
    // A request may lie in the socket, its edge not seen yet: it is served.
    if (down->state == DOWNSTREAM_IDLE && !downstream_read(down)) {
        return;
    }
    if (down->state != DOWNSTREAM_IDLE || down->closed) {
        return;
    }
    if (down->requests == 0) {
        // Just accepted: its first request is on the way, and is its last.
        set_deadline(down, down->worker->config->header_timeout_ms);
    } else if (down->out.len != 0) {
        down->state = DOWNSTREAM_LINGER; // sends the rest of its last answer first
        set_deadline(down, down->worker->config->write_timeout_ms);
    } else {
        downstream_close(down);
    }
}
