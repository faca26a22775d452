#include "endpoint/server_tls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "endpoint/endpoint.h"

// The text, copied to *at, which moves on.
static struct slice copy_text(struct slice text, char **at)
{
    struct slice copy = slice_of(*at, text.len);
    if (text.len > 0) {
        memcpy(*at, text.ptr, text.len);
    }
    *at += text.len;
    return copy;
}

// One reference. NULL: out of memory.
static struct server_tls *server_tls_new(const struct tls_upstream *upstream)
{
    size_t size = upstream->server_name.len;
    size += upstream->trust != NULL ? upstream->trust->ca_pem.len : 0;
    if (upstream->identity != NULL) {
        size += upstream->identity->certificate_pem.len + upstream->identity->key_pem.len;
    }
    struct server_tls *tls = calloc(1, sizeof(*tls) + size);
    if (tls == NULL) {
        return NULL;
    }
    atomic_init(&tls->refs, 1);
    tls->size = size;
    tls->upstream = *upstream;
    char *at = tls->bytes;
    tls->upstream.server_name = copy_text(upstream->server_name, &at);
    if (upstream->trust != NULL) {
        tls->trust = *upstream->trust;
        tls->trust.ca_pem = copy_text(upstream->trust->ca_pem, &at);
        tls->upstream.trust = &tls->trust;
    }
    if (upstream->identity != NULL) {
        tls->identity = *upstream->identity;
        tls->identity.certificate_pem = copy_text(upstream->identity->certificate_pem, &at);
        tls->identity.key_pem = copy_text(upstream->identity->key_pem, &at);
        tls->upstream.identity = &tls->identity;
    }
    return tls;
}

struct server_tls *server_tls_ref(struct server_tls *tls)
{
    if (tls != NULL) {
        atomic_fetch_add_explicit(&tls->refs, 1, memory_order_relaxed);
    }
    return tls;
}

void server_tls_unref(struct server_tls *tls)
{
    // Acquire and release: whoever frees comes after all who used it.
    if (tls != NULL && atomic_fetch_sub_explicit(&tls->refs, 1, memory_order_acq_rel) == 1) {
        explicit_bzero(tls->bytes, tls->size);
        free(tls);
    }
}

bool server_tls_same(const struct server_tls *a, const struct server_tls *b)
{
    return a == b || (a != NULL && b != NULL &&
                      memcmp(a->upstream.digest, b->upstream.digest, TLS_DIGEST_LEN) == 0);
}

int backend_state_secure(struct backend_state *backend, const struct tls_upstream *upstream)
{
    struct endpoint_table *table = backend->table;
    const struct server_tls *old = backend->tls; // only this thread changes it
    bool same = upstream == NULL ? old == NULL
                                 : old != NULL && memcmp(old->upstream.digest, upstream->digest,
                                                         TLS_DIGEST_LEN) == 0;
    if (same) {
        return 0;
    }
    struct server_tls *next = upstream != NULL ? server_tls_new(upstream) : NULL;
    if (upstream != NULL && next == NULL) {
        return -ENOMEM;
    }
    pthread_mutex_lock(&table->lock);
    struct server_tls *before = backend->tls;
    backend->tls = next;
    pthread_mutex_unlock(&table->lock);
    server_tls_unref(before);
    // Release pairs with the acquire of whoever follows the table.
    atomic_fetch_add_explicit(&table->version, 1, memory_order_release);
    return 0;
}
