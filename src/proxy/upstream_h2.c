#include "proxy/upstream_h2.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#include "observe/metrics.h"
#include "proxy/attempt.h"
#include "proxy/relay.h"
#include "proxy/upstream_h2_session.h"
#include "proxy/worker.h"

enum {
    READS_A_TURN = 16,
    OUT_MAX = 512 * 1024, // a batch of frames, and as much again
    BATCH = 64 * 1024,
    IDLE_MS = 60000,
};

static const struct exchange_ops h2_exchange_ops;
static void on_io(struct io *io, uint32_t events, void *arg);

static struct h2_exchange *h2_of(struct exchange *exchange)
{
    return container_of(exchange, struct h2_exchange, exchange);
}

// ---- life ---------------------------------------------------------------------------------------

static void schedule_flush(struct h2_client *client);

// Takes the connection out of sight: nobody finds it any more.
static void retire(struct h2_client *client)
{
    client->leaving = true;
    list_remove(&client->node);
    list_init(&client->node);
}

// Closes it; the requests on it hear of it afterwards, one by one, and start from a clean table.
static void client_close(struct h2_client *client, enum fault fault, int connect_error)
{
    struct worker *worker = client->worker;
    if (client->receiving) {
        client->doomed = fault != FAULT_NONE ? fault : FAULT_UPSTREAM_RESET;
        return;
    }
    retire(client);
    list_remove(&client->all_node); // a request that hears of it below may sweep what idles
    client->state = H2_CLIENT_CLOSED;
    nghttp2_session_del(client->session);
    client->session = NULL;
    loop_io_del(worker->loop, &client->io);
    loop_task_cancel(worker->loop, &client->flush);
    transport_close(&client->transport);
    while (!list_empty(&client->exchanges)) {
        struct h2_exchange *ex = list_first(&client->exchanges, struct h2_exchange, node);
        struct request *request = ex->exchange.request;
        bool stale = !ex->got_bytes && client->served != 0 && fault == FAULT_UPSTREAM_RESET;
        h2_exchange_forget(ex);
        request->up = NULL;
        if (fault == FAULT_UPSTREAM_TLS) {
            relay_on_tls_failed(request);
        } else if (connect_error != 0) {
            relay_on_connect_failed(request, connect_error);
        } else if (!stale || !attempt_stale_connection(request)) {
            relay_on_broken(request, fault);
        }
    }
    endpoint_unref(worker->config->endpoints, client->endpoint);
    strbuf_fini(&client->out);
    h2_head_fini(&client->head);
    free(client);
}

// ---- sending ------------------------------------------------------------------------------------

// Moves a batch of what nghttp2 has to say to `out`. (It may also tell of streams that have ended,
// whose requests go on elsewhere, and for that sweep what idles: not this one while it is here.)
static void fill_batch(struct h2_client *client)
{
    client->receiving = true;
    while (client->out.len < BATCH) {
        const uint8_t *data;
        ssize_t n = nghttp2_session_mem_send(client->session, &data);
        if (n <= 0) {
            client->out.failed = client->out.failed || n < 0;
            break;
        }
        strbuf_add(&client->out, slice_of((const char *)data, (size_t)n));
    }
    client->receiving = false;
}

// Sends what nghttp2 has to say. False: the connection is gone.
static bool flush(struct h2_client *client)
{
    for (;;) {
        fill_batch(client);
        if (client->out.failed || client->doomed != FAULT_NONE) {
            client_close(client, client->out.failed ? FAULT_INTERNAL : client->doomed, 0);
            return false;
        }
        if (client->out.len == 0) {
            break;
        }
        struct iovec iov = {.iov_base = client->out.ptr, .iov_len = client->out.len};
        ssize_t n = transport_send(&client->transport, &iov, 1);
        if (n < 0 && transport_has_failed(&client->transport)) {
            client_close(client, FAULT_UPSTREAM_RESET, 0);
            return false;
        }
        if (n < 0) {
            // A broken pipe is found by reading: an answer may still be there to be read.
            break;
        }
        strbuf_consume(&client->out, (size_t)n);
        if (client->out.len != 0) {
            break; // full; EPOLLOUT continues
        }
        strbuf_fini(&client->out);
    }
    bool over = !nghttp2_session_want_read(client->session) &&
                !nghttp2_session_want_write(client->session);
    if (over && client->out.len == 0) {
        client_close(client, FAULT_UPSTREAM_PROTOCOL, 0);
        return false;
    }
    return true;
}

static void on_flush(struct task *task, void *arg)
{
    (void)task;
    (void)flush(arg);
}

static void schedule_flush(struct h2_client *client)
{
    if (!client->receiving && client->state == H2_CLIENT_OPEN) {
        loop_task_set(client->worker->loop, &client->flush, on_flush, client);
    }
}

static void exchange_send(struct exchange *exchange)
{
    struct h2_exchange *ex = h2_of(exchange);
    if (ex->id >= 0 && ex->deferred) {
        ex->deferred = false;
        h2_client_must(ex->client, nghttp2_session_resume_data(ex->client->session, ex->id));
        schedule_flush(ex->client);
    }
}

// ---- receiving ----------------------------------------------------------------------------------

// False: the connection is gone.
static bool take_bytes(struct h2_client *client, const char *data, size_t len)
{
    metrics_add(client->worker->metrics, METRIC_UPSTREAM_BYTES_IN, len);
    client->receiving = true;
    ssize_t n = nghttp2_session_mem_recv(client->session, (const uint8_t *)data, len);
    client->receiving = false;
    enum fault fault = client->doomed;
    if (n == NGHTTP2_ERR_NOMEM || n == NGHTTP2_ERR_CALLBACK_FAILURE) {
        fault = FAULT_INTERNAL;
    } else if (n < 0) {
        fault = FAULT_UPSTREAM_PROTOCOL;
    }
    if (fault != FAULT_NONE) {
        client_close(client, fault, 0);
        return false;
    }
    return true;
}

static void client_read(struct h2_client *client)
{
    char *data = worker_receive_buffer(client->worker);
    for (int i = 0; i < READS_A_TURN; i++) {
        ssize_t n = transport_recv(&client->transport, data, SCRATCH_SIZE);
        if (n == -EAGAIN) {
            (void)flush(client);
            return;
        }
        if (n <= 0) {
            client_close(client, FAULT_UPSTREAM_RESET, 0);
            return;
        }
        if (!take_bytes(client, data, (size_t)n)) {
            return;
        }
        // A short read means that the socket is empty, but the end may have been told of already.
        if (transport_is_drained(&client->transport, (size_t)n, SCRATCH_SIZE) &&
            !client->hung_up) {
            (void)flush(client);
            return;
        }
    }
    // Others wait; the socket still has data and its edge is used up, so ask for a new one.
    struct loop *loop = client->worker->loop;
    if (flush(client) &&
        (loop_io_mod(loop, &client->io, EPOLLIN | EPOLLRDHUP | EPOLLET) != 0 ||
         loop_io_mod(loop, &client->io, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET) != 0)) {
        client_close(client, FAULT_INTERNAL, 0);
    }
}

// ---- connecting ---------------------------------------------------------------------------------

static struct exchange *attach(struct h2_client *client, struct request *request)
{
    struct h2_exchange *ex = calloc(1, sizeof(*ex));
    if (ex == NULL) {
        return NULL;
    }
    ex->exchange = (struct exchange){.ops = &h2_exchange_ops, .request = request};
    ex->client = client;
    ex->id = -1;
    list_push_back(&client->exchanges, &ex->node);
    client->exchange_count++;
    return &ex->exchange;
}

static size_t capacity(const struct h2_client *client)
{
    size_t cap = client->worker->config->http2_upstream_streams;
    if (!client->settled) {
        return cap;
    }
    uint32_t allowed = nghttp2_session_get_remote_settings(client->session,
                                                           NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    return MIN_OF(cap, (size_t)allowed);
}

// Whether this request can be said on it.
static bool suits(const struct h2_client *client, const struct request *request)
{
    return client->state != H2_CLIENT_OPEN || request->head.upgrade.ptr == NULL ||
           h2_client_takes_tunnels(client);
}

// A server that takes no tunnels has said so on a connection that is there.
static bool is_known_to_decline(struct list_node *siblings, const struct request *request)
{
    list_for_each(siblings, node) {
        const struct h2_client *client = container_of(node, struct h2_client, node);
        if (client->settled && !client->leaving && !suits(client, request)) {
            return true;
        }
    }
    return false;
}

static struct h2_client *find(struct worker *worker, uint32_t endpoint_id,
                              enum h2_client_state state, const struct request *request)
{
    struct list_node *head = endpoint_lists_at(&worker->h2_clients, endpoint_id);
    if (head == NULL) {
        return NULL;
    }
    struct upstream_pin pin = upstream_tls_pin(request);
    list_for_each(head, node) {
        struct h2_client *client = container_of(node, struct h2_client, node);
        if (client->state == state && !client->leaving && upstream_tls_same(&client->pin, &pin) &&
            client->exchange_count < capacity(client) && suits(client, request)) {
            return client;
        }
    }
    return NULL;
}

struct exchange *upstream_h2_reuse(struct worker *worker, const struct endpoint *endpoint,
                                   struct request *request)
{
    struct h2_client *client = find(worker, endpoint->id, H2_CLIENT_OPEN, request);
    struct exchange *exchange = client != NULL ? attach(client, request) : NULL;
    if (exchange == NULL) {
        return NULL;
    }
    if (h2_exchange_submit(h2_of(exchange)) != 0) {
        h2_exchange_forget(h2_of(exchange)); // as if there were no connection
        return NULL;
    }
    schedule_flush(client);
    metrics_add(worker->metrics, METRIC_UPSTREAM_REUSES, 1);
    return exchange;
}

static struct h2_client *client_new(struct worker *worker, struct endpoint *endpoint,
                                    struct list_node *siblings)
{
    struct h2_client *client = calloc(1, sizeof(*client));
    if (client == NULL) {
        return NULL;
    }
    client->worker = worker;
    client->endpoint = endpoint;
    client->transport.fd = -1;
    list_init(&client->exchanges);
    strbuf_init(&client->out, OUT_MAX);
    h2_head_init(&client->head, &worker->config->limits);
    if (h2_client_set_up(client) != 0) {
        nghttp2_session_del(client->session);
        free(client);
        return NULL;
    }
    endpoint_ref(endpoint);
    list_push_back(siblings, &client->node);
    list_push_back(&worker->h2_all, &client->all_node);
    return client;
}

// 0, or an errno.
static int start_connect(struct h2_client *client, const struct request *request)
{
    const struct endpoint *endpoint = client->endpoint;
    int fd = socket(endpoint->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return errno;
    }
    client->transport.fd = fd;
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    client->pin = upstream_tls_pin(request);
    int error = upstream_tls_begin(client->worker, &client->transport, endpoint, request);
    if (error != 0) {
        return error;
    }
    if (connect(fd, (const struct sockaddr *)&endpoint->address, endpoint->address_len) != 0 &&
        errno != EINPROGRESS) {
        return errno;
    }
    return -loop_io_add(client->worker->loop, &client->io, fd,
                        EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, on_io, client);
}

struct exchange *upstream_h2_open(struct worker *worker, struct endpoint *endpoint,
                                  struct request *request, int *ret_errno)
{
    struct h2_client *client = find(worker, endpoint->id, H2_CLIENT_CONNECTING, request);
    *ret_errno = ENOMEM;
    if (client != NULL) {
        return attach(client, request);
    }
    struct list_node *siblings = endpoint_lists_make(&worker->h2_clients, endpoint->id);
    if (siblings != NULL && is_known_to_decline(siblings, request)) {
        *ret_errno = EPROTONOSUPPORT;
        return NULL;
    }
    client = siblings != NULL ? client_new(worker, endpoint, siblings) : NULL;
    if (client == NULL) {
        return NULL;
    }
    int error = start_connect(client, request);
    struct exchange *exchange = error == 0 ? attach(client, request) : NULL;
    if (exchange == NULL) {
        *ret_errno = error != 0 ? error : ENOMEM;
        client_close(client, FAULT_CONNECT_FAILED, 0); // nobody is on it
        return NULL;
    }
    metrics_add(worker->metrics, METRIC_UPSTREAM_CONNECTS, 1);
    return exchange;
}

// Those who waited are on their way, but for tunnels, which the server must have allowed first.
static void on_open(struct h2_client *client)
{
    client->state = H2_CLIENT_OPEN;
    client->receiving = true; // one that fails may go on elsewhere, and sweep what idles for that
    h2_client_submit_all(client);
    client->receiving = false;
    schedule_flush(client);
}

static void shake(struct h2_client *client)
{
    int rc = upstream_tls_shake(client->worker, &client->transport, client->endpoint);
    if (rc == 0) {
        on_open(client);
        if (transport_has_pending(&client->transport)) {
            client_read(client); // came with the end of the handshake
        }
    } else if (rc != -EAGAIN) {
        client_close(client, FAULT_UPSTREAM_TLS, 0);
    }
}

static void finish_connect(struct h2_client *client)
{
    int error = 0;
    socklen_t len = sizeof(error);
    if (getsockopt(client->transport.fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0) {
        error = errno;
    }
    if (error != 0) {
        client_close(client, FAULT_CONNECT_FAILED, error);
        return;
    }
    client->connected = true;
    shake(client);
}

static void on_io(struct io *io, uint32_t events, void *arg)
{
    (void)io;
    struct h2_client *client = arg;
    client->hung_up = client->hung_up || (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    if (client->state == H2_CLIENT_CONNECTING) {
        // What is to be sent leaves at the end of the turn.
        if (client->connected) {
            shake(client);
        } else if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) {
            finish_connect(client);
        }
        return;
    }
    if ((events & EPOLLOUT) != 0 && client->out.len != 0 && !flush(client)) {
        return;
    }
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0 ||
        transport_has_pending(&client->transport)) {
        client_read(client);
    }
}

void upstream_h2_sweep(struct worker *worker, bool all)
{
    uint64_t now = worker_now_ms(worker);
    list_for_each(&worker->h2_all, node) {
        struct h2_client *client = container_of(node, struct h2_client, all_node);
        bool removed = atomic_load_explicit(&client->endpoint->removed, memory_order_relaxed);
        if (client->exchange_count == 0 && !client->receiving &&
            (all || removed || client->leaving || now - client->idle_since_ms >= IDLE_MS)) {
            (void)nghttp2_session_terminate_session(client->session, NGHTTP2_NO_ERROR);
            if (flush(client)) {
                client_close(client, FAULT_NONE, 0);
            }
        }
    }
}

// ---- what a request asks ------------------------------------------------------------------------

static void exchange_resume(struct exchange *exchange)
{
    struct h2_exchange *ex = h2_of(exchange);
    exchange->paused = false;
    if (ex->unconsumed != 0) {
        h2_client_must(ex->client, nghttp2_session_consume_stream(ex->client->session, ex->id,
                                                                  ex->unconsumed));
        ex->unconsumed = 0;
        schedule_flush(ex->client);
    }
}

static void exchange_close(struct exchange *exchange)
{
    struct h2_exchange *ex = h2_of(exchange);
    struct h2_client *client = ex->client;
    if (ex->id >= 0) {
        h2_client_must(client, nghttp2_submit_rst_stream(client->session, NGHTTP2_FLAG_NONE, ex->id,
                                                         NGHTTP2_CANCEL));
        schedule_flush(client);
    }
    h2_exchange_forget(ex);
    if (client->state == H2_CLIENT_CONNECTING && client->exchange_count == 0) {
        client_close(client, FAULT_NONE, 0); // nobody waits for it any more
    }
}

static void exchange_release(struct exchange *exchange, bool whole)
{
    struct h2_exchange *ex = h2_of(exchange);
    if (whole && ex->sent_end) {
        h2_exchange_forget(ex);
    } else {
        exchange_close(exchange); // answered before it had everything
    }
}

static const struct exchange_ops h2_exchange_ops = {
    .send = exchange_send,
    .resume = exchange_resume,
    .release = exchange_release,
    .close = exchange_close,
};
