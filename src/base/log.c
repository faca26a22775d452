#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/strbuf.h"
#include "base/utf8.h"

// At most PIPE_BUF: a pipe that says that it has room takes such a line whole (pipe(7)).
enum { LOG_LINE_MAX = 4096 };

// Relaxed: nothing else depends on it.
static _Atomic int current_level = LOG_LEVEL_INFO;
static enum log_format current_format = LOG_FORMAT_TEXT;
static const char *const level_names[] = {"debug", "info", "warn", "error"};

void log_setup(enum log_level level, enum log_format format)
{
    log_set_level(level);
    current_format = format;
}

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&current_level, (int)level, memory_order_relaxed);
}

enum log_level log_current_level(void)
{
    return (enum log_level)atomic_load_explicit(&current_level, memory_order_relaxed);
}

const char *log_level_name(enum log_level level)
{
    return level_names[level];
}

int log_level_parse(struct slice text, enum log_level *ret_level)
{
    for (size_t i = 0; i < ARRAY_LEN(level_names); i++) {
        if (slice_eq_str(text, level_names[i])) {
            *ret_level = (enum log_level)i;
            return 0;
        }
    }
    return -EINVAL;
}

static void add_quoted(struct strbuf *out, struct slice s)
{
    strbuf_add_char(out, '"');
    while (s.len > 0) {
        unsigned char c = (unsigned char)s.ptr[0];
        size_t len = utf8_char_len(s);
        if (len != 1) {
            strbuf_add(out, len != 0 ? slice_first(s, len) : UTF8_REPLACEMENT);
        } else if (c == '"' || c == '\\') {
            strbuf_add_char(out, '\\');
            strbuf_add_char(out, (char)c);
        } else if (c == '\n') {
            strbuf_add_str(out, "\\n");
        } else if (c < 0x20 || c == 0x7f) {
            strbuf_printf(out, "\\u%04x", c);
        } else {
            strbuf_add_char(out, (char)c);
        }
        s = slice_skip(s, len != 0 ? len : 1);
    }
    strbuf_add_char(out, '"');
}

static bool needs_quotes(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c >= 0x7f) {
            return true;
        }
    }
    return s.len == 0;
}

static void add_value(struct strbuf *out, const struct log_field *field, bool json)
{
    switch (field->type) {
    case LOG_FIELD_STR:
        if (json || needs_quotes(field->value.str)) {
            add_quoted(out, slice_first(field->value.str, 1024));
        } else {
            strbuf_add(out, slice_first(field->value.str, 1024));
        }
        break;
    case LOG_FIELD_U64:
        strbuf_printf(out, "%llu", (unsigned long long)field->value.u64);
        break;
    case LOG_FIELD_I64:
        strbuf_printf(out, "%lld", (long long)field->value.i64);
        break;
    case LOG_FIELD_F64:
        strbuf_printf(out, "%.6g", field->value.f64);
        break;
    case LOG_FIELD_BOOL:
        strbuf_add_str(out, field->value.u64 != 0 ? "true" : "false");
        break;
    }
}

// ---- output -------------------------------------------------------------------------------------

// Held while a line is looked for room and written, never while waiting: among our own threads
// nobody takes the room in between.
static pthread_mutex_t output_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t lines_dropped;

static bool has_room(void)
{
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
    return poll(&out, 1, 0) == 1 && (out.revents & POLLOUT) != 0;
}

static void put(const char *text, size_t len)
{
    ssize_t ignored = write(STDERR_FILENO, text, len);
    (void)ignored; // nowhere to say that saying failed
}

static void put_dropped(const char *when)
{
    char text[160];
    const char *form = current_format == LOG_FORMAT_JSON
                           ? "{\"time\":\"%s\",\"level\":\"warn\",\"message\":"
                             "\"log lines were dropped\",\"lines\":%llu}\n"
                           : "%s warn  log lines were dropped lines=%llu\n";
    int len = snprintf(text, sizeof(text), form, when, (unsigned long long)lines_dropped);
    put(text, (size_t)len);
    lines_dropped = 0;
}

static void put_line(const char *when, struct slice line)
{
    pthread_mutex_lock(&output_lock);
    if (lines_dropped != 0 && has_room()) {
        put_dropped(when);
    }
    if (lines_dropped == 0 && has_room()) {
        put(line.ptr, line.len);
    } else {
        lines_dropped++;
    }
    pthread_mutex_unlock(&output_lock);
}

void log_write(enum log_level level, const char *message, const struct log_field *fields, size_t n)
{
    char when[CLOCK_RFC3339_SIZE];
    clock_format_rfc3339(clock_wall_ns(), when, sizeof(when));
    struct strbuf out;
    strbuf_init(&out, LOG_LINE_MAX);
    bool json = current_format == LOG_FORMAT_JSON;
    if (json) {
        strbuf_printf(&out, "{\"time\":\"%s\",\"level\":\"%s\",\"message\":", when,
                      level_names[level]);
        add_quoted(&out, slice_of_str(message));
    } else {
        strbuf_printf(&out, "%s %-5s %s", when, level_names[level], message);
    }
    for (size_t i = 0; i < n; i++) {
        size_t before = out.len;
        strbuf_printf(&out, json ? ",\"%s\":" : " %s=", fields[i].key);
        add_value(&out, &fields[i], json);
        if (out.failed || out.len + 2 > LOG_LINE_MAX) {
            // The line stays a line, whatever a field holds: the rest is left out.
            out.len = before;
            break;
        }
    }
    strbuf_add_str(&out, json ? "}\n" : "\n");
    if (out.len != 0) {
        put_line(when, strbuf_slice(&out));
    }
    strbuf_fini(&out);
}
