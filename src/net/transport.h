// The bytes of a connection: a non-blocking socket.
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/macros.h"

struct transport {
    int fd;
};

// Like recv: > 0 bytes, 0 = the peer has ended its side, or -errno; -EAGAIN: nothing now.
MUST_CHECK static inline ssize_t transport_recv(struct transport *transport, void *buf, size_t len)
{
    ssize_t n;
    do {
        n = recv(transport->fd, buf, len, 0);
    } while (n < 0 && errno == EINTR);
    return n >= 0 ? n : errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

// Sends as much of the pieces as it takes now: bytes, or -errno; -EAGAIN: none now.
MUST_CHECK static inline ssize_t transport_send(struct transport *transport, struct iovec *iov,
                                                int count)
{
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
    (void)transport;
    return got < asked;
}
