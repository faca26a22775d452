// A view of bytes that somebody else owns. Never NUL-terminated by contract.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/macros.h"

struct slice {
    const char *ptr;
    size_t len;
};

#define SLICE(literal) ((struct slice){.ptr = ("" literal), .len = sizeof(literal) - 1})
#define SLICE_NULL ((struct slice){.ptr = NULL, .len = 0})
// For printf: "%.*s", SLICE_FMT(s)
#define SLICE_FMT(s) ((int)(s).len), ((s).ptr != NULL ? (s).ptr : "")

static inline struct slice slice_of(const char *ptr, size_t len)
{
    return (struct slice){.ptr = ptr, .len = len};
}

// NULL gives an empty slice.
static inline struct slice slice_of_str(const char *s)
{
    return (struct slice){.ptr = s, .len = s != NULL ? strlen(s) : 0};
}

static inline bool slice_eq(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool slice_eq_str(struct slice a, const char *s)
{
    return slice_eq(a, slice_of_str(s));
}

static inline bool slice_has_prefix(struct slice s, struct slice prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

static inline bool slice_has_suffix(struct slice s, struct slice suffix)
{
    return s.len >= suffix.len &&
           (suffix.len == 0 || memcmp(s.ptr + s.len - suffix.len, suffix.ptr, suffix.len) == 0);
}

// The rest after `n` bytes (n is cut to the length).
static inline struct slice slice_skip(struct slice s, size_t n)
{
    n = n < s.len ? n : s.len;
    return (struct slice){.ptr = s.ptr + n, .len = s.len - n};
}

static inline struct slice slice_first(struct slice s, size_t n)
{
    return (struct slice){.ptr = s.ptr, .len = n < s.len ? n : s.len};
}

// ASCII case-insensitive equality.
bool slice_ieq(struct slice a, struct slice b);

// memcmp order, shorter first when one is a prefix of the other.
int slice_cmp(struct slice a, struct slice b);

// Without ASCII space and tab (and CR, LF) at both ends.
struct slice slice_trim(struct slice s);

// Without the spaces and tabs at its start.
static inline struct slice slice_skip_blanks(struct slice s)
{
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t')) {
        s = slice_skip(s, 1);
    }
    return s;
}

// Index of the byte, or -1.
ptrdiff_t slice_find_byte(struct slice s, char c);

// Index of the first occurrence of `needle`, or -1; an empty needle is found at 0.
ptrdiff_t slice_find(struct slice s, struct slice needle);

// Cuts the part before the first `sep` off the front of *rest into *ret_part. False when *rest was
// exhausted (ptr NULL); the last part has no separator after it.
bool slice_split(struct slice *rest, char sep, struct slice *ret_part);

// Plain decimal digits only: no sign, no space. 0, -EINVAL (empty, other bytes), -ERANGE
// (overflow).
MUST_CHECK int slice_to_u64(struct slice s, uint64_t *ret_value);

enum { SLICE_U64_MAX = 20 }; // digits of UINT64_MAX

// Writes the number's digits, without a NUL; out has room for SLICE_U64_MAX. Returns how many. For
// where printf costs too much: the access log, a simulator's answers.
size_t slice_print_u64(uint64_t value, char *out);

// A decimal number as Prometheus and JSON write it: sign, fraction, exponent, NaN, Inf, +Inf, -Inf.
// 0 or -EINVAL. Independent of the locale.
MUST_CHECK int slice_to_double(struct slice s, double *ret_value);

// A NUL-terminated heap copy; NULL when out of memory.
char *slice_dup(struct slice s);
