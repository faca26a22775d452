#include "json/write.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/utf8.h"

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
        size_t len = c < 0x80 ? 1 : utf8_char_len(slice_skip(text, at));
        if (len > 0 && c >= 0x20 && c != '"' && c != '\\') {
            at += len;
            continue;
        }
        strbuf_add(out, slice_of(text.ptr + written, at - written));
        if (len == 0) {
            strbuf_add(out, UTF8_REPLACEMENT);
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
