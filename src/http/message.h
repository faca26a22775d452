// One representation of HTTP messages for every version: slices into a buffer that the owner keeps
// alive, header names interned to small tokens where they are known.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

// Known header names; the table in message.c gives the lower-case text and the flags.
enum http_token {
    HTTP_TOKEN_UNKNOWN = 0,
    HTTP_TOKEN_ACCEPT,
    HTTP_TOKEN_ACCEPT_ENCODING,
    HTTP_TOKEN_AUTHORIZATION,
    HTTP_TOKEN_CONNECTION,
    HTTP_TOKEN_CONTENT_ENCODING,
    HTTP_TOKEN_CONTENT_LENGTH,
    HTTP_TOKEN_CONTENT_TYPE,
    HTTP_TOKEN_DATE,
    HTTP_TOKEN_ENDPOINT_LOAD_METRICS, // ORCA, in responses
    HTTP_TOKEN_EXPECT,
    HTTP_TOKEN_FORWARDED,
    HTTP_TOKEN_HOST,
    HTTP_TOKEN_KEEP_ALIVE,
    HTTP_TOKEN_PROXY_AUTHENTICATE,
    HTTP_TOKEN_PROXY_AUTHORIZATION,
    HTTP_TOKEN_PROXY_CONNECTION,
    HTTP_TOKEN_RETRY_AFTER,
    HTTP_TOKEN_SERVER,
    HTTP_TOKEN_TE,
    HTTP_TOKEN_TRACEPARENT,
    HTTP_TOKEN_TRACESTATE,
    HTTP_TOKEN_TRAILER,
    HTTP_TOKEN_TRANSFER_ENCODING,
    HTTP_TOKEN_UPGRADE,
    HTTP_TOKEN_USER_AGENT,
    HTTP_TOKEN_VIA,
    HTTP_TOKEN_X_FORWARDED_CLIENT_CERT,
    HTTP_TOKEN_X_FORWARDED_FOR,
    HTTP_TOKEN_X_FORWARDED_HOST,
    HTTP_TOKEN_X_FORWARDED_PORT,
    HTTP_TOKEN_X_FORWARDED_PREFIX,
    HTTP_TOKEN_X_FORWARDED_PROTO,
    HTTP_TOKEN_X_FORWARDED_SERVER,
    HTTP_TOKEN_X_REAL_IP,
    HTTP_TOKEN_X_REQUEST_ID,
    HTTP_TOKEN_COUNT,
};

// Case-insensitive; HTTP_TOKEN_UNKNOWN when not in the table.
enum http_token http_token_find(struct slice name);

// Hop-by-hop by RFC 9110 section 7.6.1 (and Keep-Alive, Proxy-Connection): never forwarded.
bool http_token_is_hop_by_hop(enum http_token token);

enum http_method {
    HTTP_METHOD_OTHER = 0, // a valid token that is not in this list; see method_text
    HTTP_METHOD_GET,
    HTTP_METHOD_HEAD,
    HTTP_METHOD_POST,
    HTTP_METHOD_PUT,
    HTTP_METHOD_DELETE,
    HTTP_METHOD_PATCH,
    HTTP_METHOD_OPTIONS,
};

struct http_header {
    struct slice name;  // as received
    struct slice value; // without the white space around it
    uint16_t token;     // enum http_token
    bool drop; // hop-by-hop, listed in Connection, or a look-alike (Content_Length): not forwarded
};

enum http_framing {
    HTTP_FRAMING_NONE,    // no body
    HTTP_FRAMING_LENGTH,  // content_length bytes
    HTTP_FRAMING_CHUNKED, // transfer-encoding: chunked
    HTTP_FRAMING_CLOSE,   // responses only: until the connection closes
};

struct http_request {
    enum http_method method;
    struct slice method_text;
    // Origin form, absolute form or "*", as received; but the path in it is normalised (origin
    // form: path and query in one piece; absolute form: may have lost its shape, for logs only).
    struct slice target;
    // Normalised path (RFC 3986 section 6.2.2: percent-encoding of unreserved characters undone,
    // dot segments removed, empty path = "/"): what is matched is what is forwarded. Points into
    // the receive buffer (normalised in place) or at a literal.
    struct slice path;
    struct slice query; // after '?', without it; ptr NULL when there is none
    struct slice host;  // host without port, lower-cased in place, IPv6 without brackets
    struct slice authority; // Host, or of the absolute form: lower-cased; empty in HTTP/1.0 only
    uint8_t minor_version; // HTTP/1.x
    bool keep_alive;
    bool expect_continue;
    struct slice upgrade; // the protocol that a GET without a body asks for; ptr NULL: none known
    enum http_framing framing;
    uint64_t content_length;
    struct http_header *headers;
    size_t header_count;
};

struct http_response {
    unsigned status; // 100..599
    struct slice reason;
    uint8_t minor_version;
    bool keep_alive;
    enum http_framing framing;
    uint64_t content_length;
    struct http_header *headers;
    size_t header_count;
};

// First header with the token; NULL when absent.
const struct http_header *http_header_find(const struct http_header *headers, size_t count,
                                           enum http_token token);

// First header with the name (any case); for names outside the table.
const struct http_header *http_header_find_name(const struct http_header *headers, size_t count,
                                                struct slice name);

// The type/subtype part of a Content-Type value equals `type` (any case), whatever parameters
// follow.
bool http_content_type_is(struct slice value, struct slice type);

// "Not Found" for 404; "" when unknown.
struct slice http_reason_phrase(unsigned status);
