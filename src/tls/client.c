#include "tls/client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "tls/internal.h"

// What the last connection to an address left behind for the next one.
struct saved_session {
    struct list_node node; // by age
    struct slice key;      // digest of the configuration, protocol, address
    SSL_SESSION *session;
};

struct tls_client {
    struct tls_worker *worker;
    struct tls_context_cache contexts; // by digest
    struct map sessions;               // key → struct saved_session
    struct list_node by_age;           // oldest first
    size_t session_count;
};

// ---- sessions -----------------------------------------------------------------------------------

static void session_drop(struct tls_client *client, struct saved_session *saved)
{
    map_remove(&client->sessions, saved->key);
    list_remove(&saved->node);
    client->session_count--;
    SSL_SESSION_free(saved->session);
    free((char *)(uintptr_t)saved->key.ptr);
    free(saved);
}

// Takes the session over, or lets it go when out of memory.
static void session_put(struct tls_client *client, struct slice key, SSL_SESSION *session)
{
    struct saved_session *saved = map_get(&client->sessions, key);
    if (saved != NULL) {
        session_drop(client, saved);
    }
    if (client->session_count >= TLS_CLIENT_SESSIONS_MAX) {
        session_drop(client, list_first(&client->by_age, struct saved_session, node));
    }
    saved = calloc(1, sizeof(*saved));
    char *copy = slice_dup(key);
    if (saved == NULL || copy == NULL || map_put(&client->sessions, key, saved, NULL) != 0) {
        SSL_SESSION_free(session);
        free(copy);
        free(saved);
        return;
    }
    *saved = (struct saved_session){.key = slice_of(copy, key.len), .session = session};
    list_push_back(&client->by_age, &saved->node);
    client->session_count++;
}

// OpenSSL has a session that may be resumed. 1: the reference is ours now.
static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
    const struct tls_conn *conn = SSL_get_app_data(ssl);
    session_put(conn->client, conn->session_key, session);
    return 1;
}

// A session goes on without the certificate being shown again, and each one leads to the next: by
// now the certificate may have run out.
static bool session_is_over(SSL_SESSION *session)
{
    const X509 *certificate = SSL_SESSION_get0_peer(session);
    return certificate != NULL && X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0;
}

// A ticket of TLS 1.3 is used once (RFC 8446 appendix C.4); the server sends another.
static void session_use(struct tls_client *client, struct tls_conn *conn)
{
    struct saved_session *saved = map_get(&client->sessions, conn->session_key);
    if (saved == NULL) {
        return;
    }
    if (session_is_over(saved->session)) {
        session_drop(client, saved);
        return;
    }
    SSL_set_session(conn->ssl, saved->session);
    if (SSL_SESSION_get_protocol_version(saved->session) >= TLS1_3_VERSION ||
        !SSL_SESSION_is_resumable(saved->session)) {
        session_drop(client, saved);
    }
}

static int make_session_key(struct tls_conn *conn, const struct tls_upstream *upstream,
                            const struct sockaddr *peer)
{
    struct {
        uint8_t digest[TLS_DIGEST_LEN];
        uint8_t alpn;
        uint8_t address[16];
        uint16_t port;
    } __attribute__((packed)) key = {.alpn = conn->wanted_alpn};
    memcpy(key.digest, upstream->digest, TLS_DIGEST_LEN);
    if (peer->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)peer;
        memcpy(key.address, &in->sin_addr, sizeof(in->sin_addr));
        key.port = in->sin_port;
    } else if (peer->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)peer;
        memcpy(key.address, &in6->sin6_addr, sizeof(in6->sin6_addr));
        key.port = in6->sin6_port;
    }
    conn->session_key = slice_of(slice_dup(slice_of((const char *)&key, sizeof(key))), sizeof(key));
    return conn->session_key.ptr != NULL ? 0 : -ENOMEM;
}

// ---- what the server must prove -----------------------------------------------------------------

static struct tls_context *context_for(struct tls_client *client,
                                       const struct tls_upstream *upstream, struct error *err)
{
    struct slice key = slice_of((const char *)upstream->digest, TLS_DIGEST_LEN);
    struct tls_context *context = tls_context_cache_get(&client->contexts, key);
    if (context != NULL) {
        return context;
    }
    const struct tls_context_spec spec = {
        .verifies = !upstream->insecure, .identity = upstream->identity, .trust = upstream->trust};
    context = tls_context_make(&client->contexts, key, client->worker, &spec, err);
    if (context != NULL) {
        SSL_CTX_set_verify(context->ssl, upstream->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER,
                           tls_peer_on_verify);
        SSL_CTX_set_session_cache_mode(context->ssl,
                                       SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(context->ssl, on_new_session);
    }
    return context;
}

// The certificate must be for this address.
static int expect_address(struct tls_conn *conn, int family, const void *address)
{
    char text[INET6_ADDRSTRLEN];
    if (inet_ntop(family, address, text, sizeof(text)) == NULL) {
        return -EINVAL;
    }
    conn->name = strdup(text);
    return conn->name != NULL && X509_VERIFY_PARAM_set1_ip(SSL_get0_param(conn->ssl), address,
                                                           family == AF_INET ? 4 : 16)
               ? 0
               : -ENOMEM;
}

static int expect_peer_address(struct tls_conn *conn, const struct sockaddr *peer)
{
    if (peer->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)peer;
        return expect_address(conn, AF_INET, &in->sin_addr);
    }
    if (peer->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)peer;
        return expect_address(conn, AF_INET6, &in6->sin6_addr);
    }
    return -EINVAL;
}

// Which name the server must show, and is told. An address is never told (RFC 6066 section 3); the
// subject's common name does not count as a name (RFC 9110 section 4.3.4).
static int expect_name(struct tls_conn *conn, const struct tls_upstream *upstream,
                       const struct sockaddr *peer)
{
    if (upstream->server_name.len == 0) {
        return expect_peer_address(conn, peer);
    }
    conn->name = slice_dup(upstream->server_name);
    if (conn->name == NULL) {
        return -ENOMEM;
    }
    unsigned char address[16];
    int family = inet_pton(AF_INET, conn->name, address) == 1    ? AF_INET
                 : inet_pton(AF_INET6, conn->name, address) == 1 ? AF_INET6
                                                                 : 0;
    if (family != 0) {
        free(conn->name);
        conn->name = NULL;
        return expect_address(conn, family, address);
    }
    X509_VERIFY_PARAM *param = SSL_get0_param(conn->ssl);
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
                                               X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    return SSL_set_tlsext_host_name(conn->ssl, conn->name) &&
                   X509_VERIFY_PARAM_set1_host(param, conn->name, 0)
               ? 0
               : -ENOMEM;
}

// ---- life ---------------------------------------------------------------------------------------

int tls_client_new(struct tls_worker *worker, struct tls_client **ret_client, struct error *err)
{
    struct tls_client *client = calloc(1, sizeof(*client));
    if (client == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    client->worker = worker;
    tls_context_cache_init(&client->contexts);
    list_init(&client->by_age);
    *ret_client = client;
    return 0;
}

void tls_client_free(struct tls_client *client)
{
    if (client == NULL) {
        return;
    }
    list_for_each(&client->by_age, node) {
        session_drop(client, container_of(node, struct saved_session, node));
    }
    map_fini(&client->sessions);
    tls_context_cache_fini(&client->contexts);
    free(client);
}

static int prepare(struct tls_conn *conn, const struct tls_upstream *upstream,
                   const struct sockaddr *peer)
{
    static const unsigned char h2[] = "\2h2";
    static const unsigned char http1[] = "\10http/1.1";
    int rc = expect_name(conn, upstream, peer);
    if (rc == 0) {
        rc = make_session_key(conn, upstream, peer);
    }
    if (rc == 0 && conn->wanted_alpn != TLS_ALPN_NONE) {
        bool is_h2 = conn->wanted_alpn == TLS_ALPN_H2;
        rc = SSL_set_alpn_protos(conn->ssl, is_h2 ? h2 : http1,
                                 (unsigned)(is_h2 ? sizeof(h2) : sizeof(http1)) - 1) == 0
                 ? 0
                 : -ENOMEM;
    }
    return rc;
}

struct tls_conn *tls_client_connect(struct tls_client *client, int fd,
                                    const struct tls_upstream *upstream,
                                    const struct sockaddr *peer, enum tls_alpn alpn,
                                    struct error *err)
{
    struct tls_context *context = context_for(client, upstream, err);
    if (context == NULL) {
        return NULL;
    }
    struct tls_conn *conn = tls_conn_new(client->worker, context->ssl, fd);
    if (conn == NULL) {
        error_set(err, -ENOMEM, "out of memory");
        return NULL;
    }
    conn->client = client;
    conn->wanted_alpn = (uint8_t)alpn;
    SSL_set_connect_state(conn->ssl);
    int rc = prepare(conn, upstream, peer);
    if (rc != 0) {
        struct error cause = tls_take_errors();
        error_set(err, rc, "the server's name cannot be used: %s", cause.text);
        tls_conn_free(conn);
        return NULL;
    }
    session_use(client, conn);
    ERR_clear_error();
    return conn;
}

void tls_client_keep_only(struct tls_client *client, const struct tls_upstream *const *upstreams,
                          size_t count)
{
    tls_context_cache_unmark(&client->contexts);
    for (size_t i = 0; i < count; i++) {
        struct tls_context *context = tls_context_cache_get(
            &client->contexts, slice_of((const char *)upstreams[i]->digest, TLS_DIGEST_LEN));
        if (context != NULL) {
            context->marked = true;
        }
    }
    tls_context_cache_sweep(&client->contexts);
    list_for_each(&client->by_age, node) {
        struct saved_session *saved = container_of(node, struct saved_session, node);
        struct slice digest = slice_first(saved->key, TLS_DIGEST_LEN);
        if (tls_context_cache_get(&client->contexts, digest) == NULL) {
            session_drop(client, saved);
        }
    }
}
