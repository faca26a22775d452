// The HTTP/2 session of a connection to an endpoint: what nghttp2 is told and what it tells; the
// inside of proxy/upstream_h2.c, which opens, feeds and closes such connections.
#pragma once

#include "base/strbuf.h"
#include "endpoint/endpoint.h"
#include "event/loop.h"
#include "http/h2_head.h"
#include "http/h2_memory.h"
#include "net/transport.h"
#include "proxy/exchange.h"
#include "proxy/fault.h"
#include "proxy/upstream_tls.h"

struct worker;

enum h2_client_state { H2_CLIENT_CONNECTING, H2_CLIENT_OPEN, H2_CLIENT_CLOSED };

struct h2_client {
    struct io io;
    struct transport transport;
    struct upstream_pin pin;
    struct worker *worker;
    struct endpoint *endpoint; // referenced
    nghttp2_session *session;
    struct h2_memory memory;    // of the session
    struct list_node node;      // among those of the endpoint
    struct list_node all_node;  // among all of the worker
    struct list_node exchanges;
    size_t exchange_count;
    uint64_t served;
    uint64_t idle_since_ms;
    struct h2_head head; // being received
    struct strbuf out;
    struct task flush;
    enum h2_client_state state;
    bool connected; // while CONNECTING: shaking hands
    bool receiving; // inside nghttp2: nothing is sent and nothing is freed
    bool leaving;   // takes no new exchange
    bool settled;   // the server has said how many streams it takes
    bool hung_up;   // the server has sent its last byte, read or not
    enum fault doomed; // to be closed when nghttp2 has returned; FAULT_NONE: not
};

struct h2_exchange {
    struct exchange exchange;
    struct h2_client *client;
    struct list_node node;
    int32_t id;          // -1: not submitted
    uint16_t interims;   // 1xx heads before the answer
    size_t unconsumed;   // bytes that the client has not taken yet
    size_t frame_left;   // of the DATA frame that is being received
    uint64_t length_left; // of an answer that announced its length
    bool deferred;       // nghttp2 waits for more of the body
    bool head_done;
    bool got_bytes;
    bool sent_end;
};

// Makes client->session and puts our settings in its queue. 0 or -ENOMEM.
MUST_CHECK int h2_client_set_up(struct h2_client *client);

// Hands the request's head to nghttp2. 0, or negative: it cannot be said in HTTP/2, or memory is
// out.
MUST_CHECK int h2_exchange_submit(struct h2_exchange *ex);

// The server has said that it takes extended CONNECT (RFC 8441 section 3).
bool h2_client_takes_tunnels(const struct h2_client *client);

// Exchanges that have not been submitted are, or come to an end if the server cannot have them:
// all, or before it has said so (`settled`) those alone that open no tunnel.
void h2_client_submit_all(struct h2_client *client);

// For what nghttp2 must take lest the server wait, or send for nobody: when it has no memory for it
// (rc), the connection ends.
void h2_client_must(struct h2_client *client, int rc);

// Takes the exchange off its connection, and frees it.
void h2_exchange_forget(struct h2_exchange *ex);
