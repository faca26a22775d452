#include "ai/oip.h"

#include <errno.h>

#include "base/utf8.h"
#include "http/h1.h"
#include "http/h1_scan.h"

enum { SEGMENTS_MAX = 6 }; // v2 models M versions V infer

static const struct {
    struct slice name;
    enum oip_operation operation;
    bool streams;
} operations[] = {
    {{"", 0}, OIP_METADATA, false},      {{"infer", 5}, OIP_INFER, false},
    {{"ready", 5}, OIP_READY, false},    {{"generate", 8}, OIP_INFER, false},
    {{"config", 6}, OIP_METADATA, false}, {{"generate_stream", 15}, OIP_INFER, true},
    {{"stats", 5}, OIP_METADATA, false},
};

bool oip_name_is_sound(struct slice name)
{
    if (name.len == 0 || name.len > OIP_NAME_MAX || slice_eq(name, SLICE(".")) ||
        slice_eq(name, SLICE(".."))) {
        return false;
    }
    while (name.len > 0) {
        size_t len = utf8_char_len(name);
        unsigned char c = (unsigned char)name.ptr[0];
        if (len == 0 || c < 0x20 || c == 0x7f || c == '/' || c == '\\') {
            return false;
        }
        name = slice_skip(name, len);
    }
    return true;
}

static size_t split(struct slice rest, struct slice *segments)
{
    size_t count = 0;
    while (count < SEGMENTS_MAX && slice_split(&rest, '/', &segments[count])) {
        count++;
    }
    return rest.ptr == NULL ? count : 0; // more than the protocol has
}

static bool operation_of(struct slice name, struct oip_path *path)
{
    for (size_t i = 0; i < ARRAY_LEN(operations); i++) {
        if (slice_eq(name, operations[i].name)) {
            path->operation = operations[i].operation;
            path->streams = operations[i].streams;
            return true;
        }
    }
    return false;
}

static bool decode(struct slice segment, char *out, struct slice *ret_name)
{
    if (segment.len > 3 * OIP_NAME_MAX) {
        return false;
    }
    char long_name[3 * OIP_NAME_MAX];
    struct slice name = h1_path_decode(segment, long_name);
    if (!oip_name_is_sound(name)) {
        return false;
    }
    memcpy(out, name.ptr, name.len);
    *ret_name = slice_of(out, name.len);
    return true;
}

int oip_path_parse(struct slice path, char *buffer, struct oip_path *ret_path)
{
    struct oip_path parsed = {.operation = OIP_NONE};
    struct slice segments[SEGMENTS_MAX];
    struct slice mark = SLICE("/v2/models/");
    ptrdiff_t start = slice_find(path, mark);
    struct slice rest = start >= 0 ? slice_skip(path, (size_t)start + mark.len) : SLICE_NULL;
    size_t count = split(rest, segments);
    bool versioned = count >= 3 && slice_eq(segments[1], SLICE("versions"));
    size_t at = versioned ? 3 : 1;
    struct slice last = count > at ? segments[at] : SLICE("");
    if (count < 1 || count > at + 1 || (count == at + 1 && last.len == 0) ||
        !operation_of(last, &parsed)) {
        ret_path->operation = OIP_NONE;
        return 0;
    }
    if (!decode(segments[0], buffer, &parsed.model) ||
        (versioned && !decode(segments[2], buffer + OIP_NAME_MAX, &parsed.version))) {
        return -EINVAL;
    }
    parsed.model_start = (size_t)(segments[0].ptr - path.ptr);
    parsed.model_end = parsed.model_start + segments[0].len;
    *ret_path = parsed;
    return 0;
}

size_t oip_segment_encode(struct slice name, char *out)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t len = 0;
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.ptr[i];
        if ((h1_class_of(name.ptr[i]) & H1_UNRESERVED) != 0) {
            out[len++] = name.ptr[i];
        } else {
            out[len++] = '%';
            out[len++] = digits[c >> 4];
            out[len++] = digits[c & 15];
        }
    }
    return len;
}
