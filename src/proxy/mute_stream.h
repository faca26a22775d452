// What a stream does of whom no client hears: a mirror's copy, a hedge that has not won. Its own
// are what comes of an answer and of the end.
#pragma once

#include "proxy/stream.h"

// Hints are for clients.
static inline int mute_send_interim(struct stream *stream, struct slice head)
{
    (void)stream;
    (void)head;
    return 0;
}

static inline bool mute_blocked(const struct stream *stream)
{
    (void)stream;
    return false;
}

// The body of a copy is complete.
static inline void mute_want_body(struct stream *stream)
{
    (void)stream;
}

// Whether the connection may go on, and what of the request is unread, is the client's matter.
static inline void mute_done(struct stream *stream, bool keep_alive, bool unread)
{
    (void)keep_alive;
    (void)unread;
    stream->ops->close(stream);
}
