// What the header fields mean for the framing and the life of the connection; shared by requests
// and responses.
#pragma once

#include "base/macros.h"
#include "http/h1.h"

// Collected in one pass over the header section.
struct h1_fields {
    size_t count;
    struct slice host;              // ptr NULL: none
    struct slice transfer_encoding; // ptr NULL: none
    struct slice expect;            // ptr NULL: none
    struct slice upgrade;           // ptr NULL: none
    bool upgrade_repeated;
    uint64_t content_length;
    bool has_content_length;
    bool has_connection;
    bool connection_close;
    bool connection_keep_alive;
    bool connection_upgrade;
};

// Parses header lines from p, after the start line, to the empty line. Returns the bytes consumed,
// 0 for more, or -reason. `headers` gets name, value and token; `drop` is set for hop-by-hop names
// and for look-alikes of known names (Content_Length).
MUST_CHECK ptrdiff_t h1_fields_parse(const char *p, const char *end, size_t max_headers,
                                     struct http_header *headers, struct h1_fields *ret_fields);

// Reads the Connection fields: persistence, and which other headers are not to be forwarded.
MUST_CHECK enum http_reject h1_fields_connection(struct http_header *headers,
                                                 struct h1_fields *fields);

// Checks Transfer-Encoding and Content-Length against each other and the version (RFC 9112 section
// 6.1, 6.3). *ret_chunked tells whether the body is chunked.
MUST_CHECK enum http_reject h1_fields_framing(const struct h1_fields *fields,
                                              unsigned minor_version, bool *ret_chunked);
