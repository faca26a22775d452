// Pieces of string syntax that the scanner and the decoder share.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// What follows a backslash: the byte that it means, 'u' for itself, 0 = not allowed.
extern const char json_escapes[256];

// Value of a hexadecimal digit plus one; 0 for other bytes.
extern const uint8_t json_hex_digits[256];

static inline int json_hex_value(char c)
{
    return json_hex_digits[(unsigned char)c] - 1;
}

// Four hexadecimal digits at p, or -1.
static inline int32_t json_hex4(const char *p)
{
    int a = json_hex_value(p[0]);
    int b = json_hex_value(p[1]);
    int c = json_hex_value(p[2]);
    int d = json_hex_value(p[3]);
    return (a | b | c | d) < 0 ? -1 : a << 12 | b << 8 | c << 4 | d;
}

static inline bool json_is_high_surrogate(uint32_t code)
{
    return (code & 0xfc00) == 0xd800;
}

static inline bool json_is_low_surrogate(uint32_t code)
{
    return (code & 0xfc00) == 0xdc00;
}

static inline uint32_t json_join_surrogates(uint32_t high, uint32_t low)
{
    return 0x10000 + ((high & 0x3ff) << 10 | (low & 0x3ff));
}

// The UTF-8 form of a code point; returns its length.
size_t json_encode_utf8(uint32_t code, char out[4]);
