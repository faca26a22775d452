#include "tls/conn.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tls/internal.h"

// Records and messages without data that a peer may send after the handshake: so many, and one more
// for each so many bytes. Key updates come once in gigabytes, tickets a few at the beginning.
enum { EXTRAS_MAX = 32, EXTRAS_BYTES_EACH = 64 * 1024 };
// Reads that gave nothing though the socket had not run dry, before a call gives up.
enum { IDLE_READS_MAX = 64 };

// ---- errors -------------------------------------------------------------------------------------

// OpenSSL judges a failure by what its queue holds; a leftover would be taken for a cause.
static void begin_call(struct tls_conn *conn)
{
    if (UNLIKELY(ERR_peek_error() != 0)) {
        ERR_clear_error();
    }
    conn->socket_empty = false;
    conn->has_bytes = false;
    conn->would_block = false;
}

struct error tls_take_errors(void)
{
    struct error err = ERROR_INIT;
    unsigned long code = ERR_get_error();
    if (code != 0) {
        const char *reason = ERR_reason_error_string(code);
        error_set(&err, 0, "%s", reason != NULL ? reason : "unknown error");
    }
    ERR_clear_error();
    return err;
}

void tls_conn_note(struct tls_conn *conn, enum tls_fault fault, const char *text)
{
    if (conn->fault != TLS_FAULT_NONE) {
        return;
    }
    conn->fault = (uint8_t)fault;
    if (text != NULL && text[0] != '\0') {
        conn->error_text = strdup(text);
    }
}

static const struct {
    int reason;
    enum tls_fault fault;
} ssl_reasons[] = {
    {SSL_R_HTTP_REQUEST, TLS_FAULT_NOT_TLS},
    {SSL_R_HTTPS_PROXY_REQUEST, TLS_FAULT_NOT_TLS},
    {SSL_R_WRONG_VERSION_NUMBER, TLS_FAULT_NOT_TLS},
    {SSL_R_UNSUPPORTED_PROTOCOL, TLS_FAULT_VERSION},
    {SSL_R_VERSION_TOO_LOW, TLS_FAULT_VERSION},
    {SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, TLS_FAULT_VERSION},
    {SSL_R_NO_SHARED_CIPHER, TLS_FAULT_CIPHER},
    {SSL_R_NO_SUITABLE_KEY_SHARE, TLS_FAULT_CIPHER},
    {SSL_R_NO_SUITABLE_GROUPS, TLS_FAULT_CIPHER},
    {SSL_R_NO_SHARED_GROUPS, TLS_FAULT_CIPHER},
    {SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS, TLS_FAULT_CIPHER},
    {SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM, TLS_FAULT_CIPHER},
    {SSL_R_NO_APPLICATION_PROTOCOL, TLS_FAULT_ALPN},
    {SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL, TLS_FAULT_ALPN},
    {SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, TLS_FAULT_CERTIFICATE_MISSING},
    {SSL_R_CERTIFICATE_VERIFY_FAILED, TLS_FAULT_CERTIFICATE_BAD},
    {SSL_R_UNEXPECTED_EOF_WHILE_READING, TLS_FAULT_CLOSED},
    {SSL_R_TOO_MANY_WARN_ALERTS, TLS_FAULT_FLOOD},
};

static enum tls_fault fault_of_code(unsigned long code)
{
    int reason = ERR_GET_REASON(code);
    if (ERR_GET_LIB(code) != ERR_LIB_SSL) {
        return ERR_GET_LIB(code) == ERR_LIB_CRYPTO ? TLS_FAULT_INTERNAL : TLS_FAULT_PROTOCOL;
    }
    for (size_t i = 0; i < ARRAY_LEN(ssl_reasons); i++) {
        if (ssl_reasons[i].reason == reason) {
            return ssl_reasons[i].fault;
        }
    }
    if (reason >= SSL_AD_REASON_OFFSET) {
        return TLS_FAULT_ALERT;
    }
    return reason == ERR_R_MALLOC_FAILURE || reason == ERR_R_INTERNAL_ERROR ? TLS_FAULT_INTERNAL
                                                                            : TLS_FAULT_PROTOCOL;
}

// Notes why, when no callback has. Returns the code of the call.
static int fail(struct tls_conn *conn)
{
    unsigned long code = ERR_peek_error();
    struct error cause = tls_take_errors();
    if (conn->fault == TLS_FAULT_NONE && conn->socket_error != 0) {
        tls_conn_note(conn, TLS_FAULT_SOCKET, strerror(-conn->socket_error));
    } else if (conn->fault == TLS_FAULT_NONE && conn->socket_eof) {
        tls_conn_note(conn, conn->established ? TLS_FAULT_TRUNCATED : TLS_FAULT_CLOSED, NULL);
    }
    tls_conn_note(conn, fault_of_code(code), cause.text);
    if (conn->established && conn->fault == TLS_FAULT_SOCKET) {
        conn->failed = conn->socket_error;
    } else {
        conn->failed = conn->fault == TLS_FAULT_TRUNCATED ? -ECONNABORTED : -EPROTO;
    }
    // What OpenSSL wanted to say of it, an alert: as far as the socket takes it.
    (void)tls_socket_flush(conn);
    return conn->failed;
}

// After a call into OpenSSL that did not succeed: 0 the peer ended the connection properly,
// -EAGAIN, or what fail says.
static int settle(struct tls_conn *conn, int rc)
{
    switch (SSL_get_error(conn->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default:
        return fail(conn);
    }
}

static int refuse(struct tls_conn *conn, enum tls_fault fault, const char *text)
{
    tls_conn_note(conn, fault, text);
    return fail(conn);
}

// ---- life ---------------------------------------------------------------------------------------

struct tls_conn *tls_conn_new(struct tls_worker *worker, SSL_CTX *ssl, int fd)
{
    struct tls_conn *conn = calloc(1, sizeof(*conn));
    if (conn == NULL) {
        return NULL;
    }
    conn->worker = worker;
    conn->fd = fd;
    conn->ssl = SSL_new(ssl);
    if (conn->ssl == NULL || tls_socket_attach(conn) != 0 ||
        !SSL_set_app_data(conn->ssl, conn)) {
        ERR_clear_error();
        tls_conn_free(conn);
        return NULL;
    }
    return conn;
}

void tls_conn_free(struct tls_conn *conn)
{
    if (conn == NULL) {
        return;
    }
    if (conn->ssl != NULL) {
        // Else OpenSSL takes the session for broken, and it could not be resumed.
        SSL_set_shutdown(conn->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        SSL_free(conn->ssl);
    }
    tls_context_unref(conn->context);
    free(conn->name);
    free(conn->error_text);
    free((char *)(uintptr_t)conn->session_key.ptr);
    free(conn->unsent);
    free(conn);
}

// ---- handshake ----------------------------------------------------------------------------------

// The handshake is done as far as OpenSSL is concerned.
static int established(struct tls_conn *conn)
{
    if (conn->wanted_alpn == TLS_ALPN_H2 && tls_conn_alpn(conn) != TLS_ALPN_H2) {
        return refuse(conn, TLS_FAULT_ALPN, "the server does not speak HTTP/2 (h2)");
    }
    if (conn->server != NULL && SSL_session_reused(conn->ssl) && tls_peer_expired(conn->ssl)) {
        return refuse(conn, TLS_FAULT_CERTIFICATE_EXPIRED, NULL);
    }
    conn->established = true;
    return 0;
}

// The last flight may still wait for the socket; the peer cannot go on without it.
static int flush_flight(struct tls_conn *conn)
{
    int rc = tls_socket_flush(conn);
    return rc == 0 || rc == -EAGAIN ? rc : fail(conn);
}

int tls_conn_handshake(struct tls_conn *conn)
{
    if (conn->failed != 0) {
        return conn->failed;
    }
    if (conn->established) {
        return flush_flight(conn);
    }
    begin_call(conn);
    int rc = SSL_do_handshake(conn->ssl);
    if (rc == 1) {
        rc = established(conn);
    } else {
        rc = settle(conn, rc);
        rc = rc == 0 ? refuse(conn, TLS_FAULT_CLOSED, NULL) : rc; // close_notify instead of it
    }
    if (rc != 0 && rc != -EAGAIN) {
        return rc;
    }
    int flushed = flush_flight(conn);
    return rc == 0 || conn->failed != 0 ? flushed : rc;
}

// ---- receiving ----------------------------------------------------------------------------------

void tls_conn_count_extra(struct tls_conn *conn)
{
    conn->extras += conn->established;
}

static bool flooded(const struct tls_conn *conn)
{
    return conn->extras > EXTRAS_MAX + conn->received / EXTRAS_BYTES_EACH;
}

// One SSL_read. > 0, 0 at the end, -EAGAIN, or negative as tls_conn_recv.
static ssize_t read_once(struct tls_conn *conn, char *buf, size_t size)
{
    size_t n = 0;
    int rc = SSL_read_ex(conn->ssl, buf, size, &n);
    if (flooded(conn)) {
        return refuse(conn, TLS_FAULT_FLOOD, NULL);
    }
    return rc == 1 ? (ssize_t)n : settle(conn, rc);
}

ssize_t tls_conn_recv(struct tls_conn *conn, void *buf, size_t size)
{
    if (UNLIKELY(conn->failed != 0)) {
        return conn->failed;
    }
    begin_call(conn);
    conn->drained = false;
    size_t got = 0;
    ssize_t n = -EAGAIN;
    for (unsigned idle = 0; got < size && idle < IDLE_READS_MAX;) {
        n = read_once(conn, (char *)buf + got, size - got);
        if (n > 0) {
            got += (size_t)n;
            conn->has_bytes = true;
            if (conn->socket_empty && !SSL_has_pending(conn->ssl)) {
                conn->drained = true; // asking again would only be told so
                break;
            }
        } else if (n == -EAGAIN && !conn->would_block) {
            conn->extras++; // something without data
            idle++;
        } else {
            conn->drained = n == -EAGAIN;
            break;
        }
    }
    if (conn->failed == 0) {
        (void)tls_socket_flush(conn); // an answer to what was not data; an error shows when sending
    }
    // What ended the loop is told by the next call, once the bytes before it were taken.
    return got != 0 ? (ssize_t)got : n;
}

bool tls_conn_is_drained(const struct tls_conn *conn)
{
    return conn->drained;
}

bool tls_conn_pending(const struct tls_conn *conn)
{
    return conn->failed != 0 || SSL_has_pending(conn->ssl) ||
           (SSL_get_shutdown(conn->ssl) & SSL_RECEIVED_SHUTDOWN) != 0;
}

// ---- sending ------------------------------------------------------------------------------------

// A place in a list of pieces.
struct cursor {
    const struct iovec *iov;
    int left;  // pieces, with the one at hand
    size_t at; // in that one
};

static void cursor_skip(struct cursor *cursor, size_t n)
{
    while (cursor->left > 0 && n >= cursor->iov->iov_len - cursor->at) {
        n -= cursor->iov->iov_len - cursor->at;
        cursor->iov++;
        cursor->left--;
        cursor->at = 0;
    }
    cursor->at += n;
}

static struct slice cursor_piece(const struct cursor *cursor)
{
    return slice_of((const char *)cursor->iov->iov_base + cursor->at,
                    cursor->iov->iov_len - cursor->at);
}

// The next record's bytes: of one piece where they lie, of several put together.
static struct slice next_record(struct tls_worker *worker, struct cursor cursor)
{
    struct slice piece = cursor_piece(&cursor);
    if (piece.len >= TLS_RECORD_MAX || cursor.left == 1) {
        return slice_first(piece, TLS_RECORD_MAX);
    }
    size_t len = 0;
    while (cursor.left > 0 && len < TLS_RECORD_MAX) {
        piece = slice_first(cursor_piece(&cursor), TLS_RECORD_MAX - len);
        if (piece.len != 0) {
            memcpy(worker->gather + len, piece.ptr, piece.len);
        }
        len += piece.len;
        cursor_skip(&cursor, piece.len);
    }
    return slice_of(worker->gather, len);
}

// Encrypts up to a batch. Returns the bytes taken, or negative when none were.
static ssize_t encrypt_batch(struct tls_conn *conn, struct cursor *cursor)
{
    size_t taken = 0;
    while (cursor->left > 0 && taken < TLS_BATCH) {
        struct slice record = next_record(conn->worker, *cursor);
        size_t n = 0;
        int rc = SSL_write_ex(conn->ssl, record.ptr, record.len, &n);
        if (rc != 1) {
            rc = settle(conn, rc);
            // ZERO_RETURN cannot come of writing; a code of its own keeps callers from looping.
            rc = rc == 0 ? refuse(conn, TLS_FAULT_PROTOCOL, NULL) : rc;
            return rc == -EAGAIN && taken != 0 ? (ssize_t)taken : rc;
        }
        taken += n;
        cursor_skip(cursor, n);
    }
    return (ssize_t)taken;
}

// What waits in here for the socket must bring the caller back. So the last byte of all that was
// given is not counted as taken while something waits: it comes again, and is then skipped.
static ssize_t hold_back(struct tls_conn *conn, const struct cursor *cursor, size_t taken)
{
    if (conn->unsent_len != 0 && cursor->left == 0 && taken != 0) {
        conn->held = true;
        taken--;
    }
    return taken != 0 || (cursor->left == 0 && !conn->held) ? (ssize_t)taken : -EAGAIN;
}

ssize_t tls_conn_sendv(struct tls_conn *conn, const struct iovec *iov, int count)
{
    if (UNLIKELY(conn->failed != 0)) {
        return conn->failed;
    }
    begin_call(conn);
    struct cursor cursor = {.iov = iov, .left = count};
    cursor_skip(&cursor, 0); // empty pieces
    size_t taken = 0;
    int flushed = conn->unsent_len != 0 ? tls_socket_flush(conn) : 0;
    if (flushed == 0 && conn->held && cursor.left > 0) {
        cursor_skip(&cursor, 1);
        conn->held = false;
        taken = 1;
    }
    while (flushed == 0 && cursor.left > 0) {
        ssize_t n = encrypt_batch(conn, &cursor);
        if (n < 0 && n != -EAGAIN) {
            return n;
        }
        flushed = tls_socket_flush(conn);
        if (n == -EAGAIN) {
            break;
        }
        taken += (size_t)n;
    }
    if (flushed != 0 && flushed != -EAGAIN) {
        return fail(conn);
    }
    return hold_back(conn, &cursor, taken);
}

int tls_conn_flush(struct tls_conn *conn)
{
    if (conn->failed != 0) {
        return conn->failed;
    }
    int rc = tls_socket_flush(conn);
    return rc == 0 || rc == -EAGAIN ? rc : fail(conn);
}

bool tls_conn_wants_write(const struct tls_conn *conn)
{
    return conn->unsent_len != 0;
}

void tls_conn_shutdown(struct tls_conn *conn)
{
    if (conn->failed != 0 || !conn->established || conn->shut) {
        return;
    }
    conn->shut = true;
    begin_call(conn);
    (void)SSL_shutdown(conn->ssl); // 0: said, and the peer has not
    ERR_clear_error();
    (void)tls_socket_flush(conn);
}

// ---- asking -------------------------------------------------------------------------------------

enum tls_fault tls_conn_fault(const struct tls_conn *conn)
{
    return (enum tls_fault)conn->fault;
}

const char *tls_conn_error(const struct tls_conn *conn)
{
    return conn->error_text != NULL ? conn->error_text : tls_fault_text(tls_conn_fault(conn));
}

enum tls_alpn tls_conn_alpn(const struct tls_conn *conn)
{
    const unsigned char *data = NULL;
    unsigned len = 0;
    SSL_get0_alpn_selected(conn->ssl, &data, &len);
    struct slice name = slice_of((const char *)data, len);
    if (slice_eq(name, SLICE("h2"))) {
        return TLS_ALPN_H2;
    }
    return slice_eq(name, SLICE("http/1.1")) ? TLS_ALPN_HTTP1 : TLS_ALPN_NONE;
}

bool tls_conn_resumed(const struct tls_conn *conn)
{
    return conn->established && SSL_session_reused(conn->ssl);
}

const char *tls_conn_version(const struct tls_conn *conn)
{
    return SSL_get_version(conn->ssl);
}

const char *tls_conn_cipher(const struct tls_conn *conn)
{
    return SSL_get_cipher_name(conn->ssl);
}

struct slice tls_conn_server_name(const struct tls_conn *conn)
{
    return slice_of_str(conn->name != NULL ? conn->name : "");
}
