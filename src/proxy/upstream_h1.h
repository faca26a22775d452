// An HTTP/1 connection to an endpoint: connect, send the request, receive and decode the response.
// What the response means is the request's business (proxy/relay.h).
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/strbuf.h"
#include "endpoint/endpoint.h"
#include "event/loop.h"
#include "http/h1.h"
#include "net/transport.h"
#include "proxy/exchange.h"
#include "proxy/upstream_tls.h"

struct worker;
struct request;

enum upstream_state { UPSTREAM_CONNECTING, UPSTREAM_SHAKING, UPSTREAM_ACTIVE, UPSTREAM_IDLE };

struct upstream {
    struct exchange exchange;
    struct io io;
    struct transport transport;
    struct upstream_pin pin;
    struct worker *worker;
    struct endpoint *endpoint; // referenced
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
    bool hung_up;       // the peer has closed its side (EPOLLRDHUP): read until the end
    bool framing_odd;   // surplus bytes after a response: never reuse
    bool more_unread;   // the last read filled its buffer: what follows a response is not known
    uint8_t framing;    // enum http_framing of the response
    uint16_t interims;  // 1xx heads before it
    uint64_t left;      // of a body with length
    struct h1_chunked chunked;
    struct strbuf trailers; // of the response, when the client wants them
    struct strbuf partial_head;

    // A request body of unknown length goes out in chunks: the framing that is to be sent before
    // the `out_chunk` bytes of the body that the current chunk still has.
    char out_frame[H1_CHUNK_HEAD_MAX + 8];
    struct slice out_last_text; // with trailers; ptr NULL: what is in out_frame
    size_t out_frame_len;
    size_t out_frame_sent;
    bool out_chunked;    // a chunk was begun
    bool out_last;       // the last chunk was written
    uint64_t out_chunk;
};

struct exchange *upstream_h1_open(struct worker *worker, struct endpoint *endpoint,
                                  struct request *request, int *ret_errno);
struct exchange *upstream_h1_reuse(struct worker *worker, const struct endpoint *endpoint,
                                   struct request *request);
void upstream_h1_sweep(struct worker *worker, bool all);
