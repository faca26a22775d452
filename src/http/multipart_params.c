#include "http/multipart_params.h"

#include <errno.h>

#include "http/h1_scan.h"
#include "http/multipart.h"

// Length of a quoted string at the start of s, with both quotes; 0: malformed or ambiguous.
static size_t quoted_length(struct slice s)
{
    for (size_t i = 1; i < s.len; i++) {
        if (s.ptr[i] == '"') {
            return i + 1;
        }
        if (s.ptr[i] == '\\') {
            i++; // browsers do not escape backslashes, others do: the end is the same for both
            if (i < s.len && s.ptr[i] == '"') {
                return 0;
            }
        }
    }
    return 0;
}

// Cuts "; name=value" off the front of *rest. 1: there is one; 0: the end; -EINVAL: malformed, or
// ambiguous: a quoted value with an escaped quote (some readers know no escapes and end it there),
// or an extended parameter (name*=, RFC 5987). Values are without the quotes, escapes untouched.
static int take_param(struct slice *rest, struct slice *ret_name, struct slice *ret_value)
{
    struct slice at = slice_skip_blanks(*rest);
    if (at.len == 0) {
        return 0;
    }
    if (at.ptr[0] != ';') {
        return -EINVAL;
    }
    at = slice_skip_blanks(slice_skip(at, 1));
    size_t len = h1_token_length(at);
    struct slice name = slice_first(at, len);
    if (len == 0 || len == at.len || at.ptr[len] != '=' || slice_find_byte(name, '*') >= 0) {
        return -EINVAL;
    }
    at = slice_skip(at, len + 1);
    bool quoted = at.len > 0 && at.ptr[0] == '"';
    len = quoted ? quoted_length(at) : h1_token_length(at);
    if (len == 0) {
        return -EINVAL;
    }
    *ret_name = name;
    *ret_value = quoted ? slice_of(at.ptr + 1, len - 2) : slice_first(at, len);
    *rest = slice_skip(at, len);
    return 1;
}

// The word before the parameters; *ret_params is what follows it.
static struct slice first_word(struct slice value, struct slice *ret_params)
{
    ptrdiff_t semicolon = slice_find_byte(value, ';');
    *ret_params = semicolon >= 0 ? slice_skip(value, (size_t)semicolon) : SLICE("");
    return slice_trim(semicolon >= 0 ? slice_first(value, (size_t)semicolon) : value);
}

static bool is_boundary(struct slice text)
{
    struct slice marks = SLICE("'()+_,-./:=? ");
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        char lower = (char)(c | 0x20);
        bool alnum = (c >= '0' && c <= '9') || (lower >= 'a' && lower <= 'z');
        if (!alnum && slice_find_byte(marks, c) < 0) {
            return false;
        }
    }
    return text.len > 0 && text.len <= MULTIPART_BOUNDARY_MAX && text.ptr[text.len - 1] != ' ';
}

struct slice multipart_boundary(struct slice content_type)
{
    struct slice rest;
    struct slice boundary = SLICE_NULL;
    struct slice name;
    struct slice value;
    int rc = 0;
    if (!slice_ieq(first_word(content_type, &rest), SLICE("multipart/form-data"))) {
        return SLICE_NULL;
    }
    while ((rc = take_param(&rest, &name, &value)) > 0) {
        if (slice_ieq(name, SLICE("boundary"))) {
            if (boundary.ptr != NULL) {
                return SLICE_NULL;
            }
            boundary = value;
        }
    }
    return rc == 0 && is_boundary(boundary) ? boundary : SLICE_NULL;
}

struct slice multipart_name(struct slice disposition, bool *ret_is_file)
{
    struct slice rest;
    struct slice found = SLICE_NULL;
    struct slice name;
    struct slice value;
    bool is_file = false;
    int rc = 0;
    if (!slice_ieq(first_word(disposition, &rest), SLICE("form-data"))) {
        return SLICE_NULL;
    }
    while ((rc = take_param(&rest, &name, &value)) > 0) {
        if (slice_ieq(name, SLICE("name"))) {
            if (found.ptr != NULL || slice_find_byte(value, '\\') >= 0) {
                return SLICE_NULL;
            }
            found = value;
        }
        is_file |= slice_ieq(name, SLICE("filename"));
    }
    *ret_is_file = is_file;
    return rc == 0 ? found : SLICE_NULL;
}
