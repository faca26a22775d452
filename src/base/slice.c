#include "base/slice.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

static unsigned char ascii_lower(unsigned char c)
{
    return (unsigned char)(c - 'A') < 26 ? (unsigned char)(c | 0x20) : c;
}

bool slice_ieq(struct slice a, struct slice b)
{
    if (a.len != b.len) {
        return false;
    }
    for (size_t i = 0; i < a.len; i++) {
        if (ascii_lower((unsigned char)a.ptr[i]) != ascii_lower((unsigned char)b.ptr[i])) {
            return false;
        }
    }
    return true;
}

int slice_cmp(struct slice a, struct slice b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n != 0 ? memcmp(a.ptr, b.ptr, n) : 0;
    if (order != 0) {
        return order;
    }
    return (a.len > b.len) - (a.len < b.len);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct slice slice_trim(struct slice s)
{
    while (s.len > 0 && is_blank(s.ptr[0])) {
        s.ptr++;
        s.len--;
    }
    while (s.len > 0 && is_blank(s.ptr[s.len - 1])) {
        s.len--;
    }
    return s;
}

ptrdiff_t slice_find_byte(struct slice s, char c)
{
    const char *at = s.len != 0 ? memchr(s.ptr, c, s.len) : NULL;
    return at != NULL ? at - s.ptr : -1;
}

ptrdiff_t slice_find(struct slice s, struct slice needle)
{
    if (needle.len == 0) {
        return 0;
    }
    const char *at = s.len != 0 ? memmem(s.ptr, s.len, needle.ptr, needle.len) : NULL;
    return at != NULL ? at - s.ptr : -1;
}

bool slice_split(struct slice *rest, char sep, struct slice *ret_part)
{
    if (rest->ptr == NULL) {
        return false;
    }
    ptrdiff_t at = slice_find_byte(*rest, sep);
    if (at < 0) {
        *ret_part = *rest;
        *rest = SLICE_NULL;
        return true;
    }
    *ret_part = slice_first(*rest, (size_t)at);
    *rest = slice_skip(*rest, (size_t)at + 1);
    return true;
}

int slice_to_u64(struct slice s, uint64_t *ret_value)
{
    if (s.len == 0) {
        return -EINVAL;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < s.len; i++) {
        unsigned digit = (unsigned)((unsigned char)s.ptr[i] - '0');
        if (digit > 9) {
            return -EINVAL;
        }
        if (__builtin_mul_overflow(value, UINT64_C(10), &value) ||
            __builtin_add_overflow(value, (uint64_t)digit, &value)) {
            return -ERANGE;
        }
    }
    *ret_value = value;
    return 0;
}

size_t slice_print_u64(uint64_t value, char *out)
{
    char digits[SLICE_U64_MAX];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    memcpy(out, digits + at, sizeof(digits) - at);
    return sizeof(digits) - at;
}

static bool parse_special(struct slice s, double *value)
{
    bool negative = s.len > 0 && s.ptr[0] == '-';
    if (s.len > 0 && (s.ptr[0] == '-' || s.ptr[0] == '+')) {
        s = slice_skip(s, 1);
    }
    if (slice_ieq(s, SLICE("nan"))) {
        *value = NAN;
        return true;
    }
    if (slice_ieq(s, SLICE("inf")) || slice_ieq(s, SLICE("infinity"))) {
        *value = negative ? -INFINITY : INFINITY;
        return true;
    }
    return false;
}

// Checks sign digits [. digits] [e sign digits] by hand, so that strtod sees nothing exotic.
static bool is_number(struct slice s)
{
    size_t i = 0;
    size_t digits = 0;
    if (i < s.len && (s.ptr[i] == '-' || s.ptr[i] == '+')) {
        i++;
    }
    for (; i < s.len && s.ptr[i] >= '0' && s.ptr[i] <= '9'; i++) {
        digits++;
    }
    if (i < s.len && s.ptr[i] == '.') {
        for (i++; i < s.len && s.ptr[i] >= '0' && s.ptr[i] <= '9'; i++) {
            digits++;
        }
    }
    if (digits == 0) {
        return false;
    }
    if (i < s.len && (s.ptr[i] == 'e' || s.ptr[i] == 'E')) {
        i++;
        if (i < s.len && (s.ptr[i] == '-' || s.ptr[i] == '+')) {
            i++;
        }
        size_t start = i;
        while (i < s.len && s.ptr[i] >= '0' && s.ptr[i] <= '9') {
            i++;
        }
        if (i == start) {
            return false;
        }
    }
    return i == s.len;
}

int slice_to_double(struct slice s, double *ret_value)
{
    char text[64];
    double value;
    if (parse_special(s, &value)) {
        *ret_value = value;
        return 0;
    }
    if (s.len >= sizeof(text) || !is_number(s)) {
        return -EINVAL;
    }
    memcpy(text, s.ptr, s.len);
    text[s.len] = '\0';
    // The programs never call setlocale, so the decimal point is '.'.
    *ret_value = strtod(text, NULL);
    return 0;
}

char *slice_dup(struct slice s)
{
    char *copy = malloc(s.len + 1);
    if (copy == NULL) {
        return NULL;
    }
    if (s.len != 0) {
        memcpy(copy, s.ptr, s.len);
    }
    copy[s.len] = '\0';
    return copy;
}
