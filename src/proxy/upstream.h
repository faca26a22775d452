// A connection to an endpoint: connect, send the request, receive and decode the response. What the
// response means is the request's business (proxy/relay.h).
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/list.h"
#include "base/strbuf.h"
#include "endpoint/endpoint.h"
#include "event/loop.h"
#include "http/h1.h"

struct worker;
struct request;

enum upstream_state { UPSTREAM_CONNECTING, UPSTREAM_ACTIVE, UPSTREAM_IDLE };

struct upstream {
    struct io io;
    struct worker *worker;
    struct endpoint *endpoint; // referenced
    struct request *request;   // NULL while idle
    struct list_node pool_node;
    struct list_node age_node;
    uint64_t idle_since_ms;
    uint64_t idle_turn; // of the loop, in which it became idle
    enum upstream_state state;
    bool reused;        // served a request before this one
    bool got_bytes;     // of the current response
    bool head_done;     // the final (not 1xx) response head was parsed
    bool body_done;
    bool keep_alive;
    bool paused;        // the client is blocked: do not read
    bool hung_up;       // the peer has closed its side (EPOLLRDHUP): read until the end
    bool framing_odd;   // surplus bytes after a response: never reuse
    bool more_unread;   // the last read filled its buffer: what follows a response is not known
    uint8_t framing;    // enum http_framing of the response
    uint16_t interims;  // 1xx heads before it
    uint64_t left;      // of a body with length
    struct h1_chunked chunked;
    struct strbuf partial_head;
};

// Opens a connection for the request (which then gets upstream events through relay_*). NULL: could
// not even start (*ret_errno).
struct upstream *upstream_open(struct worker *worker, struct endpoint *endpoint,
                               struct request *request, int *ret_errno);

// Gives the request an idle connection to the endpoint on which the server has said nothing since
// its last answer. NULL: there is none.
struct upstream *upstream_reuse(struct worker *worker, const struct endpoint *endpoint,
                                struct request *request);

// Sends what the request has to send; call when there is (more of) it.
void upstream_send(struct upstream *upstream);

// The client took what it had been given: read on.
void upstream_resume(struct upstream *upstream);

// The exchange is complete: back to the pool, or closed.
void upstream_release(struct upstream *upstream);

// Closes at once; the request (if any) hears nothing. Frees.
void upstream_close(struct upstream *upstream);

// Closes what idles for too long, and connections to endpoints that are gone.
void upstream_sweep_idle(struct worker *worker, bool all);
