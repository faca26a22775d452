#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/strbuf.h"
#include "base/utf8.h"

enum { LOG_LINE_MAX = 4096 };

static enum log_level current_level = LOG_LEVEL_INFO;
static enum log_format current_format = LOG_FORMAT_TEXT;
static const char *const level_names[] = {"debug", "info", "warn", "error"};

void log_setup(enum log_level level, enum log_format format)
{
    current_level = level;
    current_format = format;
}

enum log_level log_current_level(void)
{
    return current_level;
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
    ssize_t ignored = write(STDERR_FILENO, out.ptr != NULL ? out.ptr : "", out.len);
    (void)ignored; // nowhere to say that saying failed
    strbuf_fini(&out);
}
