#include "tls/worker.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/provider.h>
#include <stdlib.h>

#include "tls/internal.h"

// What is used in every handshake is looked up once, here: each look-up takes locks and compares
// names. What OpenSSL itself looks up per handshake it finds in the caches of this library context,
// whose locks nobody else takes.
static int fetch_all(struct tls_worker *worker)
{
    worker->library = OSSL_LIB_CTX_new();
    if (worker->library == NULL) {
        return -ENOMEM;
    }
    worker->provider = OSSL_PROVIDER_load(worker->library, "default");
    if (worker->provider == NULL) {
        return -ENOENT;
    }
    worker->ticket_cipher = EVP_CIPHER_fetch(worker->library, "AES-256-CBC", NULL);
    worker->sha256 = EVP_MD_fetch(worker->library, "SHA256", NULL);
    return worker->ticket_cipher != NULL && worker->sha256 != NULL ? 0 : -ENOENT;
}

int tls_worker_new(struct tls_worker **ret_worker, struct error *err)
{
    struct tls_worker *worker = calloc(1, sizeof(*worker));
    if (worker == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    int rc = fetch_all(worker);
    if (rc == 0) {
        rc = tls_socket_init(worker);
    }
    worker->gather = malloc(TLS_RECORD_MAX);
    worker->out = malloc(TLS_UNSENT_MAX);
    if (worker->gather == NULL || worker->out == NULL) {
        rc = -ENOMEM;
    }
    if (rc != 0) {
        struct error cause = tls_take_errors();
        tls_worker_free(worker);
        return error_set(err, rc, "OpenSSL cannot be set up: %s", cause.text);
    }
    *ret_worker = worker;
    return 0;
}

void tls_worker_free(struct tls_worker *worker)
{
    if (worker == NULL) {
        return;
    }
    EVP_CIPHER_free(worker->ticket_cipher);
    EVP_MD_free(worker->sha256);
    BIO_meth_free(worker->socket);
    if (worker->provider != NULL) {
        OSSL_PROVIDER_unload(worker->provider);
    }
    OSSL_LIB_CTX_free(worker->library);
    free(worker->gather);
    free(worker->out);
    free(worker);
}
