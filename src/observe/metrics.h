// Counters and histograms of the workers. Every cell has one writer (its worker), so counting is a
// plain add on memory of its own; readers (the admin thread) sum over the workers and may see a
// value that is a moment old, never a torn one.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"
#include "base/slice.h"
#include "base/strbuf.h"
#include "endpoint/endpoint.h"
#include "http/reject.h"
#include "observe/traffic.h"
#include "tls/fault.h"

// What a worker counts. X(enum, metric, labels, help); rows of one metric stand together, and the
// help of the first counts. docs/metrics.md is written from what all tables give.
#define METRIC_TABLE(X)                                                                           \
    X(CONNECTIONS, "headrace_connections_total", "", "Client connections accepted")               \
    X(ACCEPT_FAILURES, "headrace_accept_failures_total", "",                                      \
      "Client connections that could not be accepted (files, memory)")                            \
    X(PROXY_PROTOCOL_ERRORS, "headrace_proxy_protocol_errors_total", "",                          \
      "Client connections closed for want of a sound PROXY protocol header")                      \
    X(REFUSED_ADDRESS_LIMIT, "headrace_connections_refused_total", "reason=\"address_limit\"",     \
      "Client connections that were sent away unheard, by what there was no room for")            \
    X(REFUSED_MEMORY, "headrace_connections_refused_total", "reason=\"memory\"", "")              \
    X(REFUSED_FILES, "headrace_connections_refused_total", "reason=\"files\"", "")                \
    X(BYTES_IN, "headrace_received_bytes_total", "", "Bytes received from clients")               \
    X(BYTES_OUT, "headrace_sent_bytes_total", "", "Bytes sent to clients")                        \
    X(HTTP2_CONNECTIONS, "headrace_http2_connections_total", "",                                  \
      "Client connections that speak HTTP/2")                                                     \
    X(HTTP2_FLOODS, "headrace_http2_floods_total", "",                                            \
      "HTTP/2 connections that were ended because they sent too much that moves nothing on")      \
    X(TLS_CLIENT_FULL, "headrace_tls_handshakes_total", "side=\"client\",resumed=\"false\"",       \
      "TLS handshakes that succeeded: with clients, with inference servers (upstream)")           \
    X(TLS_CLIENT_RESUMED, "headrace_tls_handshakes_total", "side=\"client\",resumed=\"true\"",    \
      "")                                                                                         \
    X(TLS_UPSTREAM_FULL, "headrace_tls_handshakes_total", "side=\"upstream\",resumed=\"false\"",  \
      "")                                                                                         \
    X(TLS_UPSTREAM_RESUMED, "headrace_tls_handshakes_total",                                      \
      "side=\"upstream\",resumed=\"true\"", "")                                                   \
    X(UPSTREAM_CONNECTS, "headrace_upstream_connects_total", "",                                  \
      "Connections opened to inference servers")                                                  \
    X(UPSTREAM_REUSES, "headrace_upstream_reuses_total", "",                                      \
      "Requests sent on a kept connection to an inference server")                                \
    X(UPSTREAM_BYTES_IN, "headrace_upstream_received_bytes_total", "",                            \
      "Bytes received from inference servers")                                                    \
    X(UPSTREAM_BYTES_OUT, "headrace_upstream_sent_bytes_total", "",                               \
      "Bytes sent to inference servers")                                                          \
    X(UPGRADES, "headrace_upgrades_total", "",                                                    \
      "Connections, or streams of HTTP/2, that became tunnels (WebSocket)")                       \
    X(RETRIES_CONNECT, "headrace_retries_total", "reason=\"connect_failure\"",                    \
      "Further attempts before the first byte to the client, by what failed before")              \
    X(RETRIES_RESET, "headrace_retries_total", "reason=\"reset\"", "")                            \
    X(RETRIES_OVERLOADED, "headrace_retries_total", "reason=\"overloaded\"", "")                  \
    X(RETRIES_SERVER_ERROR, "headrace_retries_total", "reason=\"server_error\"", "")              \
    X(RETRIES_TIMEOUT, "headrace_retries_total", "reason=\"timeout\"", "")                        \
    X(RETRIES_REFUSED, "headrace_retries_refused_total", "",                                      \
      "Further attempts that a backend's retry budget did not allow")                             \
    X(MIRRORS_ANSWERED, "headrace_mirrors_total", "result=\"answered\"",                          \
      "Copies of requests for a mirror, by what became of them")                                  \
    X(MIRRORS_FAILED, "headrace_mirrors_total", "result=\"failed\"", "")                          \
    X(MIRRORS_CUT, "headrace_mirrors_total", "result=\"cut\"", "")                                \
    X(MIRRORS_DROPPED, "headrace_mirrors_total", "result=\"dropped\"", "")                        \
    X(FALLBACKS, "headrace_fallbacks_total", "", "Attempts on a fallback backend")                \
    X(CLIENT_ABORTS, "headrace_client_aborts_total", "", "Requests that their client gave up")    \
    X(PICKS, "headrace_picks_total", "", "Endpoints picked")                                      \
    X(ACCESS_LOG_SLOW, "headrace_access_log_dropped_total", "reason=\"slow_reader\"",             \
      "Lines of the access log that were dropped: nobody took them in time, or writing failed")   \
    X(ACCESS_LOG_FAILED, "headrace_access_log_dropped_total", "reason=\"write_error\"", "")

enum metric {
#define X(name, text, labels, help) METRIC_##name,
    METRIC_TABLE(X)
#undef X
    METRIC_COUNT,
};

// What a worker says of itself twice a second, shown for each worker by itself: label `worker`.
// X(enum, metric, type, help).
#define METRIC_WORKER_TABLE(X)                                                                    \
    X(CONNECTIONS_OPEN, "headrace_worker_connections_open", "gauge",                              \
      "Client connections that the worker holds")                                                 \
    X(REQUESTS, "headrace_worker_requests_in_flight", "gauge",                                    \
      "Requests that are under way there")                                                        \
    X(BUFFERED, "headrace_worker_buffered_bytes", "gauge",                                        \
      "Bytes of heads and bodies of requests that it holds")                                      \
    X(TURNS, "headrace_worker_loop_turns_total", "counter", "Turns of its loop")                  \
    X(CPU_SECONDS, "headrace_worker_cpu_seconds_total", "counter",                                \
      "CPU time of its thread; the rate is the share of a core that it is busy")

enum metric_worker {
#define X(name, text, type, help) METRIC_WORKER_##name,
    METRIC_WORKER_TABLE(X)
#undef X
    METRIC_WORKER_COUNT,
};

// Who did not shake hands with us.
enum metric_tls_side { METRIC_TLS_CLIENT, METRIC_TLS_UPSTREAM, METRIC_TLS_SIDES };

// What the control thread knows. X(enum, metric, type, labels, help).
#define METRIC_CONTROL_TABLE(X)                                                                   \
    X(CONNECTIONS_OPEN, "headrace_connections_open", "gauge", "", "Client connections open now")  \
    X(MEMORY_LIMIT, "headrace_memory_limit_bytes", "gauge", "",                                   \
      "Resident memory that the process may have; 0 is no limit")                                 \
    X(OVERLOAD, "headrace_overload", "gauge", "",                                                 \
      "1 while new requests are refused for want of memory, 2 while new connections are, too")    \
    X(SNAPSHOT_GENERATION, "headrace_snapshot_generation", "gauge", "",                           \
      "Number of the configuration that is served; counts up")                                    \
    X(COMPILES, "headrace_compiles_total", "counter", "", "Compilations of the resources")        \
    X(COMPILE_SECONDS, "headrace_compile_seconds_total", "counter", "", "Time spent compiling")   \
    X(COMPILE_LAST_SECONDS, "headrace_compile_last_seconds", "gauge", "",                         \
      "Duration of the last compilation")                                                         \
    X(ENDPOINT_UPDATES, "headrace_endpoint_updates_total", "counter", "",                         \
      "Changed endpoints of a backend that were applied; they need no compilation")               \
    X(STATUSES, "headrace_statuses_total", "counter", "", "Statuses of resources that changed")   \
    X(STATUS_WRITTEN, "headrace_status_writes_total", "counter", "result=\"written\"",            \
      "Writes of a status to the API server, by how they ended")                                  \
    X(STATUS_CONFLICT, "headrace_status_writes_total", "counter", "result=\"conflict\"", "")      \
    X(STATUS_REFUSED, "headrace_status_writes_total", "counter", "result=\"refused\"", "")        \
    X(STATUS_FAILED, "headrace_status_writes_total", "counter", "result=\"failed\"", "")          \
    X(STATUS_UNDONE, "headrace_statuses_undone_total", "counter", "",                             \
      "Statuses that were found changed by others, and written again")                            \
    X(STATUS_PENDING, "headrace_status_writes_pending", "gauge", "",                              \
      "Statuses that wait to be written, or to be tried again")                                   \
    X(OBJECTS_AIROUTE, "headrace_objects", "gauge", "kind=\"AIRoute\"", "Objects known, by kind") \
    X(OBJECTS_MODELBACKEND, "headrace_objects", "gauge", "kind=\"ModelBackend\"", "")             \
    X(OBJECTS_SERVICE, "headrace_objects", "gauge", "kind=\"Service\"", "")                       \
    X(OBJECTS_ENDPOINTSLICE, "headrace_objects", "gauge", "kind=\"EndpointSlice\"", "")           \
    X(OBJECTS_POD, "headrace_objects", "gauge", "kind=\"Pod\"", "")                               \
    X(OBJECTS_SECRET, "headrace_objects", "gauge", "kind=\"Secret\"", "")                         \
    X(OBJECTS_CONFIGMAP, "headrace_objects", "gauge", "kind=\"ConfigMap\"", "")                   \
    X(OBJECTS_INVALID, "headrace_objects_invalid", "gauge", "",                                   \
      "AIRoutes and ModelBackends that are left out because they are not valid")                  \
    X(MANIFESTS, "headrace_manifest_files", "gauge", "",                                           \
      "Manifests in the folder of standalone mode")                                                \
    X(MANIFESTS_BROKEN, "headrace_manifest_files_broken", "gauge", "",                            \
      "Manifests that cannot be taken as they are; their last good state is served")              \
    X(OBJECTS_REJECTED, "headrace_objects_rejected_total", "counter", "",                         \
      "Objects that could not be read at all")

enum metric_control {
#define X(name, text, type, labels, help) METRIC_CONTROL_##name,
    METRIC_CONTROL_TABLE(X)
#undef X
    METRIC_CONTROL_COUNT,
};

// What the control thread knows of each kind that it watches at the API server; nothing of it is
// shown where there is none. X(enum, metric, type, help).
#define METRIC_KUBE_TABLE(X)                                                                      \
    X(LISTS, "headrace_kube_lists_total", "counter", "Lists that were asked of the API server")   \
    X(WATCHES, "headrace_kube_watches_total", "counter", "Watches that were opened there")        \
    X(EVENTS, "headrace_kube_events_total", "counter", "Changes that the watches told of")        \
    X(FAILURES, "headrace_kube_failures_total", "counter",                                        \
      "Lists and watches that failed, broke off or fell silent")                                  \
    X(LISTS_DOUBTED, "headrace_kube_lists_doubted_total", "counter",                              \
      "Lists that suddenly lacked so much that they were asked for again")                        \
    X(IN_TOUCH, "headrace_kube_in_touch", "gauge",                                                \
      "1 while everything was listed and the watch runs")                                         \
    X(HEARD_AGE, "headrace_kube_heard_age_seconds", "gauge",                                      \
      "Since the API server said something last; about every minute it says that nothing changed")

enum metric_kube {
#define X(name, text, type, help) METRIC_KUBE_##name,
    METRIC_KUBE_TABLE(X)
#undef X
    METRIC_KUBE_COUNT,
};

enum {
    METRIC_KUBE_KINDS_MAX = 8,
    METRIC_ENDPOINTS_MAX = 2000, // in one exposition; the rest is only counted
    METRIC_POOLS_MAX = 2000,
};

struct metrics_worker {
    CACHE_ALIGNED _Atomic uint64_t counters[METRIC_COUNT];
    _Atomic uint64_t requests[METRIC_STATUS_CLASSES];
    _Atomic uint64_t rejects[HTTP_REJECT_COUNT];
    _Atomic uint64_t faults[METRIC_FAULTS_MAX]; // enum fault of the proxy
    _Atomic uint64_t own[METRIC_WORKER_COUNT];  // bits of doubles
    struct traffic_worker traffic;
    _Atomic uint64_t tls_faults[METRIC_TLS_SIDES][TLS_FAULT_COUNT];
};

struct metrics_kube_kind {
    _Atomic(const char *) kind; // published with release when the values are there; NULL: none
    _Atomic uint64_t values[METRIC_KUBE_COUNT]; // bits of doubles
};

struct metrics {
    unsigned worker_count;
    _Atomic uint64_t control[METRIC_CONTROL_COUNT]; // bits of doubles
    struct metrics_kube_kind kube[METRIC_KUBE_KINDS_MAX];
    struct metrics_worker workers[];
};

struct metrics *metrics_new(unsigned workers); // NULL: out of memory
void metrics_free(struct metrics *metrics);

static inline struct metrics_worker *metrics_worker(struct metrics *metrics, unsigned index)
{
    return &metrics->workers[index];
}

static inline void metrics_add(struct metrics_worker *worker, enum metric metric, uint64_t n)
{
    metrics_cell_add(&worker->counters[metric], n);
}

static inline void metrics_reject(struct metrics_worker *worker, enum http_reject reason)
{
    metrics_cell_add(&worker->rejects[reason], 1);
}

static inline void metrics_tls_fault(struct metrics_worker *worker, enum metric_tls_side side,
                                     enum tls_fault fault)
{
    metrics_cell_add(&worker->tls_faults[side][fault], 1);
}

// The worker itself.
void metrics_worker_set(struct metrics_worker *worker, enum metric_worker metric, double value);

// One thread a row.
void metrics_control_set(struct metrics *metrics, enum metric_control metric, double value);

// All values of the watched kind number `index`, whose name lives for good; a NULL name hides it.
// One thread.
void metrics_kube_set(struct metrics *metrics, unsigned index, const char *kind,
                      const double values[METRIC_KUBE_COUNT]);

// Appends the text exposition (Prometheus 0.0.4) of everything counted by workers and set by the
// control thread. fault_label gives the label of fault number n, NULL when there is none; faults
// that share a label share a series.
void metrics_write(const struct metrics *metrics, struct strbuf *out, fault_label_fn *fault_label);

// The endpoints' books, samples and failures, and pools in the words of the Gateway API's inference
// extension, from the table, under its lock.
void metrics_write_endpoints(struct endpoint_table *table, uint64_t now_ms, struct strbuf *out);

// The build, whether the instance says that it is ready, and the process as the kernel sees it.
void metrics_write_process(const char *version, bool ready, struct strbuf *out);

