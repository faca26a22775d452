// A client connection until hands were shaken: TLS decides which protocol goes on.
#include "observe/metrics.h"
#include "proxy/client_tls.h"
#include "proxy/downstream.h"
#include "proxy/downstream_h2.h"
#include "proxy/worker.h"

static void give_up(struct downstream *down, enum tls_fault fault, const char *text)
{
    worker_tls_failed(down->stream.worker, METRIC_TLS_CLIENT, fault, down->peer, text);
    downstream_close(down);
}

// What the connection is from now on.
static void go_on(struct downstream *down)
{
    struct worker *worker = down->stream.worker;
    const struct tls_conn *conn = down->transport.tls;
    down->tls = client_tls_new(conn);
    if (down->tls == NULL) {
        give_up(down, TLS_FAULT_INTERNAL, "out of memory");
        return;
    }
    down->stream.tls = down->tls;
    metrics_add(worker->metrics,
                tls_conn_resumed(conn) ? METRIC_TLS_CLIENT_RESUMED : METRIC_TLS_CLIENT_FULL, 1);
    down->client.is_tls = true;
    down->client.is_verified = tls_conn_verified(conn, down->client.trust_digest);
    if (tls_conn_alpn(conn) == TLS_ALPN_H2) {
        (void)downstream_h2_start(down, NULL, 0);
        return;
    }
    down->protocol = &downstream_h1;
    downstream_set_deadline(down, worker->config->idle_timeout_ms);
    if (down->draining) {
        down->protocol->drain(down); // reads as well
    } else {
        // A request may have come with the last bytes of the handshake: no event tells of it.
        down->protocol->on_readable(down, down->hung_up ? EPOLLRDHUP : 0);
    }
}

static void shake(struct downstream *down)
{
    struct tls_conn *conn = down->transport.tls;
    int rc = tls_conn_handshake(conn);
    if (rc == 0) {
        go_on(down);
    } else if (rc != -EAGAIN) {
        give_up(down, tls_conn_fault(conn), tls_conn_error(conn));
    } else if (down->hung_up) {
        give_up(down, TLS_FAULT_CLOSED, tls_fault_text(TLS_FAULT_CLOSED));
    }
}

static void tls_on_readable(struct downstream *down, uint32_t events)
{
    down->hung_up = down->hung_up || (events & EPOLLRDHUP) != 0;
    shake(down);
}

static void tls_on_broken(struct downstream *down)
{
    give_up(down, TLS_FAULT_CLOSED, tls_fault_text(TLS_FAULT_CLOSED));
}

static void tls_on_deadline(struct downstream *down)
{
    give_up(down, TLS_FAULT_TIMEOUT, tls_fault_text(TLS_FAULT_TIMEOUT));
}

// Let in already: its first request is on the way, and is its last (see go_on).
static void tls_drain(struct downstream *down)
{
    (void)down;
}

const struct downstream_protocol downstream_tls = {
    .on_readable = tls_on_readable,
    .on_writable = shake,
    .on_broken = tls_on_broken,
    .on_deadline = tls_on_deadline,
    .drain = tls_drain,
    .cut = downstream_close,
};
