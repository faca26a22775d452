// Structured log lines on stderr: time level message key=value …, or JSON. Only top layers log;
// libraries return. Never a secret, never a prompt.
//
// Nobody waits for who reads the log: a line for which a pipe has no room is dropped, and the next
// one that fits is preceded by how many were. What may repeat with every request goes through a
// limit (base/log_limit.h).
//
//   log_info("listening", LOG_STR("address", text), LOG_U64("workers", n));
#pragma once

#include <stdint.h>

#include "base/macros.h"
#include "base/slice.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

struct log_field {
    const char *key;
    enum { LOG_FIELD_STR, LOG_FIELD_U64, LOG_FIELD_I64, LOG_FIELD_F64, LOG_FIELD_BOOL } type;
    union {
        struct slice str;
        uint64_t u64;
        int64_t i64;
        double f64;
    } value;
};

#define LOG_SLICE(k, s) ((struct log_field){.key = (k), .type = LOG_FIELD_STR, .value.str = (s)})
#define LOG_STR(k, s) LOG_SLICE(k, slice_of_str(s))
#define LOG_U64(k, n) ((struct log_field){.key = (k), .type = LOG_FIELD_U64, .value.u64 = (n)})
#define LOG_I64(k, n) ((struct log_field){.key = (k), .type = LOG_FIELD_I64, .value.i64 = (n)})
#define LOG_F64(k, n) ((struct log_field){.key = (k), .type = LOG_FIELD_F64, .value.f64 = (n)})
#define LOG_BOOL(k, b) ((struct log_field){.key = (k), .type = LOG_FIELD_BOOL, .value.u64 = (b)})

// Before threads start. Default: info, text.
void log_setup(enum log_level level, enum log_format format);
// At run time; any thread. A line that is being written meanwhile may still go by the old one.
void log_set_level(enum log_level level);
enum log_level log_current_level(void);
const char *log_level_name(enum log_level level);

// One write(2) a line; safe from any thread, and none waits.
void log_write(enum log_level level, const char *message, const struct log_field *fields, size_t n);

#define LOG_AT(level, message, ...)                                                       \
    do {                                                                                  \
        if ((level) >= log_current_level()) {                                             \
            struct log_field fields_[] = {{.key = NULL}, ##__VA_ARGS__};                  \
            log_write((level), (message), fields_ + 1, ARRAY_LEN(fields_) - 1);           \
        }                                                                                 \
    } while (0)
#define log_debug(message, ...) LOG_AT(LOG_LEVEL_DEBUG, message, ##__VA_ARGS__)
#define log_info(message, ...) LOG_AT(LOG_LEVEL_INFO, message, ##__VA_ARGS__)
#define log_warn(message, ...) LOG_AT(LOG_LEVEL_WARN, message, ##__VA_ARGS__)
#define log_error(message, ...) LOG_AT(LOG_LEVEL_ERROR, message, ##__VA_ARGS__)

// Parses "debug", "info", "warn", "error"; 0 or -EINVAL.
MUST_CHECK int log_level_parse(struct slice text, enum log_level *ret_level);
