// HTTP/1.1 codec (RFC 9112), strict on both sides: what the grammar does not allow is refused, and
// framing that two parties could read in two ways is refused. Bytes are never forwarded as they
// came: heads are written anew by h1_write_*.
//
// Parse functions: > 0 = bytes consumed, 0 = more needed, < 0 = refused (-(int)enum http_reject).
#pragma once

#include "base/macros.h"
#include "base/strbuf.h"
#include "http/message.h"
#include "http/reject.h"

struct h1_limits {
    size_t max_head_bytes;  // start line and header section; default 32 KiB
    size_t max_headers;     // default 100
    size_t max_target_bytes; // default 8 KiB
};

#define H1_LIMITS_DEFAULT \
    ((struct h1_limits){.max_head_bytes = 32768, .max_headers = 100, .max_target_bytes = 8192})

// Undoes the percent-encoding of a normalised path, or of a part of it, into `out` (path.len bytes;
// NULL gives NULL).
struct slice h1_path_decode(struct slice path, char *out);

// Parses a request head at the start of buf[0..len). `seen` is how many bytes a former call with
// the same start already looked at (0 at first): it makes slow drips cheap. `headers` has room for
// limits->max_headers. On success request->headers = headers. The buffer is changed in place (host
// lower-cased, path normalised) only on success. Empty lines before the request line: one CRLF is
// skipped (RFC 9112 section 2.2).
MUST_CHECK ptrdiff_t h1_parse_request(char *buf, size_t len, size_t seen,
                                      const struct h1_limits *limits, struct http_header *headers,
                                      struct http_request *ret_request);

// The same for a response. request_method: HEAD and the statuses 1xx, 204, 304 have no body. 101 is
// refused (no upgrade was asked for).
MUST_CHECK ptrdiff_t h1_parse_response(char *buf, size_t len, size_t seen,
                                       const struct h1_limits *limits,
                                       enum http_method request_method, struct http_header *headers,
                                       struct http_response *ret_response);

// The same for a response to a GET that asked for an upgrade to the protocol `asked`: 101 is taken
// when it names exactly this protocol (RFC 9110 section 7.8) and announces no body. What follows
// the consumed bytes of a 101 is the new protocol's.
MUST_CHECK ptrdiff_t h1_parse_upgrade_response(char *buf, size_t len, size_t seen,
                                               const struct h1_limits *limits, struct slice asked,
                                               struct http_header *headers,
                                               struct http_response *ret_response);

// Decoder of the chunked transfer coding. Zero-initialised is ready.
struct h1_chunked {
    // The trailer lines are put here, for trailers_parse; NULL: they are checked and dropped. The
    // owner's, who makes it empty and looks at `failed` (out of memory) when all is done. It never
    // gets more than H1_TRAILERS_MAX bytes, and no memory before there is a trailer.
    struct strbuf *trailers;
    uint64_t left;         // of the current chunk's data
    uint32_t overhead;     // bytes of extensions and trailers seen, for the limits
    uint8_t state;
    uint8_t digits;
    bool done;
};

// Bytes of a trailer section; with those of chunk extensions beyond the data.
enum { H1_TRAILERS_MAX = 8192 };

// Decodes in[0..len): *ret_data gets the next piece of body data (a view into `in`, may be empty).
// Returns how many bytes were consumed (the data among them, may be 0 when len is 0); call again
// with the rest until len is used up or decoder->done. < 0: refused.
MUST_CHECK ptrdiff_t h1_chunked_decode(struct h1_chunked *decoder, const char *in, size_t len,
                                       struct slice *ret_data);

// Appends "HTTP/1.1 200 OK\r\n", a header line, the empty line. Values are trusted to have been
// parsed or made by us (no CR, LF, NUL).
void h1_write_status(struct strbuf *out, unsigned status);
void h1_write_header(struct strbuf *out, struct slice name, struct slice value);
void h1_write_header_u64(struct strbuf *out, struct slice name, uint64_t value);
void h1_write_end(struct strbuf *out);

// Writes the size line of a chunk ("1a\r\n") into buf; returns its length. The data and "\r\n"
// follow; the last chunk is H1_LAST_CHUNK.
enum { H1_CHUNK_HEAD_MAX = 20 };
size_t h1_chunk_head(char buf[H1_CHUNK_HEAD_MAX], uint64_t size);
#define H1_LAST_CHUNK SLICE("0\r\n\r\n")

// Appends the last chunk with these trailers, but for those marked `drop`.
void h1_write_trailers(struct strbuf *out, const struct http_header *trailers, size_t count);
