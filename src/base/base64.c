#include "base/base64.h"

#include <stdbool.h>
#include <stdlib.h>

static int digit_of(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

char *base64_decode(struct slice text, size_t *ret_len)
{
    char *out = malloc(text.len / 4 * 3 + 4);
    size_t n = 0;
    unsigned int bits = 0;
    unsigned int have = 0;
    bool padded = false;
    for (size_t i = 0; out != NULL && i < text.len; i++) {
        char c = text.ptr[i];
        int digit = digit_of(c);
        if (c == '\n' || c == '\r' || c == ' ') {
            continue;
        }
        if (c == '=') {
            padded = true;
            continue;
        }
        if (digit < 0 || padded) {
            free(out);
            return NULL;
        }
        bits = (bits << 6 | (unsigned int)digit) & 0xffffffu;
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[n++] = (char)(bits >> have & 0xff);
        }
    }
    if (out != NULL) {
        out[n] = '\0';
        if (ret_len != NULL) {
            *ret_len = n;
        }
    }
    return out;
}
