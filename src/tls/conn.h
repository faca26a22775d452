// One TLS connection over a non-blocking socket, either role. Made by tls_server_accept or
// tls_client_connect; used by the worker's thread only.
//
// Made for edge-triggered polling: every call goes on until it is done or the socket would block.
// Only in a recv that gives bytes does a read that came back short count as having emptied the
// socket. Whether the next event is to be waited for, tls_conn_is_drained says: an end that came
// with the last data brings no event. After the handshake, recv must be called before the next
// event, too, as data may have come with its last bytes. When the peer has closed its side
// (EPOLLRDHUP), call recv until it says so.
//
// Sending: what is taken is encrypted at once, in as few records and system calls as may be. What
// the socket does not take of that is kept here, up to TLS_UNSENT_MAX bytes; sendv then takes less
// than it was given, so that its caller comes again when the socket is writable, as with send(2).
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/arena.h"
#include "base/macros.h"
#include "base/slice.h"
#include "tls/config.h"
#include "tls/fault.h"

enum tls_alpn { TLS_ALPN_NONE, TLS_ALPN_HTTP1, TLS_ALPN_H2 };

enum {
    TLS_UNSENT_MAX = 96 * 1024,
    TLS_HANDSHAKE_MAX = 256 * 1024, // bytes from the peer until the handshake is done
};

struct tls_conn;

// Goes on with the handshake. 0: done. -EAGAIN: call again when the socket is readable, or writable
// if tls_conn_wants_write. -EPROTO: failed; tls_conn_fault says why.
MUST_CHECK int tls_conn_handshake(struct tls_conn *conn);

// Like recv(2): > 0 bytes; 0 the peer said that it sends no more (close_notify); -EAGAIN;
// -ECONNABORTED the connection ended without close_notify, so something may be missing;
// -EPROTO the peer broke the protocol; -errno of the socket.
MUST_CHECK ssize_t tls_conn_recv(struct tls_conn *conn, void *buf, size_t size);

// Like sendmsg(2): sends the pieces, put together into full records. Returns how many bytes were
// taken; fewer than all (or -EAGAIN: none): the rest must come again, the same bytes first, when
// the socket is writable. Other negative codes: the connection is unusable.
MUST_CHECK ssize_t tls_conn_sendv(struct tls_conn *conn, const struct iovec *iov, int count);

// Sends what waits in here for the socket: the end of a handshake, a close_notify. (What sendv left
// goes with the next sendv as well.) 0: nothing is left; -EAGAIN; -errno.
MUST_CHECK int tls_conn_flush(struct tls_conn *conn);

// Something does.
bool tls_conn_wants_write(const struct tls_conn *conn);

// After a recv that gave bytes: nothing more is here, neither data nor the end, until the socket is
// readable.
bool tls_conn_is_drained(const struct tls_conn *conn);

// Something is in here that recv would look at before the socket.
bool tls_conn_pending(const struct tls_conn *conn);

// Says close_notify: nothing more will be sent. Receiving goes on. Does nothing when the connection
// is broken, or called again.
void tls_conn_shutdown(struct tls_conn *conn);

// Frees. Says nothing to the peer (see tls_conn_shutdown) and leaves the socket to its owner. NULL
// is fine.
void tls_conn_free(struct tls_conn *conn);

// Why the connection failed; NONE while it has not.
enum tls_fault tls_conn_fault(const struct tls_conn *conn);

// The same with what is known beyond the reason (which name, which certificate, OpenSSL's words).
// Names in it come from the peer, but contain only printable ASCII. Lives as long as the
// connection.
const char *tls_conn_error(const struct tls_conn *conn);

// What was agreed; NONE before the handshake, or without ALPN.
enum tls_alpn tls_conn_alpn(const struct tls_conn *conn);

bool tls_conn_resumed(const struct tls_conn *conn);

// "TLSv1.3"; a literal.
const char *tls_conn_version(const struct tls_conn *conn);

// "TLS_AES_128_GCM_SHA256", as OpenSSL calls it; a literal.
const char *tls_conn_cipher(const struct tls_conn *conn);

// Server: the name that the client asked for, lower case, "" for none. Client: the name that was
// asked for. Lives as long as the connection.
struct slice tls_conn_server_name(const struct tls_conn *conn);

// Who the peer showed itself to be.
struct tls_peer {
    struct slice subject; // RFC 2253: "CN=client,O=Example"; printable ASCII, others escaped; cut
                          // at TLS_PEER_SUBJECT_MAX
    struct slice *uris;   // subject alternative names; those with other than printable ASCII are
    size_t uri_count;     // left out
    struct slice *dns_names;
    size_t dns_count;
    char fingerprint[65]; // SHA-256 of the certificate, hex
};

enum {
    TLS_PEER_NAMES_MAX = 64, // of each kind; more are left out
    TLS_PEER_SUBJECT_MAX = 1024,
};

// Server: did the client show a certificate that was verified? Then by these authorities (their
// tls_trust.digest).
MUST_CHECK bool tls_conn_verified(const struct tls_conn *conn,
                                  uint8_t ret_trust_digest[TLS_DIGEST_LEN]);

// Of a certificate that was verified. 1 with *ret_peer on the arena; 0: the peer showed none (or it
// was not asked for); -ENOMEM.
MUST_CHECK int tls_conn_peer(const struct tls_conn *conn, struct arena *arena,
                             struct tls_peer *ret_peer);
