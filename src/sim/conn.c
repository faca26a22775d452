#include "sim/conn.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#include "sim/exchange.h"

enum {
    MAX_HEADERS = 100,
    IN_MAX = 256 * 1024,
    OUT_MAX = 64 * 1024 * 1024,
    READ_TIMEOUT_MS = 60 * 1000, // a request must come within this
};

static void conn_free(struct task *task, void *arg)
{
    (void)task;
    struct sim_conn *conn = arg;
    strbuf_fini(&conn->in);
    strbuf_fini(&conn->out);
    free(conn);
}

// A server with a thread for each connection, and few of them, lets the others wait unread, health
// checks too: so it was seen of llama.cpp.
static void take_thread(struct sim_conn *conn)
{
    uint32_t limit = conn->pod->server->options->http_threads;
    conn->waits = limit > 0 && conn->pod->busy_threads >= limit;
    conn->pod->busy_threads += !conn->waits;
}

// The connection has left the pod's list; the one that waited longest is next.
static void give_thread(struct sim_conn *conn)
{
    struct sim_pod *pod = conn->pod;
    if (conn->waits) {
        return;
    }
    pod->busy_threads--;
    if (pod->server->options->http_threads == 0) {
        return;
    }
    list_for_each(&pod->conns, at) {
        struct sim_conn *next = container_of(at, struct sim_conn, node);
        if (next->waits) {
            next->waits = false;
            pod->busy_threads++;
            sim_conn_resume(next);
            return;
        }
    }
}

void sim_conn_close(struct sim_conn *conn)
{
    if (conn->closed) {
        return;
    }
    conn->closed = true;
    struct sim_pod *pod = conn->pod;
    struct loop *loop = pod->server->loop;
    loop_timer_cancel(loop, &conn->idle_timer);
    loop_task_cancel(loop, &conn->resume_task);
    int fd = conn->io.fd;
    loop_io_del(loop, &conn->io);
    close(fd);
    list_remove(&conn->node);
    pod->conn_count--;
    give_thread(conn);
    if (conn->exchange != NULL) {
        struct sim_exchange *exchange = conn->exchange;
        conn->exchange = NULL;
        sim_exchange_client_gone(exchange);
    }
    loop_task_set(loop, &conn->free_task, conn_free, conn);
    sim_server_maybe_exit(pod->server);
}

void sim_conn_reset(struct sim_conn *conn)
{
    if (conn->closed) {
        return;
    }
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(conn->io.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    sim_conn_close(conn);
}

// ---- out ------------------------------------------------------------------------------------

// How much of the data went out; -1 when the connection is dead.
static ssize_t try_send(struct sim_conn *conn, struct slice data)
{
    size_t sent = 0;
    while (sent < data.len) {
        ssize_t n = send(conn->io.fd, data.ptr + sent, data.len - sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return errno == EAGAIN ? (ssize_t)sent : -1;
        }
        sent += (size_t)n;
    }
    return (ssize_t)sent;
}

void sim_conn_send(struct sim_conn *conn, struct slice data)
{
    if (conn->closed || data.len == 0) {
        return;
    }
    if (conn->out.len == 0) {
        ssize_t sent = try_send(conn, data);
        if (sent < 0) {
            sim_conn_close(conn);
            return;
        }
        data = slice_skip(data, (size_t)sent);
    }
    strbuf_add(&conn->out, data);
    if (conn->out.failed) {
        sim_conn_reset(conn);
    }
}

// What was kept. False when something is left.
static bool flush(struct sim_conn *conn)
{
    if (conn->out.len == 0) {
        return true;
    }
    ssize_t sent = try_send(conn, strbuf_slice(&conn->out));
    if (sent < 0) {
        sim_conn_close(conn);
        return false;
    }
    strbuf_consume(&conn->out, (size_t)sent);
    return conn->out.len == 0;
}

// ---- in -------------------------------------------------------------------------------------

static void refuse(struct sim_conn *conn, enum http_reject reason)
{
    struct strbuf *out = &conn->pod->server->out;
    struct slice text = slice_of_str(http_reject_text(reason));
    strbuf_reset(out);
    h1_write_status(out, http_reject_status(reason));
    h1_write_header(out, SLICE("content-type"), SLICE("text/plain; charset=utf-8"));
    h1_write_header_u64(out, SLICE("content-length"), text.len);
    h1_write_header(out, SLICE("connection"), SLICE("close"));
    h1_write_header(out, SLICE("x-sim-pod"), slice_of_str(conn->pod->name));
    h1_write_end(out);
    strbuf_add(out, text);
    sim_conn_send(conn, strbuf_slice(out));
    conn->closing = true;
}

// A head at the start of buf. > 0 consumed, 0 more needed or refused (closing is set).
static size_t take_head(struct sim_conn *conn, char *buf, size_t len)
{
    struct http_header headers[MAX_HEADERS];
    struct http_request request;
    ptrdiff_t rc = h1_parse_request(buf, len, conn->in_seen, &H1_LIMITS_DEFAULT, headers, &request);
    if (rc == 0) {
        conn->in_seen = len;
        return 0;
    }
    conn->in_seen = 0;
    if (rc < 0) {
        refuse(conn, (enum http_reject)-rc);
        return 0;
    }
    conn->served = true;
    conn->exchange = sim_exchange_new(conn, &request);
    if (conn->exchange == NULL) {
        sim_conn_reset(conn);
        return 0;
    }
    conn->is_chunked = request.framing == HTTP_FRAMING_CHUNKED;
    conn->body_left = request.framing == HTTP_FRAMING_LENGTH ? request.content_length : 0;
    conn->in_body = conn->is_chunked || conn->body_left > 0;
    conn->chunked = (struct h1_chunked){0};
    if (conn->in_body && request.expect_continue) {
        sim_conn_send(conn, SLICE("HTTP/1.1 100 Continue\r\n\r\n"));
    }
    if (!conn->in_body && !conn->closed) {
        sim_exchange_begin(conn->exchange);
    }
    return (size_t)rc;
}

// Bytes of a body. Returns what was consumed.
static size_t take_body(struct sim_conn *conn, const char *buf, size_t len)
{
    struct slice data;
    size_t used;
    bool complete;
    if (conn->is_chunked) {
        ptrdiff_t rc = h1_chunked_decode(&conn->chunked, buf, len, &data);
        if (rc < 0) {
            struct sim_exchange *exchange = conn->exchange;
            conn->exchange = NULL;
            sim_exchange_client_gone(exchange);
            refuse(conn, (enum http_reject)-rc);
            return 0;
        }
        used = (size_t)rc;
        complete = conn->chunked.done;
    } else {
        used = (size_t)MIN_OF((uint64_t)len, conn->body_left);
        data = slice_of(buf, used);
        conn->body_left -= used;
        complete = conn->body_left == 0;
    }
    sim_exchange_body(conn->exchange, data);
    if (complete && !conn->closed) {
        conn->in_body = false;
        sim_exchange_begin(conn->exchange);
    }
    return used;
}

// Everything that can be consumed now; stops while an answer is under way.
static size_t consume(struct sim_conn *conn, char *buf, size_t len)
{
    size_t used = 0;
    conn->consuming = true;
    while (used < len && !conn->closed && !conn->closing) {
        size_t n;
        if (conn->in_body) {
            n = take_body(conn, buf + used, len - used);
        } else if (conn->exchange == NULL) {
            n = take_head(conn, buf + used, len - used);
        } else {
            break;
        }
        if (n == 0) {
            break;
        }
        used += n;
    }
    conn->consuming = false;
    return used;
}

static void on_idle(struct timer *timer, void *arg)
{
    (void)timer;
    sim_conn_close(arg);
}

static void set_idle_timer(struct sim_conn *conn)
{
    struct loop *loop = conn->pod->server->loop;
    if (conn->exchange != NULL && !conn->in_body) {
        loop_timer_cancel(loop, &conn->idle_timer);
        return;
    }
    bool between = conn->served && conn->exchange == NULL && conn->in.len == 0;
    uint64_t ms = between ? conn->pod->server->options->keep_alive_ms : READ_TIMEOUT_MS;
    if (ms > 0) {
        loop_timer_set(loop, &conn->idle_timer, ms, on_idle, conn);
    }
}

static void receive(struct sim_conn *conn)
{
    char *scratch = conn->pod->server->in;
    if (conn->in.len > 0) {
        size_t used = consume(conn, conn->in.ptr, conn->in.len);
        strbuf_consume(&conn->in, used);
    }
    while (conn->readable && !conn->closed && !conn->closing &&
           (conn->exchange == NULL || conn->in_body)) {
        ssize_t n = recv(conn->io.fd, scratch, SIM_IN_SIZE, 0);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            conn->readable = false;
            break;
        }
        if (n <= 0) {
            sim_conn_close(conn);
            return;
        }
        // A short read has emptied the socket (epoll(7)); more comes with a new event.
        conn->readable = n == SIM_IN_SIZE || conn->peer_closed;
        if (conn->in.len == 0) {
            size_t used = consume(conn, scratch, (size_t)n);
            strbuf_add(&conn->in, slice_of(scratch + used, (size_t)n - used));
        } else {
            strbuf_add(&conn->in, slice_of(scratch, (size_t)n));
            strbuf_consume(&conn->in, consume(conn, conn->in.ptr, conn->in.len));
        }
        if (conn->in.failed) {
            sim_conn_reset(conn);
            return;
        }
    }
    if (conn->in.len == 0 && conn->in.cap > SIM_IN_SIZE / 4) {
        strbuf_fini(&conn->in);
        strbuf_init(&conn->in, IN_MAX);
    }
}

// After anything happened: go on reading, notice a client that left, close what is to be closed.
static void proceed(struct sim_conn *conn)
{
    if (!conn->closed && !conn->closing && !conn->waits && !conn->pod->hang) {
        receive(conn);
    }
    if (conn->closed || conn->waits) {
        return;
    }
    // A half-close counts as leaving, as it does for the servers that are imitated.
    if (conn->peer_closed && conn->exchange != NULL) {
        sim_conn_close(conn);
        return;
    }
    conn->closing = conn->closing || (conn->peer_closed && !conn->pod->hang);
    if (conn->closing && conn->out.len == 0) {
        sim_conn_close(conn);
        return;
    }
    set_idle_timer(conn);
}

static void on_io(struct io *io, uint32_t events, void *arg)
{
    (void)io;
    struct sim_conn *conn = arg;
    if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
        sim_conn_close(conn);
        return;
    }
    if ((events & EPOLLIN) != 0) {
        conn->readable = true;
    }
    if ((events & EPOLLRDHUP) != 0) {
        conn->peer_closed = true;
        conn->readable = true;
    }
    if ((events & EPOLLOUT) != 0 && conn->out.len > 0 && flush(conn) && conn->exchange != NULL) {
        sim_exchange_pump(conn->exchange);
    }
    proceed(conn);
}

static void on_resume(struct task *task, void *arg)
{
    (void)task;
    proceed(arg);
}

void sim_conn_resume(struct sim_conn *conn)
{
    if (!conn->closed) {
        loop_task_set(conn->pod->server->loop, &conn->resume_task, on_resume, conn);
    }
}

void sim_conn_done(struct sim_conn *conn, bool keep_alive)
{
    conn->exchange = NULL;
    if (conn->closed) {
        return;
    }
    if (!keep_alive) {
        conn->closing = true;
        if (conn->out.len == 0 && !conn->consuming) {
            sim_conn_close(conn);
        }
        return;
    }
    if (!conn->consuming && (conn->in.len > 0 || conn->readable || conn->peer_closed)) {
        loop_task_set(conn->pod->server->loop, &conn->resume_task, on_resume, conn);
    }
    set_idle_timer(conn);
}

void sim_conn_accept(struct sim_pod *pod, int fd)
{
    struct sim_conn *conn = calloc(1, sizeof(*conn));
    if (conn == NULL) {
        close(fd);
        return;
    }
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    conn->pod = pod;
    strbuf_init(&conn->in, IN_MAX);
    strbuf_init(&conn->out, OUT_MAX);
    if (loop_io_add(pod->server->loop, &conn->io, fd,
                    EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, on_io, conn) != 0) {
        close(fd);
        free(conn);
        return;
    }
    list_push_back(&pod->conns, &conn->node);
    pod->conn_count++;
    pod->connections++;
    conn->readable = true;
    take_thread(conn);
    proceed(conn);
}
