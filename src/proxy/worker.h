// A worker: one thread, one loop, its connections. Everything here is used by its thread only.
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "base/log_limit.h"
#include "base/rand.h"
#include "base/strbuf.h"
#include "event/loop.h"
#include "proxy/drain.h"
#include "proxy/endpoint_lists.h"
#include "proxy/pool.h"
#include "proxy/proxy.h"
#include "proxy/worker_tls.h"

// One receive buffer for all connections of the worker. The room in front and behind lets a chunk
// be framed in place.
enum {
    SCRATCH_FRONT = 64,
    SCRATCH_SIZE = 65536,
    SCRATCH_BACK = 64,
    WORKER_HEAD_MAX = 128 * 1024, // of a rendered head
    WORKER_BATCH_MAX = 256 * 1024, // of frames
};

struct downstream;
struct request;
struct metrics_worker;
struct access_log_lane;
struct decision_ring;

struct listener {
    struct io io;
    bool tls;
    struct worker *worker;
    bool accepting;
};

struct worker {
    const struct proxy_config *config;
    unsigned index;
    pthread_t thread;
    bool started;
    struct loop *loop;
    struct epoch_reader *reader;
    struct rand_state rng;
    struct snapshot_holder holder;
    struct listener listeners[PROXY_MAX_LISTENERS];
    struct list_node downstreams;
    struct list_node closed_downstreams; // until the end of the turn
    struct list_node closed_streams;     // of HTTP/2, likewise
    struct task reap;
    _Atomic uint64_t downstream_count; // read by the drain
    struct upstream_pool pool;         // idle HTTP/1 connections to endpoints
    struct endpoint_lists h2_clients;  // HTTP/2 connections to endpoints that take exchanges
    struct list_node h2_all;           // and all of them
    struct list_node free_downstreams; // kept for reuse, bounded
    struct list_node free_requests;
    struct list_node requests; // under way, oldest first
    uint64_t request_count;
    size_t free_request_count;
    size_t free_downstream_count;
    char *scratch;               // SCRATCH_FRONT + SCRATCH_SIZE + SCRATCH_BACK
    struct http_header *headers; // limits.max_headers, for parsing
    struct strbuf head;          // for rendering a head
    struct strbuf h2_batch;      // frames that are sent together
    uint64_t buffered_bytes;     // that requests and client connections hold
    int client_fds; // descriptors from this number on are not for clients
    int kept_fd; // given up to tell a client that files are out (proxy/admit.h); -1: is given up
    struct list_node mirrors;    // copies that are under way (proxy/mirror.h)
    struct list_node closed_mirrors; // until the end of the turn
    struct task reap_mirrors;
    size_t mirror_count;
    uint64_t mirror_bytes;
    size_t hedge_count; // under way (proxy/hedge.h)
    struct timer housekeeping;
    char date[32]; // "Tue, 24 Nov 2026 01:02:03 GMT", for our own answers
    bool leaving;  // answers say that their connection closes
    bool draining; // and nobody new is let in
    struct drain drain;
    uint64_t request_id_seed[2];
    struct worker_tls tls;
    struct metrics_worker *metrics;
    struct access_log_lane *access_log; // NULL = off
    struct decision_ring *decisions;
    struct log_limit warnings;
};

static inline char *worker_receive_buffer(struct worker *worker)
{
    return worker->scratch + SCRATCH_FRONT;
}

static inline uint64_t worker_now_ms(const struct worker *worker)
{
    return loop_now_ms(worker->loop);
}

// `fds[i]` are bound, listening sockets of the worker's own; it takes them over.
MUST_CHECK int worker_start(struct worker *worker, const struct proxy_config *config,
                            unsigned index, const int *fds, struct error *err);

// Any thread; see proxy_leave and proxy_drain.
void worker_leave(struct worker *worker);
void worker_drain(struct worker *worker);
// Any thread but the worker's: cuts everything, joins, frees what is inside.
void worker_stop(struct worker *worker);

// Resumes accepting when a connection went and the limit had been reached.
void worker_connection_closed(struct worker *worker);
