#include "json/write.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

// Length of the valid UTF-8 sequence at p (Unicode, table 3-7), 0 when there is none.
static size_t utf8_sequence(const unsigned char *p, size_t len)
{
    static const struct {
        unsigned char lead_low;
        unsigned char lead_high;
        unsigned char second_low;
        unsigned char second_high;
        size_t len;
    } rows[] = {
        {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
        {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
        {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (p[0] < rows[i].lead_low || p[0] > rows[i].lead_high) {
            continue;
        }
        if (len < rows[i].len || p[1] < rows[i].second_low || p[1] > rows[i].second_high) {
            return 0;
        }
        for (size_t k = 2; k < rows[i].len; k++) {
            if ((p[k] & 0xc0) != 0x80) {
                return 0;
            }
        }
        return rows[i].len;
    }
    return 0;
}

static void write_control(struct strbuf *out, unsigned char c)
{
    static const char digits[] = "0123456789abcdef";
    static const char short_forms[0x20] = {
        ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't',
    };
    char form[6] = {'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]};
    if (c < 0x20 && short_forms[c] == '\0') {
        strbuf_add(out, slice_of(form, 6));
        return;
    }
    form[1] = c < 0x20 ? short_forms[c] : (char)c;
    strbuf_add(out, slice_of(form, 2));
}

void json_write_string(struct strbuf *out, struct slice text)
{
    const unsigned char *p = (const unsigned char *)text.ptr;
    size_t at = 0;
    size_t written = 0;
    strbuf_add_char(out, '"');
    while (at < text.len) {
        unsigned char c = p[at];
        size_t len = c < 0x80 ? 1 : utf8_sequence(p + at, text.len - at);
        if (len > 0 && c >= 0x20 && c != '"' && c != '\\') {
            at += len;
            continue;
        }
        strbuf_add(out, slice_of(text.ptr + written, at - written));
        if (len == 0) {
            strbuf_add(out, SLICE("\xef\xbf\xbd"));
        } else {
            write_control(out, c);
        }
        written = ++at;
    }
    strbuf_add(out, slice_of(text.ptr + written, at - written));
    strbuf_add_char(out, '"');
}

void json_write_key(struct strbuf *out, const char *key)
{
    json_write_string(out, slice_of_str(key));
    strbuf_add_char(out, ':');
}

void json_write_double(struct strbuf *out, double value)
{
    char text[32];
    if (!isfinite(value)) {
        strbuf_add(out, SLICE("null"));
        return;
    }
    for (int precision = 15; precision <= 17; precision++) {
        int len = snprintf(text, sizeof text, "%.*g", precision, value);
        double back = 0;
        if (precision == 17 ||
            (slice_to_double(slice_of(text, (size_t)len), &back) == 0 && back == value)) {
            strbuf_add(out, slice_of(text, (size_t)len));
            return;
        }
    }
}
