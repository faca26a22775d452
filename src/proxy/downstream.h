// A client connection: receives requests one after another, sends answers.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/list.h"
#include "base/strbuf.h"
#include "event/loop.h"

struct worker;
struct request;

enum downstream_state {
    DOWNSTREAM_IDLE,    // between requests
    DOWNSTREAM_HEAD,    // part of a head has arrived
    DOWNSTREAM_REQUEST, // a request is running (its body may still be arriving)
    DOWNSTREAM_LINGER,  // answered and shut for writing; discards what still comes, then closes
};

enum {
    // Unsent bytes: the largest answer of our own. Reading upstream stops long before.
    DOWNSTREAM_OUT_MAX = 4 * 1024 * 1024 + 128 * 1024,
    DOWNSTREAM_LINGER_MS = 2000,
    DOWNSTREAM_LINGER_BYTES = 4 * 1024 * 1024,
};

struct downstream {
    struct io io;
    struct worker *worker;
    struct list_node node;
    struct request *request;
    struct timer timer;
    uint64_t deadline_ms;  // 0 = none; the timer may fire earlier and is then set again
    uint64_t progress_ms;  // when the client last took bytes, while `out` is not empty
    struct task resume;    // handles what `in` still holds, outside the current call
    struct strbuf in;      // bytes received but not used yet (a partial head, pipelined requests)
    struct strbuf out;     // bytes to be sent
    size_t head_seen;
    uint64_t lingered;
    uint64_t requests;     // served
    uint64_t bytes_in;     // of the current request
    uint64_t bytes_out;
    enum downstream_state state;
    bool closed;           // closed in this turn; only the memory is still there
    bool hung_up;          // the peer has closed its side
    bool close_after;      // close when `out` is sent
    bool readable;         // data may wait in the socket (edge seen, not read)
    bool surplus;          // more came than the current request; set where the request begins
    char peer[46];         // address as text
};

// Takes over an accepted socket.
void downstream_accept(struct worker *worker, int fd, const char *peer);

// Sends; what the socket does not take is kept and sent later. 0, or -errno: the connection is
// unusable (the caller decides; nothing was freed). The iovecs are consumed.
MUST_CHECK int downstream_send(struct downstream *downstream, struct iovec *iov, int count);

// Unsent bytes wait: produce no more until request_on_writable is called.
static inline bool downstream_blocked(const struct downstream *downstream)
{
    return downstream->out.len != 0;
}

// Reads on for the running request (its body was paused, or it needs the rest). Runs from the loop.
void downstream_want_body(struct downstream *downstream);

// The request was answered in full and is gone. keep_alive: the next one may come; otherwise the
// connection closes once everything is sent, lingering when `unread` request bytes may still come.
void downstream_request_done(struct downstream *downstream, bool keep_alive, bool unread);

// Closes at once; `closed` is set and the memory stays valid until the end of the loop's turn.
// The request must be gone already.
void downstream_close(struct downstream *downstream);

// Frees what was closed.
void downstream_reap(struct worker *worker);

// Drain: closes now when idle, else after the running request.
void downstream_drain(struct downstream *downstream);
