// A line of the access log: what is told of a request, as a JSON object or as text. Never a prompt,
// never an Authorization.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/macros.h"
#include "base/slice.h"

enum access_format { ACCESS_JSON, ACCESS_TEXT };

enum { ACCESS_LINE_MAX = 6144 };

// Of the connection that a request came by.
struct access_tls {
    struct slice version;     // "TLSv1.3"
    struct slice cipher;      // as OpenSSL calls it
    struct slice alpn;        // what was agreed on; empty: nothing
    struct slice server_name; // of SNI
    struct slice subject;     // of the client's certificate, when it was verified, and
    struct slice san;         // its alternative names: "URI:spiffe://x,DNS:y"
};

// Empty slices and zero times are left out of the line.
struct access_record {
    uint64_t wall_ns; // arrival
    struct slice request_id;
    struct slice client;   // address
    struct slice protocol; // "HTTP/1.1", "HTTP/2"
    const struct access_tls *tls; // NULL: it came in the clear
    struct slice consumer; // who the request is accounted to
    struct slice method;
    struct slice path; // without the query
    struct slice host;
    struct slice user_agent;
    unsigned status; // what the client got; 0 = nothing
    struct slice model;          // asked for
    struct slice upstream_model; // sent
    struct slice route;          // "namespace/name"
    struct slice rule;
    struct slice backend;  // "namespace/name"
    struct slice endpoint; // "10.0.0.1:8000"
    unsigned attempts;
    bool fallback;
    struct slice hedged; // empty: was not; "won", "lost": who answered it
    bool stream;
    uint64_t ttft_ns; // arrival to first token; 0 = there was none
    uint64_t duration_ns;
    uint64_t bytes_in;
    uint64_t bytes_out;
    bool has_usage;
    uint64_t prompt_tokens;
    uint64_t completion_tokens;
    uint64_t cached_tokens;
    const char *outcome; // "ok", or the label of what went wrong
    struct slice finish; // why the model stopped, as the server says
    struct slice reject; // what the codec did not like about the message
};

// How lines are written, and the second that was written last: formatting a date is not cheap.
struct access_line {
    enum access_format format;
    uint64_t second;
    char when[CLOCK_RFC3339_SIZE];
};

void access_line_init(struct access_line *line, enum access_format format);

// Writes the line with its newline, at most ACCESS_LINE_MAX bytes whatever the texts hold; returns
// its length.
size_t access_line_write(struct access_line *line, const struct access_record *record, char *out);

// "json" or "text"; 0 or -EINVAL.
MUST_CHECK int access_format_parse(const char *text, enum access_format *ret_format);
