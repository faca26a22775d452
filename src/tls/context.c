#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

#include "tls/internal.h"

enum {
    PEER_CHAIN_MAX = 64 * 1024,
    PEER_CHAIN_DEPTH = 8,
};

// Forward secrecy and authenticated encryption only (RFC 9325 section 4.2). Elliptic curves that
// every client of the last ten years has; the one that costs least first.
static const char CIPHERS[] = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
                              "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
                              "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
static const char GROUPS[] = "X25519:P-256:P-384";

static void on_info(const SSL *ssl, int where, int value)
{
    (void)value;
    struct tls_conn *conn = SSL_get_app_data(ssl);
    if ((where & SSL_CB_HANDSHAKE_START) != 0 && conn != NULL) {
        tls_conn_count_extra(conn);
    }
}

SSL_CTX *tls_context_base(struct tls_worker *worker, bool is_server, struct error *err)
{
    SSL_CTX *ssl = SSL_CTX_new_ex(worker->library, NULL,
                                  is_server ? TLS_server_method() : TLS_client_method());
    if (ssl == NULL || !SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION) ||
        !SSL_CTX_set_cipher_list(ssl, CIPHERS) || !SSL_CTX_set1_groups_list(ssl, GROUPS)) {
        error_set(err, -ENOMEM, "%s", tls_take_errors().text);
        SSL_CTX_free(ssl);
        return NULL;
    }
    SSL_CTX_set_security_level(ssl, 2); // RSA of 2048 bits and more, no SHA-1
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    // One message without data ends an SSL_read, so that a peer that sends nothing else is noticed.
    SSL_CTX_clear_mode(ssl, SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_info_callback(ssl, on_info);
    SSL_CTX_set_read_ahead(ssl, 1);
    SSL_CTX_set_max_cert_list(ssl, PEER_CHAIN_MAX);
    SSL_CTX_set_verify_depth(ssl, PEER_CHAIN_DEPTH);
    return ssl;
}

static int use_chain(struct tls_worker *worker, SSL_CTX *ssl, BIO *bio)
{
    X509 *leaf = tls_next_certificate(worker->library, bio);
    if (leaf == NULL || !SSL_CTX_use_certificate(ssl, leaf)) {
        X509_free(leaf);
        return -EINVAL;
    }
    X509_free(leaf);
    X509 *more;
    while ((more = tls_next_certificate(worker->library, bio)) != NULL) {
        if (!SSL_CTX_add0_chain_cert(ssl, more)) {
            X509_free(more);
            return -EINVAL;
        }
    }
    return ERR_peek_error() == 0 ? 0 : -EINVAL;
}

static int use_identity(struct tls_worker *worker, SSL_CTX *ssl,
                        const struct tls_identity *identity, struct error *err)
{
    BIO *chain = tls_pem_reader(identity->certificate_pem);
    int rc = chain != NULL ? use_chain(worker, ssl, chain) : -ENOMEM;
    BIO_free(chain);
    if (rc != 0) {
        return error_set(err, rc, "the certificate cannot be used: %s", tls_take_errors().text);
    }
    BIO *bio = tls_pem_reader(identity->key_pem);
    EVP_PKEY *key = bio == NULL ? NULL
                                : PEM_read_bio_PrivateKey_ex(bio, NULL, tls_no_password, NULL,
                                                             worker->library, NULL);
    BIO_free(bio);
    if (key == NULL || !SSL_CTX_use_PrivateKey(ssl, key) || !SSL_CTX_check_private_key(ssl)) {
        rc = error_set(err, -EINVAL, "the private key cannot be used: %s", tls_take_errors().text);
    }
    EVP_PKEY_free(key);
    return rc;
}

// ---- the cache ----------------------------------------------------------------------------------

void tls_context_cache_init(struct tls_context_cache *cache)
{
    *cache = (struct tls_context_cache){.map = {0}};
    list_init(&cache->list);
}

void tls_context_unref(struct tls_context *context)
{
    if (context != NULL && --context->refs == 0) {
        SSL_CTX_free(context->ssl);
        tls_store_unref(context->store);
        free((char *)(uintptr_t)context->key.ptr);
        free(context);
    }
}

static void cache_drop(struct tls_context_cache *cache, struct tls_context *context)
{
    map_remove(&cache->map, context->key);
    list_remove(&context->node);
    tls_context_unref(context);
}

void tls_context_cache_fini(struct tls_context_cache *cache)
{
    tls_context_cache_unmark(cache);
    tls_context_cache_sweep(cache);
    map_fini(&cache->map);
}

struct tls_context *tls_context_cache_get(const struct tls_context_cache *cache, struct slice key)
{
    return map_get(&cache->map, key);
}

// Takes the SSL_CTX and the reference over, also when it fails (NULL: out of memory).
static struct tls_context *cache_put(struct tls_context_cache *cache, struct slice key,
                                     SSL_CTX *ssl, struct tls_store *store)
{
    struct tls_context *context = calloc(1, sizeof(*context));
    char *copy = slice_dup(key);
    if (context == NULL || copy == NULL || map_put(&cache->map, key, context, NULL) != 0) {
        SSL_CTX_free(ssl);
        tls_store_unref(store);
        free(copy);
        free(context);
        return NULL;
    }
    *context = (struct tls_context){
        .ssl = ssl, .store = store, .refs = 1, .key = slice_of(copy, key.len)};
    list_push_back(&cache->list, &context->node);
    return context;
}

struct tls_context *tls_context_make(struct tls_context_cache *cache, struct slice key,
                                     struct tls_worker *worker, const struct tls_context_spec *spec,
                                     struct error *err)
{
    struct tls_store *store = NULL;
    if (spec->verifies && (store = tls_store_get(spec->trust, err)) == NULL) {
        return NULL;
    }
    SSL_CTX *ssl = tls_context_base(worker, spec->is_server, err);
    if (ssl == NULL ||
        (spec->identity != NULL && use_identity(worker, ssl, spec->identity, err) != 0)) {
        SSL_CTX_free(ssl);
        tls_store_unref(store);
        return NULL;
    }
    if (store != NULL) {
        tls_store_use(store, ssl, spec->is_server);
    }
    struct tls_context *context = cache_put(cache, key, ssl, store);
    if (context == NULL) {
        error_set(err, -ENOMEM, "out of memory");
    }
    return context;
}

void tls_context_cache_unmark(struct tls_context_cache *cache)
{
    list_for_each(&cache->list, node) {
        container_of(node, struct tls_context, node)->marked = false;
    }
}

void tls_context_cache_sweep(struct tls_context_cache *cache)
{
    list_for_each(&cache->list, node) {
        struct tls_context *context = container_of(node, struct tls_context, node);
        if (!context->marked) {
            cache_drop(cache, context);
        }
    }
}
