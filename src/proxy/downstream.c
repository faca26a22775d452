#include "proxy/downstream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/h1.h"
#include "observe/metrics.h"
#include "proxy/admit.h"
#include "proxy/client_tls.h"
#include "proxy/downstream_h2.h"
#include "proxy/preface.h"
#include "proxy/worker.h"

enum { FREE_DOWNSTREAMS_MAX = 256, OUT_KEEP = 4096 };

static void downstream_on_io(struct io *io, uint32_t events, void *arg);
static void downstream_on_timer(struct timer *timer, void *arg);

void downstream_set_deadline(struct downstream *down, uint32_t in_ms)
{
    struct loop *loop = down->stream.worker->loop;
    down->deadline_ms = loop_now_ms(loop) + in_ms;
    // A timer that fires earlier than needed finds the later deadline; one that would fire too late
    // must move.
    if (!timer_is_set(&down->timer) || down->timer.deadline_ms > down->deadline_ms) {
        loop_timer_set(loop, &down->timer, in_ms, downstream_on_timer, down);
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

void downstream_begin(struct downstream *down)
{
    const struct proxy_config *config = down->stream.worker->config;
    bool tls = down->transport.tls != NULL;
    down->protocol = tls ? &downstream_tls : &downstream_h1;
    downstream_set_deadline(down, tls ? config->header_timeout_ms : config->idle_timeout_ms);
}

void downstream_accept(struct worker *worker, int fd, const char *peer, uint32_t address_slot,
                       bool tls)
{
    bool http2 = worker->config->http2;
    struct tls_conn *conn = tls ? tls_server_accept(worker->tls.server, fd, http2) : NULL;
    struct downstream *down = !tls || conn != NULL ? downstream_alloc(worker) : NULL;
    if (down == NULL) {
        tls_conn_free(conn);
        close(fd);
        admit_gone(worker, address_slot);
        metrics_add(worker->metrics, METRIC_ACCEPT_FAILURES, 1);
        return;
    }
    *down = (struct downstream){
        .stream = {.ops = &downstream_h1_stream,
                   .worker = worker,
                   .peer = down->peer,
                   .who = &down->client},
        .protocol = &downstream_h1,
        .transport = {.fd = fd, .tls = conn},
        .accepted_ms = worker_now_ms(worker),
        .address_slot = address_slot,
    };
    snprintf(down->peer, sizeof(down->peer), "%s", peer);
    strbuf_init(&down->in, worker->config->limits.max_head_bytes + SCRATCH_SIZE);
    strbuf_init(&down->out, DOWNSTREAM_OUT_MAX);
    list_push_back(&worker->downstreams, &down->node);
    atomic_fetch_add_explicit(&worker->downstream_count, 1, memory_order_relaxed);
    metrics_add(worker->metrics, METRIC_CONNECTIONS, 1);
    // Edge-triggered, once for all: no epoll_ctl while the connection lives.
    if (loop_io_add(worker->loop, &down->io, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                    downstream_on_io, down) != 0) {
        downstream_close(down);
        return;
    }
    switch (preface_of(worker->config, down->peer)) {
    case PREFACE_NONE:
        downstream_begin(down);
        break;
    case PREFACE_WAIT:
        down->protocol = &downstream_preface;
        downstream_set_deadline(down, worker->config->header_timeout_ms);
        break;
    case PREFACE_REFUSED:
        metrics_add(worker->metrics, METRIC_PROXY_PROTOCOL_ERRORS, 1);
        downstream_close(down);
        break;
    }
}

bool downstream_charge(struct downstream *down)
{
    struct worker *worker = down->stream.worker;
    uint64_t holds = down->in.cap + down->out.cap;
    if (down->h2 != NULL) {
        holds += downstream_h2_holds(down->h2);
    }
    worker->buffered_bytes += holds - down->charged;
    down->charged = holds;
    return worker->buffered_bytes <= worker->config->max_buffered_bytes;
}

void downstream_reap(struct worker *worker)
{
    downstream_h2_reap(worker);
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
    struct worker *worker = down->stream.worker;
    BUG_ON(down->stream.request != NULL);
    if (down->stream.closed) {
        return;
    }
    down->stream.closed = true;
    loop_io_del(worker->loop, &down->io);
    loop_timer_cancel(worker->loop, &down->timer);
    loop_task_cancel(worker->loop, &down->resume);
    client_tls_free(down->tls);
    down->tls = NULL;
    transport_close(&down->transport);
    admit_gone(worker, down->address_slot);
    strbuf_fini(&down->in);
    strbuf_fini(&down->out);
    strbuf_fini(&down->trailers);
    (void)downstream_charge(down);
    drain_skip(worker, down);
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
        down->stream.progress_ms = worker_now_ms(down->stream.worker);
    }
    (void)downstream_charge(down); // what was promised is kept; who comes next is refused
    return down->out.failed ? -ENOBUFS : 0;
}

int downstream_send(struct downstream *down, struct iovec *iov, int count)
{
    size_t total = 0;
    for (int i = 0; i < count; i++) {
        total += iov[i].iov_len;
    }
    down->stream.bytes_out += total;
    metrics_add(down->stream.worker->metrics, METRIC_BYTES_OUT, total);
    if (down->out.len != 0) {
        return keep_unsent(down, iov, count, 0);
    }
    ssize_t n = transport_send(&down->transport, iov, count);
    if (n < 0 && n != -EAGAIN) {
        return (int)n;
    }
    size_t sent = n > 0 ? (size_t)n : 0;
    return sent == total ? 0 : keep_unsent(down, iov, count, sent);
}

// Sends what waits. False: the connection is closed.
static bool flush_out(struct downstream *down)
{
    while (down->out.len != 0) {
        struct iovec iov = {.iov_base = down->out.ptr, .iov_len = down->out.len};
        ssize_t n = transport_send(&down->transport, &iov, 1);
        if (n == -EAGAIN) {
            return true;
        }
        if (n < 0) {
            down->protocol->on_broken(down);
            return false;
        }
        down->stream.progress_ms = worker_now_ms(down->stream.worker);
        strbuf_consume(&down->out, (size_t)n);
    }
    if (down->out.cap > OUT_KEEP) {
        strbuf_fini(&down->out);
    }
    (void)downstream_charge(down);
    int rc = transport_flush(&down->transport);
    if (rc != 0 && rc != -EAGAIN) {
        down->protocol->on_broken(down);
        return false;
    }
    return true;
}

// Something waits for the socket to be writable.
static bool has_unsent(const struct downstream *down)
{
    return down->out.len != 0 || transport_wants_write(&down->transport);
}

static void downstream_on_io(struct io *io, uint32_t events, void *arg)
{
    (void)io;
    struct downstream *down = arg;
    if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
        down->protocol->on_broken(down);
        return;
    }
    if ((events & EPOLLOUT) != 0 && has_unsent(down)) {
        if (!flush_out(down)) {
            return;
        }
        if (!has_unsent(down)) {
            down->protocol->on_writable(down);
            if (down->stream.closed) {
                return;
            }
        }
    }
    if ((events & (EPOLLIN | EPOLLRDHUP)) != 0) {
        down->protocol->on_readable(down, events);
    }
}

bool downstream_progressed_lately(const struct downstream *down)
{
    const struct worker *worker = down->stream.worker;
    return worker_now_ms(worker) - down->stream.progress_ms < worker->config->write_timeout_ms;
}

static void downstream_on_timer(struct timer *timer, void *arg)
{
    struct downstream *down = arg;
    struct loop *loop = down->stream.worker->loop;
    uint64_t now = loop_now_ms(loop);
    if (down->deadline_ms == 0) {
        return;
    }
    if (down->deadline_ms > now) {
        loop_timer_set(loop, timer, down->deadline_ms - now, downstream_on_timer, down);
        return;
    }
    down->deadline_ms = 0;
    down->protocol->on_deadline(down);
}
