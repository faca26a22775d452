// Why a message is refused: one row gives enum, HTTP status, metric label and text.
#pragma once

#include "base/slice.h"

// X(name, status, label, text)
#define HTTP_REJECT_TABLE(X)                                                                      \
    X(NONE, 0, "none", "")                                                                        \
    X(REQUEST_LINE, 400, "request_line", "malformed request line")                                \
    X(METHOD, 400, "method", "malformed method")                                                  \
    X(METHOD_UNSUPPORTED, 501, "method_unsupported", "TRACE is not supported")                    \
    X(TARGET, 400, "target", "malformed request target")                                          \
    X(PATH, 400, "path", "the path cannot be normalised")                                         \
    X(VERSION, 400, "version", "malformed HTTP version")                                          \
    X(VERSION_UNSUPPORTED, 505, "version_unsupported", "HTTP version not supported")              \
    X(STATUS_LINE, 502, "status_line", "malformed status line")                                   \
    X(HEADER_NAME, 400, "header_name", "malformed header name")                                   \
    X(HEADER_VALUE, 400, "header_value", "forbidden byte in a header value")                      \
    X(HEADER_SYNTAX, 400, "header_syntax", "malformed header line")                               \
    X(OBS_FOLD, 400, "obs_fold", "folded header lines are not accepted")                          \
    X(BARE_LF, 400, "bare_lf", "line ends with LF without CR")                                    \
    X(HEADERS_TOO_LARGE, 431, "headers_too_large", "the request header is too large")             \
    X(TOO_MANY_HEADERS, 431, "too_many_headers", "too many header fields")                        \
    X(URI_TOO_LONG, 414, "uri_too_long", "the request target is too long")                        \
    X(HOST_MISSING, 400, "host_missing", "no Host header")                                        \
    X(HOST_INVALID, 400, "host_invalid", "invalid or repeated Host header")                       \
    X(CONTENT_LENGTH, 400, "content_length", "invalid or repeated Content-Length")                \
    X(LENGTH_AND_CHUNKED, 400, "length_and_chunked",                                              \
      "both Content-Length and Transfer-Encoding")                                                \
    X(TRANSFER_ENCODING, 400, "transfer_encoding", "invalid or repeated Transfer-Encoding")       \
    X(TRANSFER_ENCODING_UNKNOWN, 501, "transfer_encoding_unknown",                                \
      "only the chunked transfer coding is supported")                                            \
    X(CHUNK_SIZE, 400, "chunk_size", "malformed chunk size")                                      \
    X(CHUNK_DATA, 400, "chunk_data", "chunk data is not followed by CRLF")                        \
    X(CHUNK_EXTENSION, 400, "chunk_extension", "malformed or too long chunk extension")           \
    X(TRAILER, 400, "trailer", "malformed or too large trailer section")                          \
    X(HTTP2_MESSAGE, 400, "http2_message", "malformed HTTP/2 message")                            \
    X(EXPECT, 417, "expect", "only 100-continue can be expected")                                 \
    X(UPGRADE_UNSUPPORTED, 400, "upgrade_unsupported", "CONNECT and upgrades are not supported")  \
    X(PROTOCOL_UNSUPPORTED, 501, "protocol_unsupported",                                          \
      "CONNECT can ask for the protocol websocket only")

enum http_reject {
#define X(name, status, label, text) HTTP_REJECT_##name,
    HTTP_REJECT_TABLE(X)
#undef X
    HTTP_REJECT_COUNT,
};

unsigned http_reject_status(enum http_reject reason);
const char *http_reject_label(enum http_reject reason);
const char *http_reject_text(enum http_reject reason);
