// The data plane: N workers, each with its own loop, listeners and connections.
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/error.h"
#include "endpoint/endpoint.h"
#include "event/epoch.h"
#include "http/h1.h"
#include "net/cidr.h"
#include "snapshot/publish.h"

enum { PROXY_MAX_LISTENERS = 8, PROXY_MAX_WORKERS = 128 };

struct proxy_address {
    struct sockaddr_storage address;
    socklen_t len;
    bool tls;
};

// What a connection has to begin with.
enum proxy_protocol_use {
    PROXY_PROTOCOL_OFF,
    PROXY_PROTOCOL_OPTIONAL, // from trusted proxies only
    PROXY_PROTOCOL_REQUIRED, // from trusted proxies, or from everybody when none are named
};

struct metrics;
struct access_log;
struct decisions;
struct overload;
struct address_count;
struct tls_tickets;

struct proxy_config {
    struct proxy_address listen[PROXY_MAX_LISTENERS];
    size_t listen_count;
    unsigned workers;
    struct publisher *publisher;
    struct endpoint_table *endpoints;
    struct epoch *epoch;
    struct metrics *metrics;
    struct decisions *decisions;
    struct access_log *access_log; // NULL = off; a lane for each worker
    struct tls_tickets *tls_tickets; // proxy_start's own; set by it
    struct h1_limits limits;
    uint64_t max_body_bytes;           // of a request that is held whole (or until its model)
    uint64_t max_streamed_body_bytes;  // of one that streams through
    uint64_t max_buffered_bytes;       // of all requests and client connections of a worker
    uint32_t max_connections;          // per worker; beyond it accepting pauses
    uint32_t max_connections_per_address; // of all workers; 0 = as many as they like
    struct address_count *address_count;  // proxy_start makes it
    const struct overload *overload;      // NULL: memory is no matter
    uint32_t header_timeout_ms;        // first byte of a request to the end of its head
    uint32_t body_timeout_ms;          // between two reads of a request body
    uint32_t idle_timeout_ms;          // client keep-alive
    uint32_t drain_window_ms;          // over which client connections get their turn to end
    uint32_t write_timeout_ms;         // a client that takes nothing for so long is dropped
    uint32_t upstream_idle_timeout_ms; // below the 5 s of uvicorn, so that we close first
    uint32_t max_idle_per_endpoint;    // per worker
    uint32_t busy_poll_us;             // look for events so long before sleeping; 0 = never
    bool http2;                        // clients may speak it
    uint32_t http2_max_streams;        // of one client connection, at a time
    uint32_t http2_upstream_streams;   // on one connection to an endpoint, at a time
    struct cidr_list trusted_proxies;  // the maker's; what their headers say of clients is believed
    enum proxy_protocol_use proxy_protocol;
    uint32_t tunnel_idle_timeout_ms;   // of an upgraded connection or gRPC call, both ways
    uint32_t unary_timeout_ms; // an answer that is not streamed has no first token to wait for
};

// Production defaults for everything but addresses and pointers.
void proxy_config_init(struct proxy_config *config);

struct proxy;

// Binds and starts the workers. On failure nothing runs.
MUST_CHECK int proxy_start(const struct proxy_config *config, struct proxy **ret_proxy,
                           struct error *err);

// The port that listener `index` is bound to (for port 0).
uint16_t proxy_port(const struct proxy *proxy, size_t index);

// The grace time before a drain: serves everybody, but each answer says that its connection closes,
// so that clients come back to somebody else.
void proxy_leave(struct proxy *proxy);

// Drain: closes the listeners, lets running requests end, closes each connection after an answer
// that said so, or when its turn has come within the window and nothing runs on it.
void proxy_drain(struct proxy *proxy);

// Open client connections of all workers; 0 means drained.
uint64_t proxy_connections(const struct proxy *proxy);

const struct proxy_config *proxy_config_of(const struct proxy *proxy);

// For proxy/dump.h: the workers, whose insides are their threads' own.
struct worker;
unsigned proxy_worker_count(const struct proxy *proxy);
struct worker *proxy_worker(struct proxy *proxy, unsigned index);

// Cuts what is left, joins the workers, frees.
void proxy_stop(struct proxy *proxy);
