// The server name that a client asks for.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/macros.h"

enum { TLS_SNI_MAX = 255 };

// The host name in the body of a server_name extension (RFC 6066 section 3), in lower case and
// without a dot at its end. 0; -EINVAL: malformed, or not a name. *ret_len is 0 when the extension
// names no host.
MUST_CHECK int tls_sni_parse(const uint8_t *data, size_t len, char ret_name[TLS_SNI_MAX],
                             size_t *ret_len);
