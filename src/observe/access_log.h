// The access log: one JSON object a line for each request. Never a prompt, never an Authorization.
//
// One struct access_log a worker. Lines collect in its buffer and go out when 32 KiB are full or
// when the worker says so; a write never waits: while the reader of a pipe is too slow, lines are
// dropped and counted. Lines of several workers never mix: a write to a pipe holds whole lines and
// at most PIPE_BUF bytes, a file is opened with O_APPEND.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/macros.h"
#include "base/slice.h"

enum {
    ACCESS_LOG_BUFFER = 64 * 1024,
    ACCESS_LOG_FLUSH_AT = 32 * 1024,
    ACCESS_LOG_LINE_MAX = 4096,
};

// Empty slices and zero times are left out of the line.
struct access_record {
    uint64_t wall_ns; // arrival
    struct slice request_id;
    struct slice client; // address
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
};

struct access_log;

// Writes to fd, which stays the caller's. NULL: out of memory.
struct access_log *access_log_new(int fd);
// Does not flush.
void access_log_free(struct access_log *log);

void access_log_write(struct access_log *log, const struct access_record *record);

// Hands what it has to the system, as far as that takes it without waiting.
void access_log_flush(struct access_log *log);

// Lines dropped since the last call.
uint64_t access_log_take_dropped(struct access_log *log);

// "off" gives -1, "-" or "stdout" standard output, anything else a file to append to. 0 or -errno.
MUST_CHECK int access_log_open(const char *where, int *ret_fd, struct error *err);
