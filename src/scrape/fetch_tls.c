#include "scrape/fetch_tls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool fetch_speaks_tls(enum endpoint_scheme scheme, bool backend_is_tls,
                      const struct endpoint *endpoint, uint16_t port)
{
    return scheme == ENDPOINT_SCHEME_HTTPS ||
           (scheme == ENDPOINT_SCHEME_DEFAULT && backend_is_tls && port == endpoint_port(endpoint));
}

void fetch_add_host(struct strbuf *request, const struct endpoint *endpoint, uint16_t port,
                    const struct server_tls *tls)
{
    const char *text = endpoint->text; // "address:port"
    struct slice host = slice_of(text, (size_t)(strrchr(text, ':') - text));
    if (tls != NULL && tls->upstream.server_name.len > 0) {
        host = tls->upstream.server_name;
    }
    strbuf_printf(request, "%.*s:%u", SLICE_FMT(host), port);
}

static struct tls_client *ensure_client(struct fetch_tls *tls, struct error *err)
{
    if (tls->worker == NULL && tls_worker_new(&tls->worker, err) != 0) {
        tls->worker = NULL;
        return NULL;
    }
    if (tls->client == NULL && tls_client_new(tls->worker, &tls->client, err) != 0) {
        tls->client = NULL;
    }
    return tls->client;
}

void fetch_tls_fini(struct fetch_tls *tls)
{
    tls_client_free(tls->client);
    tls_worker_free(tls->worker);
    tls->client = NULL;
    tls->worker = NULL;
}

int fetch_tls_begin(struct fetch_tls *tls, struct transport *transport,
                    const struct server_tls *server, const struct sockaddr *peer,
                    struct error *err)
{
    struct tls_client *client = ensure_client(tls, err);
    if (client != NULL) {
        // HTTP/1.1 and nothing else, whatever requests to this backend speak.
        transport->tls = tls_client_connect(client, transport->fd, &server->upstream, peer,
                                            TLS_ALPN_HTTP1, err);
    }
    if (transport->tls == NULL) {
        fetch_tls_failed(tls, TLS_FAULT_CONFIGURATION);
        return -EPROTO;
    }
    return 0;
}

int fetch_tls_shake(struct fetch_tls *tls, struct transport *transport)
{
    int rc = tls_conn_handshake(transport->tls);
    if (rc == 0) {
        bool resumed = tls_conn_resumed(transport->tls);
        atomic_fetch_add_explicit(&tls->table->scraper_handshakes[resumed], 1,
                                  memory_order_relaxed);
    }
    return rc;
}

void fetch_tls_failed(struct fetch_tls *tls, enum tls_fault fault)
{
    if (fault != TLS_FAULT_NONE && fault < TLS_FAULT_COUNT) {
        atomic_fetch_add_explicit(&tls->table->scraper_tls_faults[fault], 1,
                                  memory_order_relaxed);
    }
}

bool fetch_tls_follow(struct fetch_tls *tls, struct endpoint_table *table)
{
    if (tls->client == NULL) {
        return true;
    }
    size_t count = 0;
    list_for_each(&table->backend_list, each) {
        count += container_of(each, struct backend_state, node)->tls != NULL;
    }
    const struct tls_upstream **kept = calloc(count + 1, sizeof(const struct tls_upstream *));
    if (kept == NULL) {
        return false;
    }
    count = 0;
    list_for_each(&table->backend_list, node) {
        const struct backend_state *backend = container_of(node, struct backend_state, node);
        if (backend->tls != NULL) {
            kept[count++] = &backend->tls->upstream;
        }
    }
    tls_client_keep_only(tls->client, kept, count);
    free(kept);
    return true;
}
