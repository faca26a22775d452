#include "base/log_limit.h"

#include <string.h>

static bool row_is(const struct log_limit_row *row, const char *message, struct slice key)
{
    return row->message != NULL && strcmp(row->message, message) == 0 &&
           slice_eq(slice_of(row->key, row->key_len), key);
}

// The row of the key, else one that is free, else the one that all others share.
static struct log_limit_row *find_row(struct log_limit *limit, const char *message,
                                      struct slice key)
{
    struct log_limit_row *spare = NULL;
    for (size_t i = 0; i < LOG_LIMIT_KEYS; i++) {
        struct log_limit_row *row = &limit->rows[i];
        if (row_is(row, message, key)) {
            return row;
        }
        if (row->message == NULL && spare == NULL) {
            spare = row;
        }
    }
    return spare != NULL ? spare : &limit->others;
}

static void begin(struct log_limit_row *row, enum log_level level, const char *message,
                  struct slice key, uint64_t now_ms)
{
    row->message = message;
    row->level = level;
    row->began_ms = now_ms;
    row->more = 0;
    row->key_len = key.len;
    memcpy(row->key, key.ptr != NULL ? key.ptr : "", key.len);
}

static void end(struct log_limit *limit, struct log_limit_row *row, uint64_t now_ms)
{
    if (row->more != 0) {
        struct log_field fields[] = {
            LOG_STR("like", row == &limit->others ? "several" : row->message),
            LOG_SLICE("key", slice_of(row->key, row->key_len)),
            LOG_U64("more", row->more),
            LOG_U64("seconds", (now_ms - row->began_ms) / 1000),
        };
        log_write(row->level, "the same again", fields, ARRAY_LEN(fields));
    }
    row->message = NULL;
}

static bool is_over(const struct log_limit_row *row, uint64_t now_ms)
{
    return row->message != NULL && now_ms - row->began_ms >= LOG_LIMIT_MS;
}

bool log_limit_allows(struct log_limit *limit, enum log_level level, const char *message,
                      struct slice key, uint64_t now_ms)
{
    if (level < log_current_level()) {
        return false;
    }
    key = slice_first(key, LOG_LIMIT_KEY_MAX);
    struct log_limit_row *row = find_row(limit, message, key);
    if (is_over(row, now_ms)) {
        end(limit, row, now_ms);
    }
    if (row->message != NULL) {
        row->more++;
        return false;
    }
    begin(row, level, message, row == &limit->others ? SLICE("others") : key, now_ms);
    return true;
}

void log_limit_sweep(struct log_limit *limit, uint64_t now_ms)
{
    for (size_t i = 0; i < LOG_LIMIT_KEYS; i++) {
        if (is_over(&limit->rows[i], now_ms)) {
            end(limit, &limit->rows[i], now_ms);
        }
    }
    if (is_over(&limit->others, now_ms)) {
        end(limit, &limit->others, now_ms);
    }
}
