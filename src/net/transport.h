// The bytes of a connection: a non-blocking socket, in the clear or with TLS.
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/macros.h"
#include "tls/conn.h"

struct transport {
    int fd;
    struct tls_conn *tls; // owned; its handshake is done before anything else. NULL: in the clear
};

// Like recv: > 0 bytes, 0 = the peer has ended its side, or -errno; -EAGAIN: nothing now.
// -ECONNABORTED: with TLS, the end came without being announced, so something may be missing.
MUST_CHECK static inline ssize_t transport_recv(struct transport *transport, void *buf, size_t len)
{
    if (transport->tls != NULL) {
        return tls_conn_recv(transport->tls, buf, len);
    }
    ssize_t n;
    do {
        n = recv(transport->fd, buf, len, 0);
    } while (n < 0 && errno == EINTR);
    return n >= 0 ? n : errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

// Sends as much of the pieces as it takes now: bytes, or -errno; -EAGAIN: none now. What was not
// taken must come again, the same bytes.
MUST_CHECK static inline ssize_t transport_send(struct transport *transport, struct iovec *iov,
                                                int count)
{
    if (transport->tls != NULL) {
        return tls_conn_sendv(transport->tls, iov, count);
    }
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = (size_t)count};
    ssize_t n;
    do {
        n = count == 1 ? send(transport->fd, iov[0].iov_base, iov[0].iov_len, MSG_NOSIGNAL)
                       : sendmsg(transport->fd, &message, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n >= 0 ? n : errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

// After a transport_recv that asked for `asked` bytes and got `got`: nothing more is here now, and
// when more comes, the loop tells.
static inline bool transport_is_drained(const struct transport *transport, size_t got, size_t asked)
{
    return got < asked && (transport->tls == NULL || tls_conn_is_drained(transport->tls));
}

// Bytes are in here that came off the socket already: no event will tell of them.
static inline bool transport_has_pending(const struct transport *transport)
{
    return transport->tls != NULL && tls_conn_pending(transport->tls);
}

// It can neither send nor receive any more, and no event will tell of that.
static inline bool transport_has_failed(const struct transport *transport)
{
    return transport->tls != NULL && tls_conn_fault(transport->tls) != TLS_FAULT_NONE;
}

// What made the socket readable is nothing that a reader is to see: a ticket, a change of keys. For
// connections on which nobody waits for anything; false also when there is data, or the end.
static inline bool transport_is_silent(struct transport *transport)
{
    char byte;
    return transport->tls != NULL && tls_conn_recv(transport->tls, &byte, 1) == -EAGAIN;
}

// Sends what waits below transport_send: only ever the announcement of the end. 0, -EAGAIN: call
// again when the socket is writable, or -errno.
MUST_CHECK static inline int transport_flush(struct transport *transport)
{
    return transport->tls != NULL ? tls_conn_flush(transport->tls) : 0;
}

static inline bool transport_wants_write(const struct transport *transport)
{
    return transport->tls != NULL && tls_conn_wants_write(transport->tls);
}

// Nothing more will be sent: tells the peer. May be called again, after transport_flush was due.
static inline void transport_shutdown(struct transport *transport)
{
    if (transport->tls != NULL) {
        tls_conn_shutdown(transport->tls);
    }
    if (!transport_wants_write(transport)) {
        shutdown(transport->fd, SHUT_WR);
    }
}

// The peer is to see that what it got is not all: transport_close resets the connection.
static inline void transport_spoil(struct transport *transport)
{
    const struct linger at_once = {.l_onoff = 1};
    tls_conn_free(transport->tls); // announces nothing
    transport->tls = NULL;
    (void)setsockopt(transport->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
}

// Closes at once, telling the peer as far as the socket takes it. Idempotent.
static inline void transport_close(struct transport *transport)
{
    if (transport->tls != NULL) {
        tls_conn_shutdown(transport->tls);
        tls_conn_free(transport->tls);
        transport->tls = NULL;
    }
    if (transport->fd >= 0) {
        close(transport->fd);
        transport->fd = -1;
    }
}
