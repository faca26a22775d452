// The client's half of a request, whatever version of HTTP it came over: what a request may ask of
// the connection that brought it.
//
// Heads travel as HTTP/1 text (see http/h1.h): written by h1_write_*, trusted by who turns them
// into something else. Payload travels without framing: each version adds its own.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/slice.h"

struct http_header;
struct worker;
struct request;
struct snap_client;
struct client_tls;
struct stream;

// A piece of an answer. The bytes are valid during the call.
struct stream_output {
    struct slice head;  // status line and header section, with the first piece; else empty
    struct slice first; // payload before data
    char *data;         // payload
    size_t len;
    bool room; // data has SCRATCH_FRONT bytes before and SCRATCH_BACK behind it that may be written
    bool end;  // the answer is complete
    // With the end: trailers, but for those marked `drop`. Left out where the client cannot have
    // them.
    const struct http_header *trailers;
    size_t trailer_count;
};

struct stream_ops {
    // Sends; what cannot go now is kept and goes later. 0, or -errno: the stream is unusable (the
    // caller decides; nothing was freed).
    int (*send)(struct stream *stream, const struct stream_output *output);
    // An interim head (1xx).
    int (*send_interim)(struct stream *stream, struct slice head);
    // So much waits to be sent: produce no more until request_on_writable is called.
    bool (*blocked)(const struct stream *stream);
    // Reads on for the running request (its body was paused, or it needs the rest).
    void (*want_body)(struct stream *stream);
    // The request was answered and is gone. keep_alive: the connection may go on; otherwise it (or
    // with HTTP/2 the stream) closes once everything is sent. `unread`: request bytes may still
    // come.
    void (*done)(struct stream *stream, bool keep_alive, bool unread);
    // Closes at once (HTTP/2: resets the stream); the request must be gone already. `closed` is set
    // and the memory stays valid until the end of the loop's turn.
    void (*close)(struct stream *stream);
};

enum stream_version { STREAM_HTTP1, STREAM_HTTP2 };

struct stream {
    const struct stream_ops *ops;
    struct worker *worker;
    struct request *request; // NULL: none running
    const char *peer;        // address as text
    const struct snap_client *who; // of the client, as far as routes may ask for it
    const struct client_tls *tls;  // what TLS told of it; NULL: it came in the clear
    uint64_t bytes_in;       // of the current request
    uint64_t bytes_out;
    uint64_t progress_ms; // when the client last took bytes, while some wait
    enum stream_version version;
    bool reset;  // set before it is closed: the client is to see that this was no proper end
    bool closed; // closed in this turn; only the memory is still there
};

static inline bool stream_blocked(const struct stream *stream)
{
    return stream->ops->blocked(stream);
}
