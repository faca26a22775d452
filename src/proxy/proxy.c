#include "proxy/proxy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/address_count.h"
#include "proxy/worker.h"
#include "tls/tickets.h"

enum { LISTEN_BACKLOG = 4096 };

struct proxy {
    struct proxy_config config;
    unsigned started;
    uint16_t ports[PROXY_MAX_LISTENERS];
    struct worker workers[];
};

void proxy_config_init(struct proxy_config *config)
{
    *config = (struct proxy_config){
        .workers = 1,
        .limits = H1_LIMITS_DEFAULT,
        .max_body_bytes = UINT64_C(32) << 20,
        .max_streamed_body_bytes = UINT64_C(1) << 30,
        .max_buffered_bytes = UINT64_C(512) << 20,
        .max_connections = 20000,
        .header_timeout_ms = 10000,
        .body_timeout_ms = 60000,
        .idle_timeout_ms = 75000,
        .write_timeout_ms = 60000,
        .upstream_idle_timeout_ms = 4000,
        .max_idle_per_endpoint = 128,
        .http2 = true,
        .http2_max_streams = 128,
        .http2_upstream_streams = 100,
        .tunnel_idle_timeout_ms = 600000,
        .unary_timeout_ms = 3600000,
    };
}

static uint16_t *address_port(struct sockaddr_storage *address)
{
    return address->ss_family == AF_INET ? &((struct sockaddr_in *)address)->sin_port
                                         : &((struct sockaddr_in6 *)address)->sin6_port;
}

// The IPv6 "any" address takes IPv4 clients too, whatever the system's default is.
static void take_both_families(int fd, const struct proxy_address *address)
{
    int off = 0;
    if (address->address.ss_family == AF_INET6 &&
        IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)&address->address)->sin6_addr)) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    }
}

// SO_REUSEPORT: every worker has a queue of its own and the kernel spreads connections.
static int open_listener(const struct proxy_address *address, int *ret_fd, struct error *err)
{
    int fd = socket(address->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return error_set(err, -errno, "cannot create a socket: %s", strerror(errno));
    }
    int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
    take_both_families(fd, address);
    if (bind(fd, (const struct sockaddr *)&address->address, address->len) != 0 ||
        listen(fd, LISTEN_BACKLOG) != 0) {
        int rc = -errno;
        close(fd);
        return error_set(err, rc, "cannot listen: %s%s", strerror(-rc),
                         rc == -EADDRINUSE ? " (another program has this port; see --listen)" : "");
    }
    *ret_fd = fd;
    return 0;
}

// Another program of the same user could share a port by SO_REUSEPORT unnoticed; a first bind
// without it finds that out.
static int probe_address(struct proxy_address *address, struct error *err)
{
    int fd = socket(address->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return error_set(err, -errno, "cannot create a socket: %s", strerror(errno));
    }
    int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    take_both_families(fd, address);
    int rc = 0;
    if (bind(fd, (const struct sockaddr *)&address->address, address->len) != 0) {
        rc = -errno;
        error_set(err, rc, "cannot listen: %s%s", strerror(-rc),
                  rc == -EADDRINUSE ? " (another program has this port; see --listen)" : "");
    } else {
        // Port 0 becomes a real one, the same for all workers.
        socklen_t len = sizeof(address->address);
        getsockname(fd, (struct sockaddr *)&address->address, &len);
    }
    close(fd);
    return rc;
}

static int start_worker(struct proxy *proxy, unsigned index, struct error *err)
{
    int fds[PROXY_MAX_LISTENERS];
    for (size_t i = 0; i < proxy->config.listen_count; i++) {
        int rc = open_listener(&proxy->config.listen[i], &fds[i], err);
        if (rc != 0) {
            while (i > 0) {
                close(fds[--i]);
            }
            return rc;
        }
    }
    return worker_start(&proxy->workers[index], &proxy->config, index, fds, err);
}

static int count_addresses(struct proxy_config *config, struct error *err)
{
    if (config->max_connections_per_address == 0) {
        return 0;
    }
    config->address_count = address_count_new((size_t)config->workers * config->max_connections);
    return config->address_count != NULL ? 0 : error_set(err, -ENOMEM, "out of memory");
}

int proxy_start(const struct proxy_config *config, struct proxy **ret_proxy, struct error *err)
{
    if (config->workers == 0 || config->workers > PROXY_MAX_WORKERS) {
        return error_set(err, -EINVAL, "workers must be 1 to %d", PROXY_MAX_WORKERS);
    }
    size_t size = sizeof(struct proxy) + config->workers * sizeof(struct worker);
    struct proxy *proxy = aligned_alloc(CACHE_LINE,
                                        (size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
    if (proxy == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    memset(proxy, 0, size);
    proxy->config = *config;
    int rc = count_addresses(&proxy->config, err);
    if (rc == 0) {
        rc = tls_tickets_new(TLS_TICKET_PERIOD_MS, clock_mono_ms(), &proxy->config.tls_tickets);
        if (rc != 0) {
            error_set(err, rc, "no keys for session tickets: %s", strerror(-rc));
        }
    }
    for (size_t i = 0; i < config->listen_count && rc == 0; i++) {
        rc = probe_address(&proxy->config.listen[i], err);
        proxy->ports[i] = ntohs(*address_port(&proxy->config.listen[i].address));
    }
    while (rc == 0 && proxy->started < config->workers) {
        rc = start_worker(proxy, proxy->started, err);
        proxy->started += rc == 0 ? 1 : 0;
    }
    if (rc != 0) {
        proxy_stop(proxy);
        return rc;
    }
    *ret_proxy = proxy;
    return 0;
}

uint16_t proxy_port(const struct proxy *proxy, size_t index)
{
    return proxy->ports[index];
}

void proxy_leave(struct proxy *proxy)
{
    for (unsigned i = 0; i < proxy->started; i++) {
        worker_leave(&proxy->workers[i]);
    }
}

void proxy_drain(struct proxy *proxy)
{
    for (unsigned i = 0; i < proxy->started; i++) {
        worker_drain(&proxy->workers[i]);
    }
}

uint64_t proxy_connections(const struct proxy *proxy)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < proxy->started; i++) {
        sum += atomic_load_explicit(&proxy->workers[i].downstream_count, memory_order_relaxed);
    }
    return sum;
}

const struct proxy_config *proxy_config_of(const struct proxy *proxy)
{
    return &proxy->config;
}

unsigned proxy_worker_count(const struct proxy *proxy)
{
    return proxy->started;
}

struct worker *proxy_worker(struct proxy *proxy, unsigned index)
{
    return &proxy->workers[index];
}

void proxy_stop(struct proxy *proxy)
{
    if (proxy == NULL) {
        return;
    }
    for (unsigned i = 0; i < proxy->started; i++) {
        worker_stop(&proxy->workers[i]);
    }
    address_count_free(proxy->config.address_count);
    tls_tickets_free(proxy->config.tls_tickets);
    free(proxy);
}
