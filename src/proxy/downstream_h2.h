// A client connection that speaks HTTP/2 (RFC 9113, over nghttp2): many requests at a time, each a
// stream of its own.
//
// Flow control is coupled end to end: a stream's window opens again when its body went on towards
// the server; what is to be sent to a client that does not read waits in the stream, which is then
// blocked. What a connection may cost is bounded: streams, unsent bytes, header bytes, and frames
// that move no request on (downstream_h2_calm.c).
#pragma once

#include "proxy/downstream.h"

// The connection speaks HTTP/2 from its first byte on (ALPN, or the preface was seen). It goes on
// by itself; data[0..len) are bytes that were received already. False: it is closed.
bool downstream_h2_start(struct downstream *down, const char *data, size_t len);

// How many of the first bytes are those of the client's preface: len or H2_PREFACE_LEN, whatever is
// less, when they all are; 0: it is something else.
enum { H2_PREFACE_LEN = 24 };
size_t downstream_h2_preface(const char *data, size_t len);

// Bytes that the connection holds beside `in` and `out`: what waits in its streams and in its
// session.
uint64_t downstream_h2_holds(const struct h2_server *server);

// Frees the streams that were closed in this turn.
void downstream_h2_reap(struct worker *worker);
