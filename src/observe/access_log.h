// The access log: one line for each request, written by a thread of its own.
//
// A worker formats lines into its lane: a few chunks that go round. A full chunk, or what there is
// when the worker says so, is handed over; the writer's thread takes it to the file or to standard
// output. Whatever that does (a pipe that nobody reads, a disk that is full or slow), the worker
// never waits: when no chunk is free, lines are dropped and counted.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/macros.h"
#include "observe/access_line.h"

enum {
    ACCESS_LOG_CHUNKS = 4, // of each lane
    ACCESS_LOG_CHUNK = 32 * 1024,
    ACCESS_LOG_STOP_MS = 2000,
};

struct access_log;
struct access_log_lane;

// Lines that did not make it, since the last question.
struct access_log_lost {
    uint64_t slow;   // no chunk was free
    uint64_t failed; // writing failed
};

// `where`: "off" gives NULL, "-" or "stdout" standard output, anything else a file to append to. 0
// or -errno.
MUST_CHECK int access_log_start(const char *where, enum access_format format, unsigned lanes,
                                struct access_log **ret_log, struct error *err);

// No worker writes any more. Takes what is left to its place, for ACCESS_LOG_STOP_MS at most. NULL
// is fine.
void access_log_stop(struct access_log *log);

// Any thread: before the next chunk the file is opened again under its name, so that it may have
// been renamed. Of standard output nothing happens.
void access_log_reopen(struct access_log *log);

// The rest is for the thread that has the lane. NULL when the log is off.
struct access_log_lane *access_log_lane(struct access_log *log, unsigned index);

void access_log_write(struct access_log_lane *lane, const struct access_record *record);

// Hands over what there is.
void access_log_flush(struct access_log_lane *lane);

struct access_log_lost access_log_take_lost(struct access_log_lane *lane);
