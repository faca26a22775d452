// The end of a client connection on which everything was said: what waits is sent, it is shut for
// writing, and what the client still sends is read and thrown away until it closes, too. A close
// with unread bytes would be a reset, which destroys what the client has not read yet (RFC 9112
// section 9.6).
#pragma once

struct downstream;

// No request is running. The connection is the business of this protocol from now on, and closes by
// itself: when the client has closed its side, sends too much, or takes too long. It does so in a
// later turn at the earliest: the receive buffer of the worker may be in use.
void linger_start(struct downstream *down);
