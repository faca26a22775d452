#include "tls/server.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "tls/internal.h"
#include "tls/sni.h"

struct tls_server {
    struct tls_worker *worker;
    struct tls_tickets *tickets;
    tls_server_lookup *lookup;
    void *arg;
    SSL_CTX *base; // of every connection until its name is known
    struct tls_context_cache contexts;
};

enum { TICKET_IV_LEN = 16 }; // of AES-256-CBC

// A ticket must not be older than the last key that opens it.
enum { SESSION_SECONDS = TLS_TICKET_OLD * TLS_TICKET_PERIOD_MS / 1000 };

// ---- session tickets ----------------------------------------------------------------------------

// OpenSSL's contract: 1 use it, 2 use it and give out a new ticket, 0 no ticket, -1 error.
static int use_key(const struct tls_server *server, const struct tls_ticket_key *key,
                   const unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, bool seal)
{
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)(uintptr_t)key->mac,
                                          sizeof(key->mac)),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char[]){"SHA256"}, 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_MAC_CTX_set_params(mac, params) &&
           EVP_CipherInit_ex(cipher, server->worker->ticket_cipher, NULL, key->cipher, iv, seal);
}

static int on_ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                         EVP_MAC_CTX *mac, int seal)
{
    const struct tls_conn *conn = SSL_get_app_data(ssl);
    const struct tls_server *server = conn->server;
    struct tls_ticket_key key;
    int rc = 1;
    tls_tickets_tick(server->tickets, clock_mono_ms());
    if (seal) {
        tls_tickets_current(server->tickets, &key);
        memcpy(name, key.name, TLS_TICKET_NAME_LEN);
        if (RAND_bytes_ex(server->worker->library, iv, TICKET_IV_LEN, 0) != 1) {
            rc = -1;
        }
    } else {
        rc = tls_tickets_find(server->tickets, name, &key);
        // A ticket of TLS 1.3 is used once, so each brings the next (RFC 8446 appendix C.4).
        rc = rc == 1 && SSL_version(ssl) >= TLS1_3_VERSION ? 2 : rc;
    }
    if (rc > 0 && !use_key(server, &key, iv, cipher, mac, seal != 0)) {
        rc = -1;
    }
    explicit_bzero(&key, sizeof(key));
    return rc;
}

// ---- the name -----------------------------------------------------------------------------------

static int verify_mode(enum tls_client_auth auth)
{
    switch (auth) {
    case TLS_CLIENT_AUTH_REQUIRED:
        return SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    case TLS_CLIENT_AUTH_OPTIONAL:
        return SSL_VERIFY_PEER;
    default:
        return SSL_VERIFY_NONE;
    }
}

enum { KEY_LEN = TLS_DIGEST_LEN + 1 + TLS_DIGEST_LEN };

static void key_of(const struct tls_host *host, uint8_t key[KEY_LEN])
{
    memcpy(key, host->identity->digest, TLS_DIGEST_LEN);
    key[TLS_DIGEST_LEN] = (uint8_t)host->client_auth;
    memset(key + TLS_DIGEST_LEN + 1, 0, TLS_DIGEST_LEN);
    if (host->client_auth != TLS_CLIENT_AUTH_NONE) {
        memcpy(key + TLS_DIGEST_LEN + 1, host->client_trust->digest, TLS_DIGEST_LEN);
    }
}

// HTTP/2 where it may be, else HTTP/1.1; a client that names others only is refused (RFC 7301
// section 3.2).
static int on_alpn(SSL *ssl, const unsigned char **ret_name, unsigned char *ret_len,
                   const unsigned char *offered, unsigned offered_len, void *arg)
{
    (void)arg;
    static const unsigned char ours[] = "\2h2\10http/1.1";
    const struct tls_conn *conn = SSL_get_app_data(ssl);
    unsigned skip = conn->h2 ? 0 : 3;
    unsigned char *name = NULL;
    if (SSL_select_next_proto(&name, ret_len, ours + skip, (unsigned)sizeof(ours) - 1 - skip,
                              offered, offered_len) != OPENSSL_NPN_NEGOTIATED) {
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    *ret_name = name;
    return SSL_TLSEXT_ERR_OK;
}

static struct tls_context *context_for(struct tls_server *server, const struct tls_host *host,
                                       struct error *err)
{
    uint8_t key[KEY_LEN];
    key_of(host, key);
    struct slice name = slice_of((const char *)key, sizeof(key));
    struct tls_context *context = tls_context_cache_get(&server->contexts, name);
    if (context != NULL) {
        return context;
    }
    const struct tls_context_spec spec = {
        .is_server = true,
        .verifies = host->client_auth != TLS_CLIENT_AUTH_NONE,
        .identity = host->identity,
        .trust = host->client_trust,
    };
    context = tls_context_make(&server->contexts, name, server->worker, &spec, err);
    if (context != NULL) {
        SSL_CTX_set_alpn_select_cb(context->ssl, on_alpn, NULL);
        memcpy(context->trust_digest, key + TLS_DIGEST_LEN + 1, TLS_DIGEST_LEN);
    }
    return context;
}

// A session is resumed only where it was made: for the same host of the configuration, with the
// same certificate (the client is to see a new one), asking the same of clients (who are to be
// verified by the authorities of now). The context's key has all of that but the host.
static int set_session_context(struct tls_conn *conn, const struct tls_host *host)
{
    unsigned char digest[TLS_DIGEST_LEN];
    struct slice key = conn->context->key;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    int ok = md != NULL && EVP_DigestInit_ex(md, conn->worker->sha256, NULL) &&
             EVP_DigestUpdate(md, key.ptr, key.len) &&
             EVP_DigestUpdate(md, host->name.ptr, host->name.len) &&
             EVP_DigestFinal_ex(md, digest, NULL) &&
             SSL_set_session_id_context(conn->ssl, digest, sizeof(digest));
    EVP_MD_CTX_free(md);
    return ok ? 0 : -ENOMEM;
}

static int use_host(struct tls_conn *conn, const struct tls_host *host)
{
    struct error err = ERROR_INIT;
    conn->context = context_for(conn->server, host, &err);
    if (conn->context == NULL) {
        tls_conn_note(conn, TLS_FAULT_CONFIGURATION, err.text);
        return -EINVAL;
    }
    conn->context->refs++;
    SSL_set_verify(conn->ssl, verify_mode(host->client_auth), tls_peer_on_verify);
    if (SSL_set_SSL_CTX(conn->ssl, conn->context->ssl) == NULL ||
        set_session_context(conn, host) != 0) {
        tls_conn_note(conn, TLS_FAULT_INTERNAL, "out of memory");
        return -ENOMEM;
    }
    return 0;
}

// The client's name into conn->name; "" when it gave none.
static int take_name(struct tls_conn *conn)
{
    const unsigned char *data = NULL;
    size_t len = 0;
    char name[TLS_SNI_MAX];
    size_t name_len = 0;
    if (SSL_client_hello_get0_ext(conn->ssl, TLSEXT_TYPE_server_name, &data, &len) == 1 &&
        tls_sni_parse(data, len, name, &name_len) != 0) {
        tls_conn_note(conn, TLS_FAULT_UNKNOWN_NAME, "the server name is malformed");
        return -EINVAL;
    }
    conn->name = slice_dup(slice_of(name, name_len));
    return conn->name != NULL ? 0 : -ENOMEM;
}

static int on_client_hello(SSL *ssl, int *alert, void *arg)
{
    struct tls_server *server = arg;
    struct tls_conn *conn = SSL_get_app_data(ssl);
    *alert = SSL_AD_UNRECOGNIZED_NAME;
    int rc = take_name(conn);
    if (rc == -EINVAL) {
        return SSL_CLIENT_HELLO_ERROR;
    }
    *alert = SSL_AD_INTERNAL_ERROR;
    if (rc != 0) {
        return SSL_CLIENT_HELLO_ERROR;
    }
    const struct tls_host *host = server->lookup(server->arg, slice_of_str(conn->name));
    if (host == NULL) {
        *alert = SSL_AD_UNRECOGNIZED_NAME;
        struct error err = ERROR_INIT;
        error_set(&err, 0, "no certificate for \"%s\"", conn->name);
        tls_conn_note(conn, TLS_FAULT_UNKNOWN_NAME, err.text);
        return SSL_CLIENT_HELLO_ERROR;
    }
    return use_host(conn, host) == 0 ? SSL_CLIENT_HELLO_SUCCESS : SSL_CLIENT_HELLO_ERROR;
}

// Says that the name was made use of (RFC 6066 section 3).
static int on_server_name(SSL *ssl, int *alert, void *arg)
{
    (void)ssl;
    (void)alert;
    (void)arg;
    return SSL_TLSEXT_ERR_OK;
}

// ---- life ---------------------------------------------------------------------------------------

int tls_server_new(struct tls_worker *worker, struct tls_tickets *tickets,
                   tls_server_lookup *lookup, void *arg, struct tls_server **ret_server,
                   struct error *err)
{
    struct tls_server *server = calloc(1, sizeof(*server));
    SSL_CTX *base = server != NULL ? tls_context_base(worker, true, err) : NULL;
    if (base == NULL) {
        free(server);
        return error_set(err, -ENOMEM, "out of memory");
    }
    *server = (struct tls_server){
        .worker = worker, .tickets = tickets, .lookup = lookup, .arg = arg, .base = base};
    tls_context_cache_init(&server->contexts);
    SSL_CTX_set_client_hello_cb(base, on_client_hello, server);
    SSL_CTX_set_tlsext_servername_callback(base, on_server_name);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(base, on_ticket_key);
    // Sessions lie with the clients: any worker can take them up, and none keeps a table.
    SSL_CTX_set_session_cache_mode(base, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_timeout(base, SESSION_SECONDS);
    SSL_CTX_set_num_tickets(base, 1);
    *ret_server = server;
    return 0;
}

void tls_server_free(struct tls_server *server)
{
    if (server != NULL) {
        tls_context_cache_fini(&server->contexts);
        SSL_CTX_free(server->base);
        free(server);
    }
}

struct tls_conn *tls_server_accept(struct tls_server *server, int fd, bool h2)
{
    struct tls_conn *conn = tls_conn_new(server->worker, server->base, fd);
    if (conn != NULL) {
        conn->server = server;
        conn->h2 = h2;
        SSL_set_accept_state(conn->ssl);
    }
    return conn;
}

void tls_server_keep_only(struct tls_server *server, const struct tls_host *hosts, size_t count)
{
    tls_context_cache_unmark(&server->contexts);
    for (size_t i = 0; i < count; i++) {
        uint8_t key[KEY_LEN];
        key_of(&hosts[i], key);
        struct tls_context *context =
            tls_context_cache_get(&server->contexts, slice_of((const char *)key, sizeof(key)));
        if (context != NULL) {
            context->marked = true;
        }
    }
    tls_context_cache_sweep(&server->contexts);
}
