// headrace-sim: pods in one process and one thread. A pod is a listener, an engine and what was
// configured for it at run time.
#pragma once

#include <sys/socket.h>

#include "base/strbuf.h"
#include "event/loop.h"
#include "sim/dialect.h"
#include "sim/engine.h"
#include "sim/fault.h"
#include "sim/options.h"

struct sim_server;

enum { SIM_POD_NAME_MAX = 64, SIM_ADDRESS_MAX = 80 };

// Load that is shown but does not exist, so that tests can pretend that others use the pod too.
struct sim_fake_load {
    double running;
    double waiting;
    double kv_usage;
};

struct sim_pod {
    struct sim_server *server;
    char name[SIM_POD_NAME_MAX];
    char address[SIM_ADDRESS_MAX]; // "127.0.0.1:8000"
    struct sockaddr_storage bind_address;
    socklen_t bind_length;
    int listen_fd; // -1 while connections are refused
    struct io listen_io;
    struct timer accept_timer;  // waits when descriptors ran out
    struct timer hang_timer;    // ends `hang-for`
    struct timer restore_timer; // ends `refuse-for` and `down-for`
    struct list_node conns;
    uint32_t conn_count;
    uint32_t busy_threads; // connections that are served, where --http-threads limits them
    struct list_node exchanges;
    uint32_t exchange_count; // requests under way, clients gone or not

    struct sim_engine engine;
    double last_kv_usage; // as of the last step
    struct timer step_timer;
    uint64_t step_timer_ns; // what it is set for; 0 = not set
    struct task run_task;

    // Set at run time.
    struct sim_fault fault;
    double fault_share;   // of requests that get it
    uint32_t fault_count; // how many more get it; UINT32_MAX = all
    struct sim_fault metrics_fault;
    struct sim_fake_load fake;
    unsigned health_status; // 0 = as the engine
    bool hang;              // nothing is answered
    bool refusing;

    uint64_t requests;
    uint64_t aborted;
    uint64_t connections;
};

struct sim_server {
    struct loop *loop;
    const struct sim_options *options;
    const struct sim_dialect *dialect;
    struct sim_pod *pods;
    size_t pod_count;
    struct rand_state rng;
    struct slice model_names; // "a, b"
    struct strbuf names_text;

    // Scratch, used within one call.
    struct strbuf out;
    struct strbuf text;
    char *in;
    char date[40]; // the Date header's value
    uint64_t date_at_ms;

    // --instant
    struct strbuf instant_body;
    struct strbuf instant_event; // a whole HTTP chunk
    struct sim_pacer *pacer;

    int signal_fd;
    struct io signal_io;
    bool terminating;
    uint64_t drained_ms; // when nothing was left to wait for; 0: not yet
    struct task exit_task;
    struct timer exit_timer;
};

enum { SIM_IN_SIZE = 65536 };

// Opens the listeners of all pods. The options must outlive the server. 0 or negative.
MUST_CHECK int sim_server_new(const struct sim_options *options, struct sim_server **ret_server,
                              struct error *err);
void sim_server_free(struct sim_server *server);

// Prints "listening ADDR pod=NAME" for each pod and serves until a signal ends it.
void sim_server_run(struct sim_server *server);

// The pod's listener: closed or open again. Opening may fail when the port was taken meanwhile.
void sim_pod_close_listener(struct sim_pod *pod);
MUST_CHECK int sim_pod_open_listener(struct sim_pod *pod);

// As if the pod had been killed: no listener, every connection reset, the engine emptied.
void sim_pod_kill(struct sim_pod *pod);

// Has the engine look at what was submitted, at the end of this turn (so that a burst is one batch).
void sim_pod_kick(struct sim_pod *pod);

// What the pod shows: its own load and what was made up.
double sim_pod_running(const struct sim_pod *pod);
double sim_pod_waiting(const struct sim_pod *pod);
double sim_pod_kv_usage(const struct sim_pod *pod);

struct sim_pod *sim_server_find_pod(struct sim_server *server, struct slice name);

// Ends the process when it is terminating and nothing is left to wait for.
void sim_server_maybe_exit(struct sim_server *server);

// The Date header's value, once a second.
struct slice sim_server_date(struct sim_server *server);
