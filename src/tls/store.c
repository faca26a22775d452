#include "tls/store.h"

#include <errno.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tls/internal.h"

enum {
    NAMED_AUTHORITIES_MAX = 64, // told to clients; the list is part of each handshake
};

struct tls_store {
    struct list_node node;
    unsigned refs; // under the lock
    uint8_t digest[TLS_DIGEST_LEN];
    X509_STORE *store;
    STACK_OF(X509_NAME) *names; // of the authorities; empty when there are too many to tell
};

// Handshakes do not come here, only the first of a worker with a configuration that is new to it.
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct list_node all = {.prev = &all, .next = &all};

static pthread_once_t system_once = PTHREAD_ONCE_INIT;
static struct tls_store system_store; // not in the list, not counted; without a store: unreadable

static void read_system(void)
{
    X509_STORE *store = X509_STORE_new();
    if (store != NULL && X509_STORE_set_default_paths(store)) {
        system_store.store = store;
    } else {
        X509_STORE_free(store);
    }
    ERR_clear_error();
}

// Adds each to the store, and its name to the names while there is room.
static int add_authorities(struct tls_store *store, BIO *bio)
{
    size_t count = 0;
    X509 *ca;
    while ((ca = tls_next_certificate(NULL, bio)) != NULL) {
        bool ok = X509_STORE_add_cert(store->store, ca);
        X509_NAME *name = X509_NAME_dup(X509_get_subject_name(ca));
        if (!ok || name == NULL || !sk_X509_NAME_push(store->names, name)) {
            X509_NAME_free(name);
            ok = false;
        }
        X509_free(ca);
        if (!ok) {
            return -EINVAL;
        }
        count++;
    }
    if (count > NAMED_AUTHORITIES_MAX) {
        sk_X509_NAME_pop_free(store->names, X509_NAME_free);
        store->names = NULL;
    }
    return ERR_peek_error() == 0 && count != 0 ? 0 : -EINVAL;
}

static void store_free(struct tls_store *store)
{
    X509_STORE_free(store->store);
    sk_X509_NAME_pop_free(store->names, X509_NAME_free);
    free(store);
}

// Whatever was configured as an authority is one, be it an intermediate or the server's own
// certificate.
static struct tls_store *read_trust(const struct tls_trust *trust, struct error *err)
{
    struct tls_store *store = calloc(1, sizeof(*store));
    if (store == NULL) {
        error_set(err, -ENOMEM, "out of memory");
        return NULL;
    }
    store->refs = 1;
    store->store = X509_STORE_new();
    store->names = sk_X509_NAME_new_null();
    memcpy(store->digest, trust->digest, TLS_DIGEST_LEN);
    BIO *bio = tls_pem_reader(trust->ca_pem);
    int rc = bio != NULL && store->store != NULL && store->names != NULL
                 ? add_authorities(store, bio)
                 : -ENOMEM;
    BIO_free(bio);
    if (rc != 0) {
        struct error cause = tls_take_errors();
        error_set(err, rc, "the authorities cannot be used: %s",
                  cause.text[0] != '\0' ? cause.text : "no certificate in them");
        store_free(store);
        return NULL;
    }
    X509_STORE_set_flags(store->store, X509_V_FLAG_PARTIAL_CHAIN);
    return store;
}

// With one reference more; NULL: nobody holds it.
static struct tls_store *find_locked(const uint8_t *digest)
{
    list_for_each(&all, node) {
        struct tls_store *store = container_of(node, struct tls_store, node);
        if (memcmp(store->digest, digest, TLS_DIGEST_LEN) == 0) {
            store->refs++;
            return store;
        }
    }
    return NULL;
}

struct tls_store *tls_store_get(const struct tls_trust *trust, struct error *err)
{
    if (trust == NULL) {
        pthread_once(&system_once, read_system);
        if (system_store.store == NULL) {
            error_set(err, -ENOENT, "the system's authorities cannot be read");
            return NULL;
        }
        return &system_store;
    }
    pthread_mutex_lock(&lock);
    struct tls_store *store = find_locked(trust->digest);
    pthread_mutex_unlock(&lock);
    if (store != NULL) {
        return store;
    }
    struct tls_store *mine = read_trust(trust, err);
    if (mine == NULL) {
        return NULL;
    }
    pthread_mutex_lock(&lock);
    store = find_locked(trust->digest); // somebody else read it at the same time
    if (store == NULL) {
        list_push_back(&all, &mine->node);
        store = mine;
    }
    pthread_mutex_unlock(&lock);
    if (store != mine) {
        store_free(mine);
    }
    return store;
}

void tls_store_unref(struct tls_store *store)
{
    if (store == NULL || store == &system_store) {
        return;
    }
    pthread_mutex_lock(&lock);
    bool last = --store->refs == 0;
    if (last) {
        list_remove(&store->node);
    }
    pthread_mutex_unlock(&lock);
    if (last) {
        store_free(store);
    }
}

void tls_store_use(const struct tls_store *store, SSL_CTX *ssl, bool is_server)
{
    SSL_CTX_set1_cert_store(ssl, store->store);
    if (is_server && store->names != NULL) {
        SSL_CTX_set0_CA_list(ssl, SSL_dup_CA_list(store->names));
    }
}
