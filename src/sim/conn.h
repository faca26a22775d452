// One client connection: HTTP/1.1 requests one after the other, bytes out with a bounded buffer.
#pragma once

#include "http/h1.h"
#include "sim/server.h"

struct sim_exchange;

struct sim_conn {
    struct sim_pod *pod;
    struct io io;
    struct list_node node; // in the pod
    struct task free_task;
    struct task resume_task;
    struct timer idle_timer;
    struct strbuf in;  // received, not yet consumed
    size_t in_seen;    // of it, looked at for a head
    struct strbuf out; // not yet sent
    struct sim_exchange *exchange;
    struct h1_chunked chunked;
    uint64_t body_left;
    bool is_chunked;
    bool in_body;
    bool readable;
    bool peer_closed; // the client sent FIN
    bool closing;     // after `out` is sent
    bool closed;
    bool served;    // at least one request
    bool waits;     // for an HTTP thread: nothing is read until there is one
    bool consuming; // inside the loop over received bytes
};

// Beyond this much in `out`, streams wait for the client.
enum { SIM_OUT_HIGH_WATER = 65536 };

// Takes over the descriptor.
void sim_conn_accept(struct sim_pod *pod, int fd);

// Sends, or keeps what cannot be sent now. A connection that died meanwhile ignores it.
void sim_conn_send(struct sim_conn *conn, struct slice data);

static inline bool sim_conn_is_congested(const struct sim_conn *conn)
{
    return conn->out.len >= SIM_OUT_HIGH_WATER;
}

// The answer is complete. keep_alive: read the next request, else close after what is unsent.
void sim_conn_done(struct sim_conn *conn, bool keep_alive);

// Looks again at what was received; after the pod's `hang` ended.
void sim_conn_resume(struct sim_conn *conn);

// Close at once: with FIN, or with RST. The connection is freed at the end of the turn.
void sim_conn_close(struct sim_conn *conn);
void sim_conn_reset(struct sim_conn *conn);
