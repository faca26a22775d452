#include "scrape/fetch.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "http/h1.h"

enum {
    HEADERS_MAX = 64,
    // With what came in one piece with its end.
    HEAD_BUFFER_MAX = FETCH_HEAD_MAX + FETCH_BUFFER_SIZE,
};

enum fetch_state {
    FETCH_IDLE = 0,
    FETCH_CONNECTING,
    FETCH_SENDING,
    FETCH_HEAD,
    FETCH_BODY,
    FETCH_FAILED, // to be told at the end of the loop's turn
};

struct fetch {
    const struct fetch_context *context;
    struct sockaddr_storage address;
    socklen_t address_len;
    fetch_body_fn *body;
    fetch_done_fn *done;
    void *arg;
    struct io io;
    int fd; // -1: not connected
    enum fetch_state state;
    struct timer timer;
    struct task fail;
    int fail_rc;
    struct slice request;
    size_t sent;
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
    if (fetch->fd >= 0) {
        loop_io_del(fetch->context->loop, &fetch->io);
        close(fetch->fd);
        fetch->fd = -1;
    }
}

static void fetch_end(struct fetch *fetch, int rc)
{
    loop_timer_cancel(fetch->context->loop, &fetch->timer);
    if (rc != 0 || !fetch->keep_alive) {
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

// 0, or -errno when it failed at once.
static int fetch_connect(struct fetch *fetch)
{
    if (address_guard_check(fetch->context->guard, &fetch->address) != ADDRESS_ORDINARY) {
        return -EACCES;
    }
    int fd = socket(fetch->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    int rc = 0;
    if (connect(fd, (const struct sockaddr *)&fetch->address, fetch->address_len) != 0 &&
        errno != EINPROGRESS) {
        rc = -errno;
    } else {
        rc = loop_io_add(fetch->context->loop, &fetch->io, fd, EPOLLIN | EPOLLOUT, on_io, fetch);
    }
    if (rc != 0) {
        close(fd);
        return rc;
    }
    fetch->fd = fd;
    fetch->reused = false;
    fetch->state = FETCH_CONNECTING;
    return 0;
}

// 0, 1 when the socket is full, or -errno.
static int fetch_send(struct fetch *fetch)
{
    while (fetch->sent < fetch->request.len) {
        ssize_t n = send(fetch->fd, fetch->request.ptr + fetch->sent,
                         fetch->request.len - fetch->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return errno == EAGAIN ? 1 : -errno;
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
        rc = fetch_connect(fetch);
    }
    if (rc != 0) {
        fetch_end(fetch, rc);
    }
}

static void on_writable(struct fetch *fetch)
{
    if (fetch->state == FETCH_CONNECTING) {
        int error = 0;
        socklen_t len = sizeof(error);
        getsockopt(fetch->fd, SOL_SOCKET, SO_ERROR, &error, &len);
        if (error != 0) {
            fetch_end(fetch, -error);
            return;
        }
        fetch->state = FETCH_SENDING;
    }
    int rc = fetch_send(fetch);
    if (rc == 0) {
        rc = loop_io_mod(fetch->context->loop, &fetch->io, EPOLLIN);
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
        n = recv(fetch->fd, buffer, FETCH_BUFFER_SIZE, 0);
        if (n <= 0) {
            break;
        }
        int rc = fetch->state == FETCH_HEAD ? take_response(fetch, buffer, (size_t)n)
                                            : take_body(fetch, slice_of(buffer, (size_t)n));
        if (rc != 0) {
            fetch_end(fetch, rc < 0 ? rc : 0);
            return;
        }
    } while (n == FETCH_BUFFER_SIZE);
    if (n == 0) {
        on_end_of_stream(fetch);
    } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
        fetch_broke(fetch, -errno);
    }
}

static void on_io(struct io *io, uint32_t events, void *arg)
{
    (void)io;
    struct fetch *fetch = arg;
    if (fetch->state == FETCH_IDLE || fetch->state == FETCH_FAILED) {
        fetch_close(fetch); // closed by the other side, or it speaks unasked
    } else if (fetch->state == FETCH_CONNECTING || fetch->state == FETCH_SENDING) {
        on_writable(fetch);
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

struct fetch *fetch_new(const struct fetch_context *context, const struct sockaddr_storage *address,
                        socklen_t address_len, fetch_body_fn *body, fetch_done_fn *done, void *arg)
{
    struct fetch *fetch = calloc(1, sizeof(*fetch));
    if (fetch != NULL) {
        fetch->context = context;
        fetch->address = *address;
        fetch->address_len = address_len;
        fetch->body = body;
        fetch->done = done;
        fetch->arg = arg;
        fetch->fd = -1;
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
        strbuf_fini(&fetch->head);
        free(fetch);
    }
}

int fetch_get(struct fetch *fetch, struct slice request, uint64_t timeout_ms)
{
    if (fetch->state != FETCH_IDLE) {
        return -EBUSY;
    }
    fetch->request = request;
    fetch->sent = 0;
    loop_timer_set(fetch->context->loop, &fetch->timer, timeout_ms, on_timeout, fetch);
    int rc = 0;
    if (fetch->fd < 0) {
        rc = fetch_connect(fetch);
    } else {
        fetch->state = FETCH_SENDING;
        rc = fetch_send(fetch);
        if (rc == 1) {
            rc = loop_io_mod(fetch->context->loop, &fetch->io, EPOLLIN | EPOLLOUT);
        }
        if (rc < 0) { // closed meanwhile
            fetch_close(fetch);
            fetch->sent = 0;
            rc = fetch_connect(fetch);
        }
    }
    if (rc != 0) {
        fail_later(fetch, rc);
    }
    return 0;
}
