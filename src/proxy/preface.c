#include "proxy/preface.h"

#include <sys/socket.h>

#include "net/proxy_protocol.h"
#include "observe/metrics.h"
#include "proxy/admit.h"
#include "proxy/worker.h"

enum preface preface_of(const struct proxy_config *config, const char *peer)
{
    const struct cidr_list *trusted = &config->trusted_proxies;
    struct ip ip;
    if (config->proxy_protocol == PROXY_PROTOCOL_OFF) {
        return PREFACE_NONE;
    }
    bool believed = trusted->count == 0 || (ip_parse(slice_of_str(peer), &ip) == 0 &&
                                            cidr_list_contains(trusted, &ip));
    if (believed) {
        return PREFACE_WAIT;
    }
    return config->proxy_protocol == PROXY_PROTOCOL_REQUIRED ? PREFACE_REFUSED : PREFACE_NONE;
}

static void refuse(struct downstream *down)
{
    metrics_add(down->stream.worker->metrics, METRIC_PROXY_PROTOCOL_ERRORS, 1);
    downstream_close(down);
}

static void hand_over(struct downstream *down, uint32_t events)
{
    if (!admit_named(down)) {
        downstream_close(down);
        return;
    }
    downstream_begin(down);
    down->protocol->on_readable(down, events);
}

// The header is looked at where it lies until all of it is there: nothing is kept of it here, and
// what follows it stays for who comes next. More of it is a new edge.
static void preface_on_readable(struct downstream *down, uint32_t events)
{
    struct worker *worker = down->stream.worker;
    char *buf = worker_receive_buffer(worker);
    struct proxy_protocol header = {.has_addresses = false};
    ssize_t n;
    do {
        n = recv(down->transport.fd, buf, PROXY_PROTOCOL_MAX, MSG_PEEK);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        return;
    }
    if (n <= 0) {
        downstream_close(down);
        return;
    }
    ptrdiff_t used = proxy_protocol_parse(buf, (size_t)n, &header);
    if (used == -(ptrdiff_t)PROXY_PROTOCOL_SIGNATURE &&
        worker->config->proxy_protocol == PROXY_PROTOCOL_OPTIONAL) {
        hand_over(down, events);
        return;
    }
    bool cut = used == 0 && (events & EPOLLRDHUP) != 0;
    if (used < 0 || cut || (used > 0 && recv(down->transport.fd, buf, (size_t)used, 0) != used)) {
        refuse(down);
        return;
    }
    if (used == 0) {
        return;
    }
    if (header.has_addresses) {
        ip_print(&header.source, down->peer);
    }
    hand_over(down, events);
}

static void preface_on_writable(struct downstream *down)
{
    (void)down; // nothing was sent yet
}

// Also the end of the time limit: silence is no header.
static void preface_close(struct downstream *down)
{
    downstream_close(down);
}

static void preface_drain(struct downstream *down)
{
    (void)down; // just accepted: its request is on the way, and is its last; else the time limit
}

const struct downstream_protocol downstream_preface = {
    .on_readable = preface_on_readable,
    .on_writable = preface_on_writable,
    .on_broken = preface_close,
    .on_deadline = preface_close,
    .drain = preface_drain,
    .cut = preface_close,
};
