// The end of a client connection on which everything was said: it is shut for writing, and what
// the client still sends is read and thrown away until it closes, too. A close with unread bytes
// would be a reset, which destroys what the client has not read yet (RFC 9112 section 9.6).
#pragma once

struct downstream;

// Nothing waits to be sent, and no request is running. The connection closes by itself: when the
// client has closed its side, sends too much, or takes too long.
void linger_start(struct downstream *down);
