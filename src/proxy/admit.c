#include "proxy/admit.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "net/address_count.h"
#include "net/ip.h"
#include "observe/metrics.h"
#include "proxy/downstream.h"
#include "proxy/overload.h"
#include "proxy/preface.h"
#include "proxy/warn.h"
#include "proxy/worker.h"

// Clients get three quarters of the descriptors, so that whoever is in can be served: the kernel
// gives the lowest number that is free, so a number tells how many are in use.
enum { FILES_KEPT_SHARE = 4 };

// Without a length: the end of the connection is the end of the answer.
#define ANSWER(status, type, code, message)                                           \
    "HTTP/1.1 " status "\r\ncontent-type: application/json\r\nretry-after: 1\r\n"     \
    "connection: close\r\n\r\n{\"error\":{\"message\":\"" message "\",\"type\":\"" type \
    "\",\"param\":null,\"code\":\"" code "\"}}"

static const struct refusal {
    enum metric metric;
    const char *reason;
    const char *answer;
} too_many = {METRIC_REFUSED_ADDRESS_LIMIT, "address_limit",
             ANSWER("429 Too Many Requests", "invalid_request_error", "address_limit",
                    "too many connections from your address")},
  no_memory = {METRIC_REFUSED_MEMORY, "memory",
               ANSWER("503 Service Unavailable", "service_unavailable", "memory_limit",
                      "the gateway is short of memory; try again shortly")},
  no_files = {METRIC_REFUSED_FILES, "files",
              ANSWER("503 Service Unavailable", "service_unavailable", "file_limit",
                     "the gateway has no room for another connection; try again shortly")};

// Who waits for a handshake is told by a fatal alert, internal_error (RFC 8446 section 6).
static const char TLS_ANSWER[] = "\x15\x03\x01\x00\x02\x02\x50";

// What has arrived is read, once: unread bytes would turn the close into a reset, which may destroy
// the answer on its way.
static void tell(struct worker *worker, int fd, const char *client, const struct refusal *refusal,
                 bool tls)
{
    struct slice answer = tls ? slice_of(TLS_ANSWER, sizeof(TLS_ANSWER) - 1)
                              : slice_of_str(refusal->answer);
    metrics_add(worker->metrics, refusal->metric, 1);
    warn_turned_away(worker, refusal->reason, client);
    (void)!recv(fd, worker_receive_buffer(worker), SCRATCH_SIZE, MSG_DONTWAIT);
    (void)!send(fd, answer.ptr, answer.len, MSG_DONTWAIT | MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
}

static void send_away(struct worker *worker, int fd, const char *client,
                      const struct refusal *refusal, bool tls)
{
    tell(worker, fd, client, refusal, tls);
    close(fd);
}

// What admit_gone wants to have, or ADDRESS_COUNT_REFUSED. A proxy that is trusted brings many
// clients from one address.
static uint32_t count(const struct proxy_config *config, const char *client)
{
    struct ip ip;
    if (config->address_count == NULL || ip_parse(slice_of_str(client), &ip) != 0 ||
        cidr_list_contains(&config->trusted_proxies, &ip)) {
        return ADDRESS_COUNT_UNCOUNTED;
    }
    return address_count_enter(config->address_count, &ip, config->max_connections_per_address);
}

bool admit_connection(struct worker *worker, int fd, const char *client, bool tls,
                      uint32_t *ret_slot)
{
    const struct proxy_config *config = worker->config;
    if (config->overload != NULL && overload_now(config->overload) >= OVERLOAD_CONNECTIONS) {
        send_away(worker, fd, client, &no_memory, tls);
        return false;
    }
    if (fd >= worker->client_fds) {
        send_away(worker, fd, client, &no_files, tls);
        return false;
    }
    // Who is about to be named counts then: before, all clients of a load balancer would be one.
    bool later = preface_of(config, client) == PREFACE_WAIT;
    *ret_slot = later ? ADDRESS_COUNT_UNCOUNTED : count(config, client);
    if (*ret_slot == ADDRESS_COUNT_REFUSED) {
        send_away(worker, fd, client, &too_many, tls);
        return false;
    }
    return true;
}

bool admit_named(struct downstream *down)
{
    struct worker *worker = down->stream.worker;
    down->address_slot = count(worker->config, down->peer);
    if (down->address_slot == ADDRESS_COUNT_REFUSED) {
        tell(worker, down->transport.fd, down->peer, &too_many, down->transport.tls != NULL);
        return false;
    }
    return true;
}

void admit_gone(struct worker *worker, uint32_t slot)
{
    if (worker->config->address_count != NULL) {
        address_count_leave(worker->config->address_count, slot);
    }
}

static void keep_file(struct worker *worker)
{
    if (worker->kept_fd < 0) {
        worker->kept_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
}

bool admit_without_files(struct worker *worker, int listener_fd, bool tls)
{
    if (worker->kept_fd < 0) {
        return false;
    }
    close(worker->kept_fd);
    worker->kept_fd = -1;
    int fd = accept4(listener_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        send_away(worker, fd, "", &no_files, tls);
    }
    keep_file(worker);
    return fd >= 0;
}

void admit_look(struct worker *worker)
{
    struct rlimit limit;
    int most = INT_MAX;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < INT_MAX) {
        most = (int)limit.rlim_cur;
    }
    worker->client_fds = most - most / FILES_KEPT_SHARE;
    keep_file(worker);
}
