// One request on its way: received, routed, sent to an endpoint (perhaps to several, one after
// another), its answer relayed.
//
//   head → body (buffered when a rule needs it) → route → attempt ⟲ → relay → done
//
// Nothing reaches the client before the commit: until then an attempt may be given up for another.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "ai/answer.h"
#include "ai/openai.h"
#include "base/arena.h"
#include "base/strbuf.h"
#include "endpoint/pick.h"
#include "event/loop.h"
#include "http/forwarded.h"
#include "http/h1.h"
#include "http/sse.h"
#include "json/scan.h"
#include "proxy/exchange.h"
#include "proxy/fault.h"
#include "proxy/stream.h"
#include "snapshot/publish.h"

struct worker;

enum {
    REQUEST_TRIED_MAX = 16,
    REQUEST_REPLAY_MAX = 256 * 1024,     // of a streamed body: up to here it can be sent again
    REQUEST_STREAM_WINDOW = 256 * 1024,  // what an HTTP/2 client may send ahead of one
    REQUEST_FIRST_EVENT_MAX = 64 * 1024, // a longer first event is passed on unseen
    REQUEST_ERROR_BODY_MAX = 4096,       // the same of an error's body
    REQUEST_MODEL_MAX = 256,
    REQUEST_ID_MAX = 128,
};

enum request_phase {
    REQUEST_BODY,     // receiving what is needed before routing
    REQUEST_CONNECT,  // waiting for the connection
    REQUEST_WAIT,     // sent (or being sent), no first token yet
    REQUEST_RELAY,    // the client has got bytes
    REQUEST_REPLY,    // our own answer is on its way
};

// Where the request names its model.
enum model_place {
    MODEL_NOWHERE,
    MODEL_IN_JSON, // of the body, as the two after it
    MODEL_IN_FORM,
    MODEL_IN_MESSAGE, // gRPC; with the bytes of its length
    MODEL_IN_PATH,
    MODEL_IN_QUERY,
};

// For whom it is made.
enum request_role {
    REQUEST_OF_CLIENT,
    REQUEST_MIRROR, // a copy for a mirror: nobody hears the answer (proxy/mirror.h)
    REQUEST_HEDGE,  // a copy that waits beside the request itself (proxy/hedge.h)
};

// Whether there were two of it.
enum request_hedged {
    HEDGED_NOT,
    HEDGED_SENT,
    HEDGED_LEADS, // the second one took over
};

enum client_framing { CLIENT_NONE, CLIENT_LENGTH, CLIENT_CHUNKED, CLIENT_CLOSE };

struct request {
    struct list_node node; // of the worker: running ones, oldest first; or free ones
    struct worker *worker;
    struct stream *client;
    struct snapshot_hold *hold;
    struct arena arena;
    struct timer timer;
    enum request_phase phase;

    // As received. Slices of `head` point into `input`.
    char *input; // head (and a body that came with it), one allocation; freed at the commit
    size_t input_size;
    uint64_t charged; // bytes of ours in the worker's sum
    struct http_request head;
    struct slice id; // x-request-id, in the arena
    struct slice client_address; // who asks, as far as it is believed (proxy/origin.h)
    struct forwarded_fields *forwarded; // by a trusted proxy; NULL: not
    struct slice client_cert; // what the server is told of the client's; empty: nothing
    struct slice traceparent;
    bool pass_tracestate;
    struct slice path_log; // copies that outlive `input`
    struct slice host_log;
    struct slice method_log;
    struct slice user_agent_log;

    // Body.
    struct slice body_inline; // whole body inside `input`
    struct strbuf body;       // else collected here; streamed bodies: window of what is unsent
    uint64_t body_received;   // decoded bytes
    uint64_t body_began_ms;   // of a buffered one
    bool body_buffered; // whole body first, then routing
    bool body_scanned;  // because a rule looks into it, not only to copy it
    bool body_complete;
    bool body_replayable;  // everything is still here
    bool body_paused;      // window full: the client is not read
    bool continue_pending; // 100 Continue to be sent before the body is read
    struct slice body_last; // last chunk with trailers, in the arena; ptr NULL: without

    // What the body says.
    struct json_scan *scan; // NULL: not JSON or not needed
    struct multipart_scan *form; // NULL: no form, or not needed (proxy/peek.h)
    struct oip_scan *rpc;        // NULL: no such message, or not needed
    bool grpc;                   // the request is gRPC, and so are our answers
    struct slice model;     // decoded, in the arena; ptr NULL = none
    enum model_place model_place;
    uint64_t model_start; // its place in the body, the path or the query, as it came
    uint64_t model_end;
    bool stream;
    uint64_t max_tokens;
    uint64_t prompt_bytes;

    // Routing and attempts.
    const struct snap_rule *rule;
    const struct snap_rule *way; // whose redirect and HSTS hold for what needs no rule; or NULL
    const struct cors_policy *cors; // of the rule, or of what the path may lead to; NULL = none
    const struct snap_target *target;
    size_t fallback_at; // next fallback to be used
    uint32_t attempts;  // made so far
    uint32_t retries_left;
    bool on_fallback;
    bool moved;         // looked for another endpoint because this one shuts down: once
    bool retried_stale; // one free retry after a stale keep-alive connection
    uint32_t tried[REQUEST_TRIED_MAX];
    size_t tried_count;
    enum request_role role;
    enum request_hedged hedged;
    struct request *rival; // the same request on another endpoint; NULL: there is none now
    struct reservation reservation;
    struct exchange *up; // with the server
    struct slice upstream_model; // sent instead; ptr NULL = unchanged
    struct slice model_sent;     // the same as it stands in the model's place
    struct strbuf up_head;       // rendered request head of the current attempt
    uint64_t up_sent;            // of head + body of the current attempt
    bool up_chunked;             // the body is streamed and of unknown length
    struct slice websocket_key;  // ours towards the server, in the arena (proxy/tunnel.h)
    struct slice endpoint_text;  // last endpoint, for the log

    // Response.
    unsigned status;        // sent to the client, or of the response at hand
    unsigned reject_status; // of a message that the codec refused; else 0
    enum http_reject reject; // and why
    enum client_framing client_framing;
    bool committed;
    bool sse;
    bool tells_usage; // an answer that a model may have given: what it used may be in it
    bool answered;  // the whole answer was handed to the connection
    bool tail_open; // what was relayed last may not be the end of an event
    bool client_keep_alive;
    struct strbuf held; // rendered head, and a first event that is not whole yet
    size_t held_head;   // length of the head part
    bool grpc_due;        // of gRPC's answer: its trailers will judge it (proxy/grpc_verdict.h)
    bool grpc_spoke;      // a message of it came
    unsigned grpc_blames; // what its status says of the server, as an HTTP status; 0 = nothing yet
    bool tunnel;         // both sides agreed on another protocol (proxy/tunnel.h)
    bool wants_trailers; // the client takes them
    const struct http_header *trailers; // see relay_set_trailers
    size_t trailer_count;
    struct sse_scan events;
    struct answer_scan answer;
    uint64_t upstream_bytes;

    // Time, monotonic ns unless told otherwise.
    uint64_t started_ns;
    uint64_t started_wall_ns;
    uint64_t sent_ns;
    uint64_t first_token_ns;
    uint64_t last_event_ns;
    uint64_t deadline_ms;       // of the route; 0 = none
    uint64_t token_deadline_ms; // of the route, until the first token; 0 = none
    uint64_t hedge_ms;          // when it is sent a second time; 0 = not
    uint64_t phase_ms;          // when the phase began or last made progress
    uint32_t phase_limit_ms;    // 0 = none
    enum fault fault;
};

// It came as an extended CONNECT (RFC 8441): a 2xx would tell the client that its tunnel is open.
// To be asked before there is one.
static inline bool request_connects(const struct request *request)
{
    return request->head.upgrade.ptr != NULL && request->client->version == STREAM_HTTP2;
}

// A parsed head: copies buf[0..head_len), which the slices of *head point into, and the body_len
// body bytes behind it. whole: they are all of the body (framing none, or the whole length);
// without it the body follows by body_add. Starts everything that follows: the request may be
// finished (and gone) on return. The caller has set the stream's byte counts.
void request_begin(struct stream *stream, const struct http_request *head, const char *buf,
                   size_t head_len, size_t body_len, bool whole);

// A copy, for another stream, of a request whose body is complete and still here: routed as it is,
// and not started. It holds the same snapshot. NULL: out of memory.
struct request *request_copy(const struct request *from, struct stream *stream,
                             enum request_role role);

// The body is wanted now (not paused, not complete).
bool request_wants_body(const struct request *request);

// More of the body may still come, although perhaps not now.
bool request_wants_more(const struct request *request);

// The connection sent everything that it held.
void request_on_writable(struct request *request);

// The client is gone or stalled: abort upstream, settle, free.
void request_abort(struct request *request, enum fault fault);

// A message that is refused before it became a request: answers and closes.
void request_refuse(struct stream *stream, enum http_reject reason, enum fault fault);

// The framing of the body is malformed: answers and closes.
void request_refuse_body(struct request *request, enum http_reject reason);

// Everything that routing needs is there: matches, and starts the first attempt or replies.
void request_route(struct request *request);

// Ends it: answer complete. Frees the request, tells the connection.
void request_finish(struct request *request);

// How the client came, to us or to a proxy that is believed: "http" or "https".
struct slice request_scheme(const struct request *request);

// Brings the worker's sum of buffered bytes up to date. False: it is over its limit.
bool request_charge(struct request *request);

// Gives up the exchange of the current attempt, if there is one.
void request_drop_upstream(struct request *request);

// Frees what only a further attempt would need; once the first byte has gone to the client.
void request_drop_input(struct request *request);
