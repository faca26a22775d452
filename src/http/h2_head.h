// Header sections of HTTP/2 (RFC 9113 section 8) from and to heads of HTTP/1.
//
// A section that is received is written as an HTTP/1 head and then read by the HTTP/1 parser: one
// parser decides what a message means, and a message that was HTTP/2 can say nothing that an HTTP/1
// client or server could not have said. What HTTP/1 cannot express is refused here: line ends in
// values, a second authority, connection-specific fields, an absolute :path.
//
// An extended CONNECT for a WebSocket (RFC 8441) is the GET that asks for the same upgrade in
// HTTP/1.
#pragma once

#include <nghttp2/nghttp2.h>

#include "base/strbuf.h"
#include "http/h1.h"

enum h2_section { H2_REQUEST, H2_RESPONSE, H2_TRAILERS };

// A section that is being received, field by field.
struct h2_head {
    enum h2_section section;
    enum http_reject reject; // the first reason to refuse it; the rest is then ignored
    const struct h1_limits *limits;
    struct strbuf pseudo; // values of the pseudo-header fields, one after another
    struct slice_at {
        uint32_t at;
        uint32_t len;
        bool present;
    } method, scheme, authority, path, protocol, status;
    struct strbuf text;   // the HTTP/1 head
    struct strbuf cookie; // crumbs that become one field (RFC 9113 section 8.2.3)
    size_t count;         // of fields
    bool begun;           // the start line is in `text`
    bool has_length;
    bool has_cookie;
    bool connects; // an extended CONNECT
    bool no_memory; // that is why it was refused, whatever `reject` says
};

// Zero-initialised is fine for _fini. limits live as long as the head.
void h2_head_init(struct h2_head *head, const struct h1_limits *limits);
void h2_head_fini(struct h2_head *head);

// The section was read: gives back the memory, unless it is little.
void h2_head_release(struct h2_head *head);

// Starts a new section.
void h2_head_reset(struct h2_head *head, enum h2_section section);

// One field, in the order received. Never fails: see `reject`. The text of trailers is their lines,
// as trailers_parse reads them.
void h2_head_add(struct h2_head *head, struct slice name, struct slice value);

// All fields are there; `end`: no payload follows. Completes the text and parses it; slices of the
// result point into `text`. Without content-length and with payload to follow the framing is
// HTTP_FRAMING_CHUNKED, which means that the length is unknown. HTTP_REJECT_NONE, or why not.
//
// An extended CONNECT gives a request with `upgrade` (as no other request does) and without
// payload: what follows belongs to the tunnel, if there comes to be one. It must not end the
// stream.
MUST_CHECK enum http_reject h2_head_request(struct h2_head *head, bool end,
                                            struct http_header *headers,
                                            struct http_request *ret_request);
MUST_CHECK enum http_reject h2_head_response(struct h2_head *head, bool end,
                                             enum http_method request_method,
                                             struct http_header *headers,
                                             struct http_response *ret_response);

// Fields of an HTTP/1 head that h1_write_* made, as HTTP/2 sends them: pseudo-header fields first,
// names in lower case (changed in place), without those that belong to the connection. The values
// point into `text`. Returns the count, at most `max`; 0: it does not fit. protocol: of the upgrade
// that the request asks for, which makes it an extended CONNECT; ptr NULL: none.
size_t h2_fields_of_request(char *text, size_t len, struct slice scheme, struct slice protocol,
                            nghttp2_nv *fields, size_t max);
size_t h2_fields_of_response(char *text, size_t len, nghttp2_nv *fields, size_t max);

// The same for trailer lines, which have no start line.
size_t h2_fields_of_trailers(char *text, size_t len, nghttp2_nv *fields, size_t max);
