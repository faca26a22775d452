// What the files of this folder share. Nobody else includes it.
#pragma once

#include <openssl/bio.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/list.h"
#include "base/map.h"
#include "tls/client.h"
#include "tls/config.h"
#include "tls/conn.h"
#include "tls/server.h"
#include "tls/store.h"
#include "tls/worker.h"

enum {
    TLS_RECORD_MAX = 16384, // of plain bytes (RFC 8446 section 5.1)
    // Plain bytes that are encrypted before the socket is asked: four records, one system call.
    TLS_BATCH = 4 * TLS_RECORD_MAX,
};

struct tls_worker {
    OSSL_LIB_CTX *library;
    OSSL_PROVIDER *provider;
    BIO_METHOD *socket;
    EVP_CIPHER *ticket_cipher;
    EVP_MD *sha256;
    char *gather;   // TLS_RECORD_MAX: small pieces become one record
    char *out;      // TLS_UNSENT_MAX: what the connection in hand has encrypted in this call
    size_t out_len; // 0 between calls
};

// An SSL_CTX, found by what it was made of.
struct tls_context {
    struct list_node node;
    SSL_CTX *ssl;
    struct tls_store *store; // what peers' certificates are verified by; NULL: they are not
    unsigned refs; // the cache's and connections'; one thread
    bool marked;
    struct slice key; // the cache's
    uint8_t trust_digest[TLS_DIGEST_LEN]; // server: of what clients' certificates are verified by
};

struct tls_context_cache {
    struct map map;        // key → struct tls_context
    struct list_node list; // all of them
};

struct tls_conn {
    SSL *ssl;
    struct tls_worker *worker;
    struct tls_server *server;   // NULL: we are the client
    struct tls_client *client;   // NULL: we are the server
    struct tls_context *context; // server: of the name, once it is known
    char *name;                  // NUL-terminated, or NULL
    char *error_text;            // what is known beyond the fault, or NULL
    struct slice session_key;    // client: under which its sessions are kept; owned
    char *unsent;                // encrypted, not in the socket
    size_t unsent_at;
    size_t unsent_len;
    uint64_t received; // encrypted bytes
    int fd;
    int failed;          // the code that every call returns from now on; 0 = usable
    int socket_error;    // negative errno
    uint32_t extras;     // records and messages that carried no data, since the handshake
    uint8_t fault;       // enum tls_fault
    uint8_t wanted_alpn; // enum tls_alpn
    bool h2;             // server: may be agreed on
    bool established;
    bool socket_eof;
    bool socket_empty;   // a read of this call came back short
    bool has_bytes;      // and this recv has something to give
    bool would_block;    // and another one was tried
    bool drained;        // as the last recv left it
    bool shut;           // close_notify is said
    bool held;           // sendv: the last byte was encrypted, but not counted as taken
};

// ---- socket.c: the BIO between OpenSSL and the descriptor -------------------------------------

MUST_CHECK int tls_socket_init(struct tls_worker *worker);
// Gives the connection's SSL its BIO.
MUST_CHECK int tls_socket_attach(struct tls_conn *conn);
// Sends what is encrypted; keeps the rest. 0, -EAGAIN, or -errno (kept in socket_error).
int tls_socket_flush(struct tls_conn *conn);

// ---- context.c: SSL_CTX and what goes into it -------------------------------------------------

// Versions, ciphers, modes: what all of ours have in common. NULL: *err says why.
SSL_CTX *tls_context_base(struct tls_worker *worker, bool is_server, struct error *err);

void tls_context_cache_init(struct tls_context_cache *cache);
void tls_context_cache_fini(struct tls_context_cache *cache);
struct tls_context *tls_context_cache_get(const struct tls_context_cache *cache, struct slice key);

struct tls_context_spec {
    bool is_server;                      // clients are told the names of the authorities
    bool verifies;                       // peers, by `trust`
    const struct tls_identity *identity; // NULL: none is shown
    const struct tls_trust *trust;       // NULL: the system's authorities
};

// A new one of what all have in common, put under the key; the rest is the caller's to set. NULL:
// *err says why.
struct tls_context *tls_context_make(struct tls_context_cache *cache, struct slice key,
                                     struct tls_worker *worker, const struct tls_context_spec *spec,
                                     struct error *err);

// Mark and sweep.
void tls_context_cache_unmark(struct tls_context_cache *cache);
void tls_context_cache_sweep(struct tls_context_cache *cache);
void tls_context_unref(struct tls_context *context); // NULL is fine

// ---- pem.c --------------------------------------------------------------------------------------

// For OpenSSL's callbacks: a key that is encrypted is refused. Without it OpenSSL would ask on the
// terminal.
int tls_no_password(char *buf, int size, int rwflag, void *arg);
// A reader of text that outlives it. NULL: out of memory, or more than TLS_PEM_MAX bytes.
BIO *tls_pem_reader(struct slice pem);
// The next certificate; NULL: there is none, or it cannot be read (then the error queue says so).
X509 *tls_next_certificate(OSSL_LIB_CTX *library, BIO *bio);

// ---- store.c ------------------------------------------------------------------------------------

// Peers of the context are verified by it, for as long as the context's owner holds a reference.
// is_server: clients are told the authorities' names.
void tls_store_use(const struct tls_store *store, SSL_CTX *ssl, bool is_server);

// ---- conn.c ------------------------------------------------------------------------------------

// A connection in neither role yet, with its BIO. NULL: out of memory.
struct tls_conn *tls_conn_new(struct tls_worker *worker, SSL_CTX *ssl, int fd);
// Notes why, once; `text` (may be NULL) is copied.
void tls_conn_note(struct tls_conn *conn, enum tls_fault fault, const char *text);
// The peer began something after the handshake that carries no data: a key update, a ticket.
void tls_conn_count_extra(struct tls_conn *conn);
// OpenSSL's text of the oldest error in its queue; "" when there is none. Clears the queue.
struct error tls_take_errors(void);

// ---- peer.c: certificates of peers --------------------------------------------------------------

// The callback for SSL_set_verify: notes what is wrong with a certificate, and with which.
int tls_peer_on_verify(int ok, X509_STORE_CTX *store);
// The peer's certificate has run out since it was verified (a session was resumed).
bool tls_peer_expired(const SSL *ssl);
