// The BIO between OpenSSL and a descriptor.
//
// Reading: OpenSSL reads ahead into its own buffer, so a record costs one recv. After a short read
// the socket is taken to be empty and is not asked again in a call that has bytes to give: that
// saves the recv that would only say EAGAIN. A call that has none (what came was a ticket, or part
// of a record) asks: an end right behind it brought no event of its own.
//
// Writing: everything that one call makes OpenSSL write (records, the flights of a handshake,
// alerts) is put together in the worker's buffer and sent at the call's end, by one system call.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "tls/internal.h"

static int on_read(BIO *bio, char *data, int len)
{
    struct tls_conn *conn = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (conn->socket_empty && conn->has_bytes) {
        conn->would_block = true;
        BIO_set_retry_read(bio);
        return -1;
    }
    ssize_t n;
    do {
        n = recv(conn->fd, data, (size_t)len, 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOTCONN)) {
        conn->socket_empty = true;
        conn->would_block = true;
        BIO_set_retry_read(bio);
        return -1;
    }
    if (n < 0) {
        conn->socket_error = -errno;
        return -1;
    }
    conn->socket_eof = n == 0;
    conn->socket_empty = n < len;
    conn->received += (uint64_t)n;
    if (!conn->established && conn->received > TLS_HANDSHAKE_MAX) {
        tls_conn_note(conn, TLS_FAULT_FLOOD, "too many bytes in the handshake");
        return -1;
    }
    return (int)n;
}

static int on_write(BIO *bio, const char *data, int len)
{
    struct tls_conn *conn = BIO_get_data(bio);
    struct tls_worker *worker = conn->worker;
    BIO_clear_retry_flags(bio);
    bool full = (size_t)len > TLS_UNSENT_MAX - worker->out_len;
    if (full || conn->unsent_len != 0) {
        int rc = tls_socket_flush(conn);
        if (rc == -EAGAIN) {
            BIO_set_retry_write(bio);
        }
        if (rc != 0) {
            return -1;
        }
    }
    int take = MIN_OF(len, (int)TLS_UNSENT_MAX);
    memcpy(worker->out + worker->out_len, data, (size_t)take);
    worker->out_len += (size_t)take;
    return take;
}

static long on_ctrl(BIO *bio, int command, long number, void *ptr)
{
    (void)number;
    (void)ptr;
    const struct tls_conn *conn = BIO_get_data(bio);
    if (command == BIO_CTRL_EOF) {
        return conn != NULL && conn->socket_eof;
    }
    return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP; // the others: not supported
}

int tls_socket_init(struct tls_worker *worker)
{
    worker->socket = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "socket");
    if (worker->socket == NULL || !BIO_meth_set_read(worker->socket, on_read) ||
        !BIO_meth_set_write(worker->socket, on_write) ||
        !BIO_meth_set_ctrl(worker->socket, on_ctrl)) {
        return -ENOMEM;
    }
    return 0;
}

int tls_socket_attach(struct tls_conn *conn)
{
    BIO *bio = BIO_new(conn->worker->socket);
    if (bio == NULL) {
        return -ENOMEM;
    }
    BIO_set_data(bio, conn);
    BIO_set_init(bio, 1);
    SSL_set_bio(conn->ssl, bio, bio);
    return 0;
}

// Bytes that the socket took, 0 when none; or -errno.
static ssize_t send_some(int fd, const char *data, size_t len)
{
    ssize_t n;
    do {
        n = send(fd, data, len, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOTCONN)) {
        return 0;
    }
    return n < 0 ? -errno : n;
}

static int keep_unsent(struct tls_conn *conn, const char *data, size_t len)
{
    conn->unsent = malloc(len);
    if (conn->unsent == NULL) {
        return -ENOMEM;
    }
    memcpy(conn->unsent, data, len);
    conn->unsent_at = 0;
    conn->unsent_len = len;
    return -EAGAIN;
}

static int flush_unsent(struct tls_conn *conn)
{
    ssize_t n = send_some(conn->fd, conn->unsent + conn->unsent_at, conn->unsent_len);
    if (n < 0) {
        return (int)n;
    }
    conn->unsent_at += (size_t)n;
    conn->unsent_len -= (size_t)n;
    if (conn->unsent_len != 0) {
        return -EAGAIN;
    }
    free(conn->unsent);
    conn->unsent = NULL;
    return 0;
}

int tls_socket_flush(struct tls_conn *conn)
{
    struct tls_worker *worker = conn->worker;
    size_t len = worker->out_len;
    worker->out_len = 0;
    int rc = conn->socket_error;
    if (rc == 0 && conn->unsent_len != 0) {
        // Nothing is encrypted while something waits (see on_write), so `out` is empty.
        BUG_ON(len != 0);
        rc = flush_unsent(conn);
    } else if (rc == 0 && len != 0) {
        ssize_t n = send_some(conn->fd, worker->out, len);
        if (n < 0) {
            rc = (int)n;
        } else if ((size_t)n < len) {
            rc = keep_unsent(conn, worker->out + n, len - (size_t)n);
        }
    }
    if (rc != 0 && rc != -EAGAIN) {
        conn->socket_error = rc;
    }
    return rc;
}
