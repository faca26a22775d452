// The opening handshake of WebSocket (RFC 6455 section 4), as far as somebody between two versions
// of HTTP speaks for one side of it: HTTP/2 has neither keys nor their acceptance (RFC 8441
// section 5).
#pragma once

#include <stdbool.h>

#include "base/macros.h"
#include "base/slice.h"

enum { WEBSOCKET_KEY_LEN = 24, WEBSOCKET_ACCEPT_LEN = 28 };

// A fresh Sec-WebSocket-Key: 16 random bytes in base64, and NUL. 0, or -ENOMEM (OpenSSL has no
// memory, or no randomness).
MUST_CHECK int websocket_key_make(char out[WEBSOCKET_KEY_LEN + 1]);

// It is 16 bytes in base64.
bool websocket_key_is_valid(struct slice key);

// What Sec-WebSocket-Accept says to a key, and NUL. 0, or -ENOMEM.
MUST_CHECK int websocket_accept_of(struct slice key, char out[WEBSOCKET_ACCEPT_LEN + 1]);
