#include "json/scan_text.h"

#include <errno.h>
#include <string.h>

#include "json/scan.h"

const char json_escapes[256] = {
    ['"'] = '"',  ['\\'] = '\\', ['/'] = '/',  ['b'] = '\b', ['f'] = '\f',
    ['n'] = '\n', ['r'] = '\r',  ['t'] = '\t', ['u'] = 'u',
};

const uint8_t json_hex_digits[256] = {
    ['0'] = 1,  ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,
    ['8'] = 9,  ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
    ['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
};

size_t json_encode_utf8(uint32_t code, char out[4])
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xc0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xe0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3f));
        out[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3f));
    out[2] = (char)(0x80 | (code >> 6 & 0x3f));
    out[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

// \uXXXX, perhaps a pair, at *at (the backslash). The code point, or -1; *at moves behind it.
static int32_t decode_unicode(struct slice text, size_t *at)
{
    if (text.len - *at < 6) {
        return -1;
    }
    int32_t code = json_hex4(text.ptr + *at + 2);
    *at += 6;
    if (code < 0 || json_is_low_surrogate((uint32_t)code)) {
        return -1;
    }
    if (!json_is_high_surrogate((uint32_t)code)) {
        return code;
    }
    if (text.len - *at < 6 || text.ptr[*at] != '\\' || text.ptr[*at + 1] != 'u') {
        return -1;
    }
    int32_t low = json_hex4(text.ptr + *at + 2);
    *at += 6;
    if (low < 0 || !json_is_low_surrogate((uint32_t)low)) {
        return -1;
    }
    return (int32_t)json_join_surrogates((uint32_t)code, (uint32_t)low);
}

ptrdiff_t json_string_decode(struct slice token, char *out, size_t size)
{
    if (token.len < 2 || token.ptr[0] != '"' || token.ptr[token.len - 1] != '"') {
        return -EINVAL;
    }
    struct slice text = slice_of(token.ptr + 1, token.len - 2);
    size_t at = 0;
    size_t len = 0;
    while (at < text.len) {
        char bytes[4] = {text.ptr[at]};
        size_t count = 1;
        if (bytes[0] != '\\') {
            if (bytes[0] == '"' || (unsigned char)bytes[0] < 0x20) {
                return -EINVAL;
            }
            at++;
        } else {
            char meaning = text.len - at < 2 ? '\0' : json_escapes[(unsigned char)text.ptr[at + 1]];
            if (meaning == '\0') {
                return -EINVAL;
            }
            if (meaning == 'u') {
                int32_t code = decode_unicode(text, &at);
                if (code < 0) {
                    return -EINVAL;
                }
                count = json_encode_utf8((uint32_t)code, bytes);
            } else {
                bytes[0] = meaning;
                at += 2;
            }
        }
        if (size - len < count) {
            return -ENOSPC;
        }
        memcpy(out + len, bytes, count);
        len += count;
    }
    return (ptrdiff_t)len;
}

int json_number_u64(struct slice token, uint64_t *ret_value)
{
    return slice_to_u64(token, ret_value);
}
