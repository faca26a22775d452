#include "proxy/upstream_tls.h"

#include <errno.h>
#include <string.h>

#include "observe/metrics.h"
#include "proxy/request.h"
#include "proxy/worker.h"

struct upstream_pin upstream_tls_pin(const struct request *request)
{
    const struct tls_upstream *tls = request->target->backend->tls;
    struct upstream_pin pin = {.tls = tls != NULL};
    if (tls != NULL) {
        memcpy(pin.digest, tls->digest, TLS_DIGEST_LEN);
    }
    return pin;
}

bool upstream_tls_same(const struct upstream_pin *a, const struct upstream_pin *b)
{
    return a->tls == b->tls && memcmp(a->digest, b->digest, TLS_DIGEST_LEN) == 0;
}

int upstream_tls_begin(struct worker *worker, struct transport *transport,
                       const struct endpoint *endpoint, const struct request *request)
{
    const struct snap_backend *backend = request->target->backend;
    if (backend->tls == NULL) {
        return 0;
    }
    struct error err = ERROR_INIT;
    enum tls_alpn alpn =
        backend->protocol == SNAP_PROTOCOL_HTTP2 ? TLS_ALPN_H2 : TLS_ALPN_HTTP1;
    struct tls_client *client = worker_tls_client(worker, &err);
    if (client != NULL) {
        transport->tls = tls_client_connect(client, transport->fd, backend->tls,
                                            (const struct sockaddr *)&endpoint->address, alpn,
                                            &err);
    }
    if (transport->tls == NULL) {
        worker_tls_failed(worker, METRIC_TLS_UPSTREAM, TLS_FAULT_CONFIGURATION, endpoint->text,
                          err.text);
        return EPROTO;
    }
    return 0;
}

int upstream_tls_shake(struct worker *worker, struct transport *transport,
                       const struct endpoint *endpoint)
{
    if (transport->tls == NULL) {
        return 0;
    }
    int rc = tls_conn_handshake(transport->tls);
    if (rc == 0) {
        metrics_add(worker->metrics,
                    tls_conn_resumed(transport->tls) ? METRIC_TLS_UPSTREAM_RESUMED
                                                     : METRIC_TLS_UPSTREAM_FULL, 1);
    } else if (rc != -EAGAIN) {
        worker_tls_failed(worker, METRIC_TLS_UPSTREAM, tls_conn_fault(transport->tls),
                          endpoint->text, tls_conn_error(transport->tls));
    }
    return rc;
}
