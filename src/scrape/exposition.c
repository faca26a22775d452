#include "scrape/exposition.h"

#include <errno.h>
#include <string.h>

// ---- the filter ----

// Length and the last eight bytes tell metric names apart: their beginnings are the same.
static size_t slot_of(uint64_t seed, struct slice name)
{
    uint64_t tail = 0;
    if (name.len >= sizeof(tail)) {
        memcpy(&tail, name.ptr + name.len - sizeof(tail), sizeof(tail));
    } else {
        memcpy(&tail, name.ptr, name.len);
    }
    uint64_t head = (uint64_t)(unsigned char)name.ptr[0] << 8 ^
                    (uint64_t)(unsigned char)name.ptr[name.len / 2] << 16 ^ name.len;
    uint64_t hash = (tail ^ head * UINT64_C(0xd6e8feb86659fd93)) * (seed | 1);
    return (size_t)(hash >> 54);
}
_Static_assert(EXPOSITION_SLOTS == 1 << 10, "slot_of gives ten bits");

static bool slots_fill(struct exposition_names *names)
{
    memset(names->slots, 0, sizeof(names->slots));
    for (size_t i = 0; i < names->count; i++) {
        uint8_t *slot = &names->slots[slot_of(names->seed, names->names[i])];
        if (*slot != 0) {
            return false;
        }
        *slot = (uint8_t)(i + 1);
    }
    return true;
}

int exposition_names_init(struct exposition_names *names, const struct slice *wanted, size_t count)
{
    enum { SEEDS_MAX = 100000 };
    if (count > EXPOSITION_NAMES_MAX) {
        return -ENOSPC;
    }
    memset(names, 0, sizeof(*names));
    names->count = count;
    for (size_t i = 0; i < count; i++) {
        if (wanted[i].len == 0 || wanted[i].len > EXPOSITION_NAME_LEN_MAX) {
            return -EINVAL;
        }
        for (size_t k = 0; k < i; k++) {
            if (slice_eq(wanted[i], wanted[k])) {
                return -EINVAL;
            }
        }
        names->names[i] = wanted[i];
        names->lengths[wanted[i].len / 64] |= UINT64_C(1) << (wanted[i].len % 64);
    }
    names->seed = UINT64_C(0x9e3779b97f4a7c15);
    for (size_t i = 0; i < SEEDS_MAX; i++) {
        if (slots_fill(names)) {
            return 0;
        }
        names->seed = names->seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    }
    return -EINVAL; // two that differ nowhere where we look
}

int exposition_names_find(const struct exposition_names *names, struct slice name)
{
    if (name.len == 0 || name.len > EXPOSITION_NAME_LEN_MAX ||
        (names->lengths[name.len / 64] >> (name.len % 64) & 1) == 0) {
        return -1;
    }
    uint8_t slot = names->slots[slot_of(names->seed, name)];
    return slot != 0 && slice_eq(names->names[slot - 1], name) ? slot - 1 : -1;
}

// ---- labels ----

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

// A name or a value ends here.
static bool ends_token(char c)
{
    return c == '{' || c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

// Length of a quoted text without its quotes, escapes as they are; -1 when it does not end.
// `s` begins after the opening quote.
static ptrdiff_t quoted_len(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '"') {
            return (ptrdiff_t)i;
        }
        i += s.ptr[i] == '\\';
    }
    return -1;
}

bool exposition_label_next(struct slice *labels, struct slice *ret_name, struct slice *ret_value)
{
    struct slice s = slice_skip_blanks(*labels);
    ptrdiff_t equals = slice_find_byte(s, '=');
    if (equals <= 0) {
        return false;
    }
    struct slice name = slice_trim(slice_first(s, (size_t)equals));
    s = slice_skip_blanks(slice_skip(s, (size_t)equals + 1));
    if (s.len == 0 || s.ptr[0] != '"') {
        return false;
    }
    s = slice_skip(s, 1);
    ptrdiff_t len = quoted_len(s);
    if (len < 0) {
        return false;
    }
    *ret_name = name;
    *ret_value = slice_first(s, (size_t)len);
    s = slice_skip_blanks(slice_skip(s, (size_t)len + 1));
    if (s.len > 0 && s.ptr[0] == ',') {
        s = slice_skip(s, 1);
    }
    *labels = s;
    return true;
}

static void unescape(struct slice text, char *buf, size_t size)
{
    size_t at = 0;
    for (size_t i = 0; i < text.len && at + 1 < size; i++) {
        char c = text.ptr[i];
        if (c == '\\' && i + 1 < text.len) {
            c = text.ptr[++i];
            c = c == 'n' ? '\n' : c;
        }
        buf[at++] = c;
    }
    buf[at] = '\0';
}

bool exposition_label(struct slice labels, struct slice name, char *buf, size_t size)
{
    struct slice key, value;
    while (exposition_label_next(&labels, &key, &value)) {
        if (slice_eq(key, name)) {
            unescape(value, buf, size);
            return true;
        }
    }
    buf[0] = '\0';
    return false;
}

// ---- lines ----

// Index of the closing brace of a label list that begins at 0, or -1.
static ptrdiff_t labels_end(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '}') {
            return (ptrdiff_t)i;
        }
        if (s.ptr[i] == '"') {
            ptrdiff_t len = quoted_len(slice_skip(s, i + 1));
            if (len < 0) {
                return -1;
            }
            i += (size_t)len + 1;
        }
    }
    return -1;
}

// What follows the name in a wanted line: labels, a value, and perhaps a timestamp and an exemplar,
// which are ignored.
static bool sample_parse(struct slice rest, struct slice *ret_labels, double *ret_value)
{
    struct slice labels = SLICE("");
    rest = slice_skip_blanks(rest);
    if (rest.len > 0 && rest.ptr[0] == '{') {
        rest = slice_skip(rest, 1);
        ptrdiff_t end = labels_end(rest);
        if (end < 0) {
            return false;
        }
        labels = slice_first(rest, (size_t)end);
        rest = slice_skip_blanks(slice_skip(rest, (size_t)end + 1));
    }
    size_t len = 0;
    while (len < rest.len && !ends_token(rest.ptr[len])) {
        len++;
    }
    *ret_labels = labels;
    return slice_to_double(slice_first(rest, len), ret_value) == 0;
}

static void sample_take(struct exposition *exposition, size_t name, struct slice rest)
{
    struct slice labels;
    double value;
    if (sample_parse(rest, &labels, &value)) {
        exposition->samples++;
        exposition->fn(exposition->arg, name, labels, value);
    } else {
        exposition->malformed++;
    }
}

// Looks at the beginning of a line. The index of its name when it is wanted, -1 when not, -2 when
// there is not enough of it to say. *ret_len: bytes of blanks and name.
static int line_name(const struct exposition *exposition, struct slice line, size_t *ret_len)
{
    struct slice s = line;
    if (UNLIKELY(s.len > 0 && is_blank(s.ptr[0]))) {
        s = slice_skip_blanks(s);
    }
    if (s.len > 0 && s.ptr[0] == '#') {
        return -1; // comments, and OpenMetrics' # EOF
    }
    size_t len = 0;
    while (len < s.len && !ends_token(s.ptr[len])) {
        len++;
    }
    if (len == s.len) {
        return len > EXPOSITION_NAME_LEN_MAX ? -1 : -2;
    }
    *ret_len = (size_t)(s.ptr - line.ptr) + len;
    return exposition_names_find(exposition->names, slice_first(s, len));
}

// Keeps a piece of a line for later; a line that grows too long is given up.
static void carry_add(struct exposition *exposition, struct slice piece)
{
    if (piece.len > sizeof(exposition->carry) - exposition->carry_len) {
        exposition->malformed++;
        exposition->carry_len = 0;
        exposition->skipping = true;
        return;
    }
    memcpy(exposition->carry + exposition->carry_len, piece.ptr, piece.len);
    exposition->carry_len += piece.len;
}

static void carry_take(struct exposition *exposition)
{
    struct slice line = slice_of(exposition->carry, exposition->carry_len);
    size_t len = 0;
    int name = line_name(exposition, line, &len);
    if (name >= 0) {
        sample_take(exposition, (size_t)name, slice_skip(line, len));
    }
    exposition->carry_len = 0;
}

// Whole lines of a piece, and the beginning of the one that it cuts.
static void feed_lines(struct exposition *exposition, struct slice bytes)
{
    // Most lines are buckets of a histogram and begin like the one before.
    struct slice unwanted = SLICE_NULL;
    while (bytes.len > 0) {
        size_t len = 0;
        int name = -1;
        if (unwanted.len > 0 && bytes.len > unwanted.len && ends_token(bytes.ptr[unwanted.len]) &&
            memcmp(bytes.ptr, unwanted.ptr, unwanted.len) == 0) {
            len = unwanted.len;
        } else {
            name = line_name(exposition, bytes, &len);
            unwanted = name == -1 && !is_blank(bytes.ptr[0]) ? slice_first(bytes, len) : SLICE_NULL;
        }
        const char *end = name == -2 ? NULL : memchr(bytes.ptr + len, '\n', bytes.len - len);
        if (end == NULL) {
            if (name == -1) {
                exposition->skipping = true;
            } else {
                carry_add(exposition, bytes);
            }
            return;
        }
        size_t line_len = (size_t)(end - bytes.ptr);
        exposition->lines++;
        if (name >= 0 && line_len >= EXPOSITION_LINE_MAX) {
            exposition->malformed++; // as when it had come in pieces
        } else if (name >= 0) {
            sample_take(exposition, (size_t)name, slice_of(bytes.ptr + len, line_len - len));
        }
        bytes = slice_skip(bytes, line_len + 1);
    }
}

void exposition_init(struct exposition *exposition, const struct exposition_names *names,
                     exposition_sample_fn *fn, void *arg)
{
    exposition->names = names;
    exposition->fn = fn;
    exposition->arg = arg;
    exposition->lines = 0;
    exposition->samples = 0;
    exposition->malformed = 0;
    exposition->skipping = false;
    exposition->carry_len = 0;
}

void exposition_feed(struct exposition *exposition, struct slice bytes)
{
    if (bytes.len == 0) {
        return;
    }
    if (exposition->skipping || exposition->carry_len > 0) {
        const char *end = memchr(bytes.ptr, '\n', bytes.len);
        struct slice piece = end == NULL ? bytes
                                         : slice_of(bytes.ptr, (size_t)(end - bytes.ptr) + 1);
        if (!exposition->skipping) {
            carry_add(exposition, piece);
        }
        if (end == NULL) {
            size_t len;
            struct slice so_far = slice_of(exposition->carry, exposition->carry_len);
            if (exposition->carry_len > 0 && line_name(exposition, so_far, &len) == -1) {
                exposition->carry_len = 0;
                exposition->skipping = true;
            }
            return;
        }
        exposition->lines++;
        if (exposition->carry_len > 0) {
            carry_take(exposition);
        }
        exposition->skipping = false;
        bytes = slice_skip(bytes, piece.len);
    }
    feed_lines(exposition, bytes);
}

void exposition_finish(struct exposition *exposition)
{
    if (exposition->carry_len > 0) {
        exposition_feed(exposition, SLICE("\n"));
    }
}
