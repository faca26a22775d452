// Keeps what repeats from filling the log: of each key the first line in ten seconds is written,
// the others are counted, and one line says how many more there were. One owner thread.
//
//   if (log_limit_allows(&limit, LOG_LEVEL_WARN, "request failed", key, now_ms)) {
//       log_warn("request failed", LOG_SLICE("backend", backend));
//   }
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"

enum {
    LOG_LIMIT_KEYS = 32, // at a time; the keys beyond share one
    LOG_LIMIT_KEY_MAX = 96,
    LOG_LIMIT_MS = 10000,
};

struct log_limit_row {
    const char *message; // NULL: free
    enum log_level level;
    uint64_t began_ms;
    uint64_t more;
    size_t key_len;
    char key[LOG_LIMIT_KEY_MAX];
};

// Zero-initialised is valid.
struct log_limit {
    struct log_limit_row rows[LOG_LIMIT_KEYS];
    struct log_limit_row others;
};

// May a line of this message and key be written now? False: it is counted, or below the level that
// is logged. `message` must live for good; of a long key the beginning counts.
bool log_limit_allows(struct log_limit *limit, enum log_level level, const char *message,
                      struct slice key, uint64_t now_ms);

// Writes "… more=N" for keys whose ten seconds are over; call it about once a second.
void log_limit_sweep(struct log_limit *limit, uint64_t now_ms);
