// A client connection: a socket, what waits to be sent on it, its time limits. What is said on it
// is the business of its protocol: proxy/downstream_h1.c, proxy/downstream_h2.c; and until hands
// were shaken proxy/downstream_tls.c.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/list.h"
#include "base/strbuf.h"
#include "event/loop.h"
#include "http/h1.h"
#include "net/transport.h"
#include "proxy/stream.h"
#include "snapshot/snapshot.h"

struct downstream;
struct h2_server;

// HTTP/1: what goes on.
enum downstream_state {
    DOWNSTREAM_IDLE,    // between requests
    DOWNSTREAM_HEAD,    // part of a head has arrived
    DOWNSTREAM_REQUEST, // a request is running (its body may still be arriving)
    DOWNSTREAM_LINGER,  // the last answer was given (proxy/linger.h)
};

enum {
    // Unsent bytes: the largest answer of our own. Reading upstream stops long before.
    DOWNSTREAM_OUT_MAX = 4 * 1024 * 1024 + 128 * 1024,
    DOWNSTREAM_DRAIN_LAST_MS = 500,
};

struct downstream_protocol {
    // Bytes may be read, or (events has EPOLLRDHUP) the peer has ended its side.
    void (*on_readable)(struct downstream *down, uint32_t events);
    // Everything that waited was sent.
    void (*on_writable)(struct downstream *down);
    // The connection is dead: nothing can be sent or received any more.
    void (*on_broken)(struct downstream *down);
    // The time that downstream_set_deadline gave is over.
    void (*on_deadline)(struct downstream *down);
    // Its turn in a drain: closes now when idle, else after what is running.
    void (*drain)(struct downstream *down);
    // The end of the worker: closes now, whatever is running.
    void (*cut)(struct downstream *down);
};

struct downstream {
    struct stream stream; // HTTP/1: the one request at a time. HTTP/2 streams are their own.
    const struct downstream_protocol *protocol;
    struct io io;
    struct transport transport;
    struct list_node node;
    struct timer timer;
    uint64_t accepted_ms;
    uint64_t deadline_ms; // 0 = none; the timer may fire earlier and is then set again
    struct task resume;   // HTTP/1: handles what `in` still holds; HTTP/2: sends; outside the call
    struct strbuf in;     // bytes received but not used yet (a partial head, pipelined requests)
    struct strbuf out;    // bytes to be sent
    uint64_t requests;    // served
    uint64_t charged;     // bytes of `in` and `out` in the worker's sum
    uint32_t address_slot; // proxy/admit.h
    bool hung_up;         // the peer has closed its side
    bool draining;        // its turn in a drain has come (proxy/drain.h)
    bool readable;        // data may wait in the socket (edge seen, not read)
    char peer[46];        // address as text
    struct snap_client client; // what TLS told of it, in short
    struct client_tls *tls;    // and in full; NULL: in the clear, or hands are not shaken yet
    struct h2_server *h2; // NULL: HTTP/1
    uint64_t lingered;    // bytes thrown away (proxy/linger.h)

    // HTTP/1.
    enum downstream_state state;
    bool surplus;     // more came than the current request; set where the request begins
    size_t head_seen;
    uint64_t body_left;        // of the request, by Content-Length
    struct h1_chunked chunked; // of the request
    struct strbuf trailers;    // of the request
};

// Takes over an accepted socket, and its slot (proxy/admit.h). tls: the client is to begin with a
// handshake.
void downstream_accept(struct worker *worker, int fd, const char *peer, uint32_t address_slot,
                       bool tls);

// The connection goes on with its first protocol: TLS where it is to begin with that, else HTTP/1.
void downstream_begin(struct downstream *down);

// Sends; what the socket does not take is kept and sent later. 0, or -errno: the connection is
// unusable (the caller decides; nothing was freed). The iovecs are consumed.
MUST_CHECK int downstream_send(struct downstream *down, struct iovec *iov, int count);

// The one time limit of the connection, from now; on_deadline comes when it is over.
void downstream_set_deadline(struct downstream *down, uint32_t in_ms);

// Brings the worker's sum of buffered bytes up to date, after `in` or `out` grew or shrank. False:
// it is over its limit.
bool downstream_charge(struct downstream *down);

// Closes at once; `stream.closed` is set and the memory stays valid until the end of the loop's
// turn. Its requests must be gone already.
void downstream_close(struct downstream *down);

// Frees what was closed.
void downstream_reap(struct worker *worker);

// The client has taken bytes lately: it is slow, but not gone.
bool downstream_progressed_lately(const struct downstream *down);

extern const struct downstream_protocol downstream_h1;
extern const struct downstream_protocol downstream_h2;
extern const struct downstream_protocol downstream_tls;
extern const struct stream_ops downstream_h1_stream;
