#include "load/pool.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

void load_pool_init(struct load_pool *pool, struct loop *loop, const struct load_target *target)
{
    *pool = (struct load_pool){.loop = loop, .target = target};
    list_init(&pool->idle);
}

void load_pool_fini(struct load_pool *pool)
{
    while (!list_empty(&pool->idle)) {
        load_conn_close(container_of(pool->idle.next, struct load_conn, node));
    }
}

// A byte or an end on an idle connection: it is of no use any more.
static void conn_ready(UNUSED struct io *io, uint32_t events, void *arg)
{
    struct load_conn *conn = arg;
    if (conn->cb != NULL) {
        conn->cb(conn, events, conn->arg);
    } else {
        load_conn_close(conn);
    }
}

struct load_conn *load_pool_take(struct load_pool *pool)
{
    if (list_empty(&pool->idle)) {
        return NULL;
    }
    struct load_conn *conn = container_of(pool->idle.next, struct load_conn, node);
    list_remove(&conn->node);
    return conn;
}

struct load_conn *load_pool_open(struct load_pool *pool, int *ret_errno)
{
    const struct load_addresses *addresses = &pool->target->addresses;
    const struct sockaddr *address = (const struct sockaddr *)&addresses->items[pool->address];
    struct load_conn *conn = calloc(1, sizeof(*conn));
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (conn == NULL || fd < 0) {
        *ret_errno = conn == NULL ? ENOMEM : errno;
        goto fail;
    }
    int one = 1; // without it small requests would wait for the peer's acknowledgements
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(fd, address, addresses->lens[pool->address]) != 0 && errno != EINPROGRESS) {
        *ret_errno = errno;
        goto fail;
    }
    conn->pool = pool;
    conn->connecting = true;
    list_init(&conn->node);
    int rc = loop_io_add(pool->loop, &conn->io, fd, EPOLLOUT, conn_ready, conn);
    if (rc != 0) {
        *ret_errno = -rc;
        goto fail;
    }
    return conn;
fail:
    if (fd >= 0) {
        close(fd);
    }
    free(conn);
    return NULL;
}

void load_pool_give(struct load_conn *conn)
{
    conn->cb = NULL;
    conn->reused = true;
    // The one used last is the least likely to be closed by the server.
    list_push_front(&conn->pool->idle, &conn->node);
}

void load_conn_close(struct load_conn *conn)
{
    list_remove(&conn->node);
    loop_io_del(conn->pool->loop, &conn->io);
    close(conn->io.fd);
    free(conn);
}

void load_conn_use(struct load_conn *conn, load_conn_cb *cb, void *arg)
{
    conn->cb = cb;
    conn->arg = arg;
}

int load_conn_connected(struct load_conn *conn, bool *ret_try_next)
{
    struct load_pool *pool = conn->pool;
    int error = 0;
    socklen_t len = sizeof(error);
    if (getsockopt(conn->io.fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0) {
        error = errno;
    }
    *ret_try_next = false;
    if (error == 0) {
        conn->connecting = false;
        pool->reached = true;
        return loop_io_mod(pool->loop, &conn->io, EPOLLIN);
    }
    if (!pool->reached && pool->address + 1 < pool->target->addresses.len) {
        pool->address++;
        *ret_try_next = true;
    }
    return -error;
}

ssize_t load_conn_send(struct load_conn *conn, struct slice data)
{
    ssize_t n = send(conn->io.fd, data.ptr, data.len, MSG_NOSIGNAL);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR) {
            return -errno;
        }
        n = 0;
    }
    uint32_t wanted = (size_t)n < data.len ? EPOLLIN | EPOLLOUT : EPOLLIN;
    if (wanted != conn->io.events) {
        int rc = loop_io_mod(conn->pool->loop, &conn->io, wanted);
        if (rc != 0) {
            return rc;
        }
    }
    return n;
}
