// The streams of a client connection that speaks HTTP/2, and what is sent on them; shared by the
// two files that make up such a connection.
#pragma once

#include "http/h2_frames.h"
#include "http/h2_head.h"
#include "http/h2_memory.h"
#include "proxy/downstream_h2.h"

// Memory of a session: of a connection without streams (it counts as part of that, no more), and of
// each stream beside the heads of its messages.
enum { H2_SESSION_BASE = 256 * 1024, H2_SESSION_A_STREAM = 4096 };

// See downstream_h2_calm.c.
struct h2_calm {
    int64_t left;
    uint64_t filled_ms; // when the allowance was last filled up
    struct h2_frames frames;
    int64_t skipped; // frames of messages that arrived, less those that nghttp2 has let in
};

struct h2_server {
    struct downstream *down;
    nghttp2_session *session;
    struct h2_memory memory; // of the session
    uint64_t held;           // bytes of answers, by all streams
    struct list_node streams;
    size_t stream_count;
    struct h2_head head;       // being received
    uint64_t head_since_ms;    // 0: none is
    uint64_t idle_since_ms;    // without a stream
    struct h2_calm calm;
    bool flooded;
    bool failed; // see h2_server_must
    bool receiving; // inside nghttp2: nothing is sent and nothing is freed
    bool notified;  // the client knows that there will be no new streams
    bool leaving;   // closes when the last stream has ended
};

struct h2_stream {
    struct stream stream;
    struct h2_server *server; // NULL: the connection is gone
    struct list_node node;
    int32_t id;
    struct strbuf out;
    struct strbuf trailers; // lines that end the answer behind `out`
    struct strbuf early;    // bytes for a tunnel that is not open yet
    uint64_t held;       // bytes of these three, in the connection's sum
    size_t unconsumed;   // bytes of the request's body whose window is not open again yet
    bool body_ended;     // the client has sent everything
    bool connects;       // an extended CONNECT: what follows its head is for a tunnel
    bool early_came;     // some of that (its end, perhaps) came before it was open
    bool end;            // nothing follows `out`
    bool cut;            // the answer is not complete: the stream is reset behind `out`
    bool deferred;       // nghttp2 waits for more
    bool full;           // over OUT_HIGH, and not yet below OUT_LOW
    bool done;           // the request is gone
    bool closing;        // nghttp2 has closed it
};

struct h2_stream *h2_stream_new(struct h2_server *server, int32_t id); // NULL: out of memory

// Unlinks it from the connection. Callers up the stack may still look at `closed`: the memory goes
// at the end of the turn.
void h2_stream_free(struct h2_stream *st);

// Sets what nghttp2 calls when it sends.
void h2_stream_set_callbacks(nghttp2_session_callbacks *callbacks);

// Moves up to a batch of what nghttp2 has to say to the connection. > 0: there may be more; 0: that
// was all; negative: the connection is unusable.
MUST_CHECK int h2_stream_send_batch(struct h2_server *server);

// Payload for a tunnel (`connects`), and its end; kept until there is one. May end the request.
void h2_stream_add_tunnel(struct h2_stream *st, struct slice data, bool end);

// Streams that were full and have room again go on, and so do tunnels that are open now.
void h2_stream_wake(struct h2_server *server);

// How much the client may say that moves no request on (downstream_h2_calm.c): at most so much at a
// time. What is earned by a request that was answered, and by a DATA frame; what it costs when the
// client gives up a stream, or sends a DATA frame of padding alone.
enum {
    H2_CALM_MAX = 1000,
    H2_CALM_A_REQUEST = 2,
    H2_CALM_A_FRAME = 2,
    H2_CALM_RESET = 5,
    H2_CALM_PADDING = 1,
};
void h2_calm_init(struct h2_calm *calm, uint64_t now_ms);
void h2_calm_earn(struct h2_server *server, int amount);

// When the allowance is used up: server->flooded is set, and GOAWAY is in the queue.
void h2_calm_spend(struct h2_server *server, int64_t cost);

// A frame of a message: it costs nothing, unless nghttp2 skips it (its stream is closed).
bool h2_calm_is_message(uint8_t type, uint8_t flags, size_t length);

// Around what is given to nghttp2, and for each frame of a message that it tells of. False: a
// flood; nghttp2 is not to see it.
bool h2_calm_before(struct h2_server *server, const char *data, size_t len);
void h2_calm_taken(struct h2_server *server);
void h2_calm_after(struct h2_server *server);

// For what nghttp2 must take lest the client wait for ever: when it has no memory for it (rc), the
// connection ends.
void h2_server_must(struct h2_server *server, int rc);

// Sends at the end of the loop's turn. (Inside nghttp2 that comes by itself.)
void h2_server_schedule(struct h2_server *server);

// No new streams, in two steps (RFC 9113 section 6.8): first all that may be under way are still
// taken; when called again, the last one is named.
void h2_server_say_goodbye(struct h2_server *server);
