// What a proxy must know of gRPC over HTTP/2 (gRPC's PROTOCOL-HTTP2.md): deadlines, how errors are
// said, and which content is gRPC.
#pragma once

#include "base/arena.h"
#include "base/macros.h"
#include "http/message.h"

// gRPC's status codes (its statuscodes.md); those that we use or read.
enum grpc_status {
    GRPC_OK = 0,
    GRPC_CANCELLED = 1,
    GRPC_UNKNOWN = 2,
    GRPC_INVALID_ARGUMENT = 3,
    GRPC_DEADLINE_EXCEEDED = 4,
    GRPC_NOT_FOUND = 5,
    GRPC_PERMISSION_DENIED = 7,
    GRPC_RESOURCE_EXHAUSTED = 8,
    GRPC_UNIMPLEMENTED = 12,
    GRPC_INTERNAL = 13,
    GRPC_UNAVAILABLE = 14,
    GRPC_DATA_LOSS = 15,
    GRPC_UNAUTHENTICATED = 16,
    GRPC_STATUS_MAX = 16,
};

// Content-Type: application/grpc, or with a format (+proto, +json), parameters or not. Not
// grpc-web, which is another protocol.
bool grpc_content_type(struct slice value);

// grpc-timeout: one to eight digits and a unit, H M S m u n. *ret_ms is rounded up, so that what
// is not zero stays so. 0 or -EINVAL.
MUST_CHECK int grpc_timeout_ms(struct slice value, uint64_t *ret_ms);

// The value of grpc-status: 0 to 16, else GRPC_UNKNOWN (also for what is no number).
enum grpc_status grpc_status_parse(struct slice value);

// The code for an error that has an HTTP status: gRPC's http-grpc-status-mapping.md, and for what
// it leaves to UNKNOWN the code that says it best (413 RESOURCE_EXHAUSTED, 422 INVALID_ARGUMENT,
// 499 CANCELLED, 500 INTERNAL, 501 and 405 UNIMPLEMENTED). So 503 and 504 are UNAVAILABLE, which
// clients retry, and a deadline that the client itself set is not told by this.
enum grpc_status grpc_status_of_http(unsigned status);

// What an answer's code says of the server that gave it, as the HTTP status that says the same: 503
// for UNAVAILABLE, 429 for RESOURCE_EXHAUSTED, 500 for UNKNOWN, INTERNAL and DATA_LOSS. All others
// are about the call (a deadline is the client's) and come out as 200. Not the inverse of
// grpc_status_of_http.
unsigned grpc_status_blames(enum grpc_status status);

// The header fields of a trailers-only answer with this error: content-type, grpc-status and
// grpc-message (left out when empty), to be sent with :status 200 and the end of the stream.
// The message is percent-encoded but for printable ASCII, and cut at a limit. Returns how many.
enum { GRPC_ANSWER_FIELDS = 3 };
MUST_CHECK size_t grpc_answer(enum grpc_status status, struct slice text, struct arena *arena,
                              struct http_header fields[GRPC_ANSWER_FIELDS]);
