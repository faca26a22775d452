#include "json/yaml_scalar.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/slice.h"

static bool one_of(const char *text, const char *const *list)
{
    for (; *list != NULL; list++) {
        if (strcmp(text, *list) == 0) {
            return true;
        }
    }
    return false;
}

static bool all_digits_of(const char *s, int base)
{
    if (*s == '\0') {
        return false;
    }
    for (; *s != '\0'; s++) {
        int digit = *s >= '0' && *s <= '9'   ? *s - '0'
                    : *s >= 'a' && *s <= 'f' ? *s - 'a' + 10
                    : *s >= 'A' && *s <= 'F' ? *s - 'A' + 10
                                             : 99;
        if (digit >= base) {
            return false;
        }
    }
    return true;
}

// The integer forms of YAML 1.1 and Go: sign, 0x, 0o, 0b, a leading zero for octal.
static bool resolve_int(const char *s, struct yaml_scalar *ret)
{
    bool negative = *s == '-';
    if (*s == '-' || *s == '+') {
        s++;
    }
    int base = 10;
    if (s[0] == '0' && s[1] != '\0') {
        switch (s[1]) {
        case 'x':
        case 'X':
            base = 16;
            s += 2;
            break;
        case 'o':
        case 'O':
            base = 8;
            s += 2;
            break;
        case 'b':
        case 'B':
            base = 2;
            s += 2;
            break;
        default:
            base = 8;
            s += 1;
            break;
        }
    }
    if (!all_digits_of(s, base)) {
        return false;
    }
    errno = 0;
    unsigned long long value = strtoull(s, NULL, base);
    if (errno != 0) {
        return false;
    }
    if (negative) {
        if (value > (uint64_t)INT64_MAX + 1) {
            return false;
        }
        ret->kind = YAML_SCALAR_INT;
        ret->i64 = value > (uint64_t)INT64_MAX ? INT64_MIN : -(int64_t)value;
    } else if (value > (uint64_t)INT64_MAX) {
        ret->kind = YAML_SCALAR_UINT;
        ret->u64 = value;
    } else {
        ret->kind = YAML_SCALAR_INT;
        ret->i64 = (int64_t)value;
    }
    return true;
}

static size_t skip_digits(const char *s, size_t i)
{
    while (s[i] >= '0' && s[i] <= '9') {
        i++;
    }
    return i;
}

// [-+]?(.5|5|5.|5.5)([eE][-+]?5)?
static bool looks_like_float(const char *s)
{
    size_t i = s[0] == '-' || s[0] == '+' ? 1 : 0;
    size_t whole = skip_digits(s, i);
    bool digits = whole > i;
    i = whole;
    if (s[i] == '.') {
        size_t fraction = skip_digits(s, i + 1);
        digits = digits || fraction > i + 1;
        i = fraction;
    }
    if (!digits) {
        return false;
    }
    if (s[i] == 'e' || s[i] == 'E') {
        i++;
        if (s[i] == '-' || s[i] == '+') {
            i++;
        }
        size_t exponent = skip_digits(s, i);
        if (exponent == i) {
            return false;
        }
        i = exponent;
    }
    return s[i] == '\0';
}

static void resolve_number(const char *text, size_t len, struct yaml_scalar *ret)
{
    char plain[128]; // "_" between digits is decoration
    size_t n = 0;
    if (len >= sizeof(plain)) {
        return;
    }
    for (size_t i = 0; i < len; i++) {
        if (text[i] != '_') {
            plain[n++] = text[i];
        }
    }
    plain[n] = '\0';
    if (resolve_int(plain, ret)) {
        return;
    }
    double value = 0;
    if (looks_like_float(plain) && slice_to_double(slice_of(plain, n), &value) == 0 &&
        isfinite(value)) {
        ret->kind = YAML_SCALAR_FLOAT;
        ret->f64 = value;
    }
}

struct yaml_scalar yaml_scalar_resolve(const char *text, size_t len)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const trues[] = {"true", "True", "TRUE", "yes", "Yes", "YES",
                                        "on",   "On",   "ON",   "y",   "Y",   NULL};
    static const char *const falses[] = {"false", "False", "FALSE", "no", "No", "NO",
                                         "off",   "Off",   "OFF",   "n",  "N",  NULL};
    struct yaml_scalar s = {.kind = YAML_SCALAR_TEXT};
    if (strlen(text) != len) {
        return s; // a NUL inside
    }
    if (one_of(text, nulls)) {
        s.kind = YAML_SCALAR_NULL;
    } else if (one_of(text, trues)) {
        s.kind = YAML_SCALAR_BOOL;
        s.boolean = true;
    } else if (one_of(text, falses)) {
        s.kind = YAML_SCALAR_BOOL;
    } else if (strchr("+-.0123456789", text[0]) != NULL) {
        resolve_number(text, len, &s);
    }
    return s;
}

bool yaml_scalar_is_not_finite(const char *text)
{
    static const char *const words[] = {".nan",  ".NaN",  ".NAN",  ".inf",  ".Inf",  ".INF",
                                        "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF",
                                        NULL};
    return one_of(text, words);
}
