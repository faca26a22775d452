// Who is let in: asked for each connection before anything is read from it.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct worker;
struct downstream;

// An accepted socket; client: its address as text; tls: it is to begin with a handshake. True: it
// may stay, and *ret_slot is for admit_gone when it is closed. False: the client was told why, as
// far as that is possible without waiting, and the socket is closed.
bool admit_connection(struct worker *worker, int fd, const char *client, bool tls,
                      uint32_t *ret_slot);

// Who is behind the connection is known now (down->peer), where at its accept it was not (see
// proxy/preface.h). False: the client was told, and it is to be closed.
bool admit_named(struct downstream *down);
void admit_gone(struct worker *worker, uint32_t slot);

// accept4 found no descriptor: with the one that is kept for that, the client is taken from the
// queue, told, and sent away, instead of waiting there for nothing. False: not even that.
bool admit_without_files(struct worker *worker, int listener_fd, bool tls);

// At the start, and every now and then: looks how many descriptors there may be, and keeps one.
void admit_look(struct worker *worker);
