#include "scrape/fetch.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/h1.h"
#include "scrape/fetch_tls.h"

enum {
    HEADERS_MAX = 64,
    // With what came in one piece with its end.
    HEAD_BUFFER_MAX = FETCH_HEAD_MAX + FETCH_BUFFER_SIZE,
};

enum fetch_state {
    FETCH_IDLE = 0,
    FETCH_CONNECTING,
    FETCH_SHAKING,
    FETCH_SENDING,
    FETCH_HEAD,
    FETCH_BODY,
    FETCH_FAILED, // to be told at the end of the loop's turn
};

struct fetch {
    const struct fetch_context *context;
    struct fetch_server server;
    fetch_body_fn *body;
    fetch_done_fn *done;
    void *arg;
    struct io io;
    struct transport transport; // fd -1: not connected
    uint32_t events;            // that the loop tells of
    enum fetch_state state;
    char why[FETCH_WHY_MAX];    // of what TLS said of the last failure, or ""
    struct timer timer;
    struct task fail;
    int fail_rc;
    struct slice request;
    size_t sent;
    bool only_connect; // there is no request
    bool reused;      // the connection served a request before, so it may have been closed since
    struct strbuf head; // only when it came in pieces
    unsigned status;
    bool keep_alive;
    enum http_framing framing;
    uint64_t left; // of a body with a length
    struct h1_chunked chunked;
};

static void on_io(struct io *io, uint32_t events, void *arg);

static void fetch_close(struct fetch *fetch)
{
    if (fetch->transport.fd >= 0) {
        loop_io_del(fetch->context->loop, &fetch->io);
        transport_close(&fetch->transport);
    }
}

// Asks the loop for these events. 0 or -errno.
static int fetch_want(struct fetch *fetch, uint32_t events)
{
    int rc = events == fetch->events ? 0
                                     : loop_io_mod(fetch->context->loop, &fetch->io, events);
    fetch->events = rc == 0 ? events : fetch->events;
    return rc;
}

// What TLS knows of a failure, before its connection is closed. Returns the code to tell.
static int fetch_blame(struct fetch *fetch, int rc)
{
    const struct tls_conn *tls = fetch->transport.tls;
    enum tls_fault fault = tls != NULL ? tls_conn_fault(tls) : TLS_FAULT_NONE;
    if (rc == -ETIMEDOUT && fetch->state == FETCH_SHAKING) {
        fault = TLS_FAULT_TIMEOUT;
    }
    if (fault == TLS_FAULT_NONE) {
        return rc;
    }
    const char *text =
        fault == TLS_FAULT_TIMEOUT ? tls_fault_text(fault) : tls_conn_error(tls);
    snprintf(fetch->why, sizeof(fetch->why), "TLS: %s", text);
    fetch_tls_failed(fetch->context->tls, fault);
    return -EKEYREJECTED;
}

static void fetch_end(struct fetch *fetch, int rc)
{
    loop_timer_cancel(fetch->context->loop, &fetch->timer);
    rc = rc != 0 ? fetch_blame(fetch, rc) : 0;
    if (rc != 0 || !fetch->keep_alive || fetch->server.is_once) {
        fetch_close(fetch);
    }
    if (fetch->head.cap > 0) {
        strbuf_fini(&fetch->head); // rarely needed
        strbuf_init(&fetch->head, HEAD_BUFFER_MAX);
    }
    fetch->reused = true;
    fetch->state = FETCH_IDLE;
    fetch->done(fetch->arg, rc, rc == 0 ? fetch->status : 0);
}

// ---- connecting and sending ----

static void on_fail(struct task *task, void *arg)
{
    (void)task;
    struct fetch *fetch = arg;
    fetch_end(fetch, fetch->fail_rc);
}

static void fail_later(struct fetch *fetch, int rc)
{
    fetch->fail_rc = rc;
    fetch->state = FETCH_FAILED;
    loop_task_set(fetch->context->loop, &fetch->fail, on_fail, fetch);
}

static int begin_tls(struct fetch *fetch)
{
    const char *why = "TLS: the backend's configuration of it cannot be used";
    struct error err = ERROR_INIT;
    if (!fetch->server.is_tls) {
        return 0;
    }
    if (fetch->context->tls != NULL && fetch->server.tls != NULL) {
        if (fetch_tls_begin(fetch->context->tls, &fetch->transport, fetch->server.tls,
                            (const struct sockaddr *)&fetch->server.address, &err) == 0) {
            return 0;
        }
        why = err.text;
    }
    snprintf(fetch->why, sizeof(fetch->why), "%.*s", (int)sizeof(fetch->why) - 1, why);
    return -EKEYREJECTED;
}

static int begin_connect(struct fetch *fetch, int fd)
{
    const struct sockaddr *address = (const struct sockaddr *)&fetch->server.address;
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(fd, address, fetch->server.address_len) != 0 && errno != EINPROGRESS) {
        return -errno;
    }
    int rc = begin_tls(fetch);
    fetch->events = EPOLLIN | EPOLLOUT;
    return rc != 0 ? rc
                   : loop_io_add(fetch->context->loop, &fetch->io, fd, fetch->events, on_io, fetch);
}

// 0, or -errno when it failed at once.
static int fetch_dial(struct fetch *fetch)
{
    if (address_guard_check(fetch->context->guard, &fetch->server.address) != ADDRESS_ORDINARY) {
        return -EACCES;
    }
    int fd = socket(fetch->server.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
                    0);
    if (fd < 0) {
        return -errno;
    }
    fetch->transport.fd = fd;
    int rc = begin_connect(fetch, fd);
    if (rc != 0) {
        transport_close(&fetch->transport);
        return rc;
    }
    fetch->reused = false;
    fetch->state = FETCH_CONNECTING;
    return 0;
}

// 0, 1 when the socket is full, or -errno.
static int fetch_send(struct fetch *fetch)
{
    while (fetch->sent < fetch->request.len) {
        struct slice rest = slice_skip(fetch->request, fetch->sent);
        struct iovec iov = {.iov_base = (char *)(uintptr_t)rest.ptr, .iov_len = rest.len};
        ssize_t n = transport_send(&fetch->transport, &iov, 1);
        if (n < 0) {
            return n == -EAGAIN ? 1 : (int)n;
        }
        fetch->sent += (size_t)n;
    }
    fetch->state = FETCH_HEAD;
    return 0;
}

// Fails, unless a connection from before was closed by the other side in the meantime.
static void fetch_broke(struct fetch *fetch, int rc)
{
    bool again = fetch->reused && fetch->head.len == 0 &&
                 (fetch->state == FETCH_SENDING || fetch->state == FETCH_HEAD);
    if (again) {
        fetch_close(fetch);
        fetch->sent = 0;
        rc = fetch_dial(fetch);
    }
    if (rc != 0) {
        fetch_end(fetch, rc);
    }
}

static void on_ready(struct fetch *fetch)
{
    fetch->status = 0;
    fetch->keep_alive = false;
    fetch_end(fetch, 0);
}

// 0: the connection is there, hands are shaken; 1: not yet; or -errno.
static int go_on_connecting(struct fetch *fetch)
{
    if (fetch->state == FETCH_CONNECTING) {
        int error = 0;
        socklen_t len = sizeof(error);
        getsockopt(fetch->transport.fd, SOL_SOCKET, SO_ERROR, &error, &len);
        if (error != 0) {
            return -error;
        }
        fetch->state = FETCH_SHAKING;
    }
    if (fetch->transport.tls != NULL) {
        int rc = fetch_tls_shake(fetch->context->tls, &fetch->transport);
        if (rc == -EAGAIN) {
            bool writes = transport_wants_write(&fetch->transport);
            rc = fetch_want(fetch, writes ? EPOLLIN | EPOLLOUT : EPOLLIN);
            return rc != 0 ? rc : 1;
        }
        if (rc != 0) {
            return rc;
        }
    }
    fetch->state = FETCH_SENDING;
    return 0;
}

static void on_writable(struct fetch *fetch)
{
    if (fetch->state != FETCH_SENDING) {
        int rc = go_on_connecting(fetch);
        if (rc < 0) {
            fetch_end(fetch, rc);
        } else if (rc == 0 && fetch->only_connect) {
            on_ready(fetch);
            return;
        }
        if (rc != 0) {
            return;
        }
    }
    int rc = fetch_send(fetch);
    if (rc >= 0) {
        rc = fetch_want(fetch, rc == 0 ? EPOLLIN : EPOLLIN | EPOLLOUT);
    }
    if (rc < 0) {
        fetch_broke(fetch, rc);
    }
}

// ---- reading ----

// Takes body bytes. 0 = more to come, 1 = the response is complete, < 0 = -errno.
static int take_body(struct fetch *fetch, struct slice data)
{
    if (fetch->framing == HTTP_FRAMING_LENGTH) {
        bool too_much = data.len > fetch->left;
        data = slice_first(data, (size_t)MIN_OF((uint64_t)data.len, fetch->left));
        fetch->left -= data.len;
        fetch->keep_alive = fetch->keep_alive && !too_much; // we asked for nothing more
        if (data.len > 0 && !fetch->body(fetch->arg, data)) {
            return -EFBIG;
        }
        return fetch->left == 0;
    }
    if (fetch->framing == HTTP_FRAMING_CLOSE) {
        return data.len > 0 && !fetch->body(fetch->arg, data) ? -EFBIG : 0;
    }
    while (data.len > 0 && !fetch->chunked.done) {
        struct slice piece;
        ptrdiff_t used = h1_chunked_decode(&fetch->chunked, data.ptr, data.len, &piece);
        if (used <= 0) {
            return -EPROTO;
        }
        if (piece.len > 0 && !fetch->body(fetch->arg, piece)) {
            return -EFBIG;
        }
        data = slice_skip(data, (size_t)used);
    }
    fetch->keep_alive = fetch->keep_alive && data.len == 0;
    return fetch->chunked.done;
}

// We ask for no encoding and know none.
static bool is_encoded(const struct http_response *response)
{
    const struct http_header *encoding = http_header_find(
        response->headers, response->header_count, HTTP_TOKEN_CONTENT_ENCODING);
    return encoding != NULL && !slice_ieq(encoding->value, SLICE("identity"));
}

static int take_head(struct fetch *fetch, const struct http_response *response)
{
    if (response->status == 200 && is_encoded(response)) {
        return -ENOTSUP;
    }
    fetch->status = response->status;
    fetch->keep_alive = response->keep_alive;
    fetch->framing = response->framing;
    fetch->left = response->content_length;
    memset(&fetch->chunked, 0, sizeof(fetch->chunked));
    fetch->state = FETCH_BODY;
    return response->framing == HTTP_FRAMING_NONE;
}

// Bytes of the head and what follows it; as take_body.
static int take_response(struct fetch *fetch, char *data, size_t len)
{
    static const struct h1_limits limits = {
        .max_head_bytes = FETCH_HEAD_MAX, .max_headers = HEADERS_MAX, .max_target_bytes = 0};
    struct http_header headers[HEADERS_MAX];
    struct http_response response;
    size_t seen = 0;
    if (fetch->head.len > 0) {
        seen = fetch->head.len;
        strbuf_add(&fetch->head, slice_of(data, len));
        if (fetch->head.failed) {
            return -EPROTO;
        }
        data = fetch->head.ptr;
        len = fetch->head.len;
    }
    for (;;) {
        ptrdiff_t used = h1_parse_response(data, len, seen, &limits, HTTP_METHOD_GET, headers,
                                           &response);
        if (used < 0) {
            return -EPROTO;
        }
        if (used == 0) {
            break;
        }
        data += used;
        len -= (size_t)used;
        seen = 0;
        if (response.status >= 200) {
            int rc = take_head(fetch, &response);
            return rc != 0 ? rc : take_body(fetch, slice_of(data, len));
        }
    }
    if (fetch->head.len == 0) { // keep what there is; else it is there already
        strbuf_add(&fetch->head, slice_of(data, len));
    } else {
        strbuf_consume(&fetch->head, fetch->head.len - len);
    }
    return fetch->head.failed ? -EPROTO : 0;
}

static void on_end_of_stream(struct fetch *fetch)
{
    if (fetch->state == FETCH_BODY && fetch->framing == HTTP_FRAMING_CLOSE) {
        fetch->keep_alive = false;
        fetch_end(fetch, 0);
    } else {
        fetch_broke(fetch, -ECONNRESET);
    }
}

static void on_readable(struct fetch *fetch)
{
    char *buffer = fetch->context->buffer;
    ssize_t n;
    do {
        n = transport_recv(&fetch->transport, buffer, FETCH_BUFFER_SIZE);
        if (n <= 0) {
            break;
        }
        int rc = fetch->state == FETCH_HEAD ? take_response(fetch, buffer, (size_t)n)
                                            : take_body(fetch, slice_of(buffer, (size_t)n));
        if (rc != 0) {
            fetch_end(fetch, rc < 0 ? rc : 0);
            return;
        }
    } while (!transport_is_drained(&fetch->transport, (size_t)n, FETCH_BUFFER_SIZE));
    if (n == 0) {
        on_end_of_stream(fetch);
    } else if (n < 0 && n != -EAGAIN) {
        fetch_broke(fetch, (int)n);
    }
}

static void on_io(struct io *io, uint32_t events, void *arg)
{
    (void)io;
    struct fetch *fetch = arg;
    if (fetch->state == FETCH_IDLE || fetch->state == FETCH_FAILED) {
        if (fetch->state == FETCH_FAILED || !transport_is_silent(&fetch->transport)) {
            fetch_close(fetch); // closed by the other side, or it speaks unasked
        }
    } else if (fetch->state <= FETCH_SENDING) {
        on_writable(fetch);
        // What came with the end of the handshake, no event tells of.
        if (fetch->state == FETCH_HEAD && transport_has_pending(&fetch->transport)) {
            on_readable(fetch);
        }
    } else if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
        on_readable(fetch);
    }
}

static void on_timeout(struct timer *timer, void *arg)
{
    (void)timer;
    fetch_end(arg, -ETIMEDOUT);
}

// ---- interface ----

struct fetch *fetch_new(const struct fetch_context *context, const struct fetch_server *server,
                        fetch_body_fn *body, fetch_done_fn *done, void *arg)
{
    struct fetch *fetch = calloc(1, sizeof(*fetch));
    if (fetch != NULL) {
        fetch->context = context;
        fetch->server = *server;
        server_tls_ref(server->tls);
        fetch->body = body;
        fetch->done = done;
        fetch->arg = arg;
        fetch->transport.fd = -1;
        strbuf_init(&fetch->head, HEAD_BUFFER_MAX);
    }
    return fetch;
}

void fetch_free(struct fetch *fetch)
{
    if (fetch != NULL) {
        loop_timer_cancel(fetch->context->loop, &fetch->timer);
        loop_task_cancel(fetch->context->loop, &fetch->fail);
        fetch_close(fetch);
        server_tls_unref(fetch->server.tls);
        strbuf_fini(&fetch->head);
        free(fetch);
    }
}

static int begin(struct fetch *fetch, struct slice request, uint64_t timeout_ms)
{
    if (fetch->state != FETCH_IDLE) {
        return -EBUSY;
    }
    fetch->request = request;
    fetch->sent = 0;
    fetch->why[0] = '\0';
    loop_timer_set(fetch->context->loop, &fetch->timer, timeout_ms, on_timeout, fetch);
    return 0;
}

// On the connection that is there.
static int begin_sending(struct fetch *fetch)
{
    fetch->state = FETCH_SENDING;
    int rc = fetch_send(fetch);
    if (rc == 1) {
        rc = fetch_want(fetch, EPOLLIN | EPOLLOUT);
    }
    if (rc < 0) { // closed meanwhile
        fetch_close(fetch);
        fetch->sent = 0;
        rc = fetch_dial(fetch);
    }
    return rc;
}

int fetch_get(struct fetch *fetch, struct slice request, uint64_t timeout_ms)
{
    int rc = begin(fetch, request, timeout_ms);
    if (rc != 0) {
        return rc;
    }
    fetch->only_connect = false;
    rc = fetch->transport.fd < 0 ? fetch_dial(fetch) : begin_sending(fetch);
    if (rc != 0) {
        fail_later(fetch, rc);
    }
    return 0;
}

int fetch_connect(struct fetch *fetch, uint64_t timeout_ms)
{
    int rc = begin(fetch, SLICE_NULL, timeout_ms);
    if (rc != 0) {
        return rc;
    }
    fetch_close(fetch);
    fetch->only_connect = true;
    rc = fetch_dial(fetch);
    if (rc != 0) {
        fail_later(fetch, rc);
    }
    return 0;
}

const char *fetch_why(const struct fetch *fetch, int rc)
{
    switch (rc) {
    case -EKEYREJECTED:
        return fetch->why;
    case -EFBIG:
        return "the answer is too long";
    case -EPROTO:
        return "not a proper HTTP response";
    case -EACCES:
        return "an address that must not be connected to";
    case -ENOTSUP:
        return "compressed, though not asked for";
    default:
        return strerrordesc_np(-rc) != NULL ? strerrordesc_np(-rc) : "error";
    }
}
