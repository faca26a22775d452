#include "proxy/worker_tls.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "proxy/worker.h"

enum { LINES_MAX = 10, LINES_MS = 10000 };

static const struct tls_host *lookup(void *arg, struct slice name)
{
    const struct worker *worker = arg;
    // Workers shake hands inside an epoch section: it stays for this turn of the loop.
    const struct snapshot *snapshot = publisher_current(worker->config->publisher);
    return snapshot != NULL ? snapshot_tls_host(snapshot, name) : NULL;
}

static int ensure_worker(struct worker_tls *tls, struct error *err)
{
    return tls->worker != NULL ? 0 : tls_worker_new(&tls->worker, err);
}

int worker_tls_start_server(struct worker *worker, struct error *err)
{
    struct worker_tls *tls = &worker->tls;
    if (tls->server != NULL) {
        return 0;
    }
    int rc = ensure_worker(tls, err);
    return rc == 0 ? tls_server_new(tls->worker, worker->config->tls_tickets, lookup, worker,
                                    &tls->server, err)
                   : rc;
}

void worker_tls_fini(struct worker *worker)
{
    tls_server_free(worker->tls.server);
    tls_client_free(worker->tls.client);
    tls_worker_free(worker->tls.worker);
    worker->tls = (struct worker_tls){.worker = NULL};
}

struct tls_client *worker_tls_client(struct worker *worker, struct error *err)
{
    struct worker_tls *tls = &worker->tls;
    if (tls->client == NULL && ensure_worker(tls, err) == 0 &&
        tls_client_new(tls->worker, &tls->client, err) != 0) {
        tls->client = NULL;
    }
    return tls->client;
}

static void refresh_client(struct tls_client *client, const struct snapshot *snapshot)
{
    const struct tls_upstream **upstreams = calloc(snapshot->backend_count + 1,
                                                   sizeof(const struct tls_upstream *));
    if (upstreams == NULL) {
        return; // with the next configuration
    }
    size_t count = 0;
    for (size_t i = 0; i < snapshot->backend_count; i++) {
        if (snapshot->backends[i]->tls != NULL) {
            upstreams[count++] = snapshot->backends[i]->tls;
        }
    }
    tls_client_keep_only(client, upstreams, count);
    free(upstreams);
}

void worker_tls_refresh(struct worker *worker)
{
    struct worker_tls *tls = &worker->tls;
    const struct snapshot *snapshot = publisher_current(worker->config->publisher);
    if (snapshot == NULL || snapshot->generation == tls->generation) {
        return;
    }
    tls->generation = snapshot->generation;
    if (tls->server != NULL) {
        tls_server_keep_only(tls->server, snapshot->tls_hosts, snapshot->tls_host_count);
    }
    if (tls->client != NULL) {
        refresh_client(tls->client, snapshot);
    }
}

// Clients fail all the time (scanners, probes of load balancers): that is for debugging. A server
// of ours that cannot be reached is for whoever runs it.
static void say(enum metric_tls_side side, enum tls_fault fault, const char *peer,
                const char *text)
{
    if (side == METRIC_TLS_CLIENT) {
        log_debug("TLS handshake with a client failed", LOG_STR("client", peer),
                  LOG_STR("reason", tls_fault_label(fault)), LOG_STR("text", text));
    } else {
        log_warn("TLS handshake with a server failed", LOG_STR("endpoint", peer),
                 LOG_STR("reason", tls_fault_label(fault)), LOG_STR("text", text));
    }
}

void worker_tls_failed(struct worker *worker, enum metric_tls_side side, enum tls_fault fault,
                       const char *peer, const char *text)
{
    struct worker_tls *tls = &worker->tls;
    metrics_tls_fault(worker->metrics, side, fault);
    uint64_t now = worker_now_ms(worker);
    if (now - tls->said_ms >= LINES_MS) {
        tls->said_ms = now;
        tls->said = 0;
    }
    bool is_said = side != METRIC_TLS_CLIENT || log_current_level() <= LOG_LEVEL_DEBUG;
    if (is_said && tls->said++ < LINES_MAX) {
        say(side, fault, peer, text);
    }
}
