// What a plain YAML scalar means, as kubectl resolves it: YAML 1.1 with Go's integers.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum yaml_scalar_kind {
    YAML_SCALAR_TEXT,
    YAML_SCALAR_NULL,
    YAML_SCALAR_BOOL,
    YAML_SCALAR_INT,
    YAML_SCALAR_UINT, // beyond INT64_MAX
    YAML_SCALAR_FLOAT,
};

struct yaml_scalar {
    enum yaml_scalar_kind kind;
    bool boolean;
    int64_t i64;
    uint64_t u64;
    double f64;
};

// text is NUL-terminated after len bytes (and may have NULs inside: then it is text).
struct yaml_scalar yaml_scalar_resolve(const char *text, size_t len);

// ".nan", "-.inf" and their like: numbers to YAML, which JSON cannot hold.
bool yaml_scalar_is_not_finite(const char *text);
