#include "ai/oip_grpc.h"

#include <errno.h>

enum state {
    FLAG = 0,
    LENGTH,
    TAG,
    VARINT,
    FIXED, // bytes of no interest
    SIZE,
    TEXT,
};

// Wire types of protobuf. Groups (3, 4) died with proto2: whoever sends one is up to something.
enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

enum target { TARGET_NONE = 0, TARGET_MODEL = 1, TARGET_VERSION = 2, TARGET_ID = 3 };

enum { TAG_BYTES_MAX = 5, VARINT_BYTES_MAX = 10, BITS = 7, PREFIX = 5 };

static const struct {
    struct slice name;
    enum oip_method method;
} methods[] = {
    {{"ModelInfer", 10}, OIP_METHOD_INFER},
    {{"ModelStreamInfer", 16}, OIP_METHOD_STREAM_INFER},
    {{"ModelReady", 10}, OIP_METHOD_READY},
    {{"ModelMetadata", 13}, OIP_METHOD_METADATA},
    {{"ModelConfig", 11}, OIP_METHOD_METADATA},
    {{"ModelStatistics", 15}, OIP_METHOD_METADATA},
};

enum oip_method oip_method_of(struct slice path)
{
    struct slice service = SLICE("/inference.GRPCInferenceService/");
    if (!slice_has_prefix(path, service)) {
        return OIP_METHOD_NONE;
    }
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        if (slice_eq(slice_skip(path, service.len), methods[i].name)) {
            return methods[i].method;
        }
    }
    return OIP_METHOD_NONE;
}

const char *oip_error_text(enum oip_error error)
{
    static const char *const texts[OIP_ERROR_COUNT] = {
#define X(name, text) text,
        OIP_ERROR_TABLE(X)
#undef X
    };
    BUG_ON((unsigned)error >= OIP_ERROR_COUNT);
    return texts[error];
}

void oip_scan_init(struct oip_scan *scan, enum oip_method method)
{
    *scan = (struct oip_scan){
        .streaming = method == OIP_METHOD_STREAM_INFER,
        // The requests about a model end with its version.
        .has_id = method == OIP_METHOD_INFER || method == OIP_METHOD_STREAM_INFER,
    };
}

// ---- one message ------------------------------------------------------------------------------

static enum oip_error end_message(struct oip_scan *scan)
{
    scan->state = FLAG;
    if ((scan->seen & 1U << TARGET_MODEL) == 0) {
        return OIP_ERROR_MISSING;
    }
    return scan->messages > 1 && scan->later_len != scan->model.len ? OIP_ERROR_OTHER_MODEL
                                                                    : OIP_ERROR_NONE;
}

static enum oip_error next_field(struct oip_scan *scan)
{
    scan->state = TAG;
    scan->varint = 0;
    scan->shift = 0;
    return scan->message_left == 0 ? end_message(scan) : OIP_ERROR_NONE;
}

static enum oip_error step_flag(struct oip_scan *scan, unsigned char c)
{
    if (c > 1) {
        return OIP_ERROR_FLAG;
    }
    if (c == 1) {
        return OIP_ERROR_COMPRESSED;
    }
    if (scan->messages > 0 && !scan->streaming) {
        return OIP_ERROR_EXTRA;
    }
    scan->state = LENGTH;
    scan->message_left = 0;
    scan->shift = 0;
    scan->seen = 0;
    scan->later_len = 0;
    return OIP_ERROR_NONE;
}

static enum oip_error step_length(struct oip_scan *scan, unsigned char c)
{
    scan->message_left = scan->message_left << 8 | c;
    if (++scan->shift < 4) {
        return OIP_ERROR_NONE;
    }
    if (scan->messages++ == 0) {
        scan->message_len = (uint32_t)scan->message_left;
    }
    return next_field(scan);
}

// 1: the varint is whole; 0: more; -1: too long.
static int step_varint(struct oip_scan *scan, unsigned char c, unsigned max_bytes)
{
    unsigned bytes = scan->shift / BITS + 1U;
    if (bytes > max_bytes || (bytes == VARINT_BYTES_MAX && c > 1)) {
        return -1;
    }
    scan->varint |= (uint64_t)(c & 0x7f) << scan->shift;
    scan->shift = (uint8_t)(scan->shift + BITS);
    return (c & 0x80) == 0;
}

static enum oip_error begin_field(struct oip_scan *scan)
{
    uint64_t number = scan->varint >> 3;
    scan->wire = (uint8_t)(scan->varint & 7);
    if (number == 0 || scan->varint > UINT32_MAX) {
        return OIP_ERROR_SYNTAX;
    }
    scan->target = number <= (scan->has_id ? TARGET_ID : TARGET_VERSION) ? (uint8_t)number : 0;
    if (scan->target != TARGET_NONE) {
        if (scan->wire != WIRE_BYTES) {
            return OIP_ERROR_SYNTAX;
        }
        if ((scan->seen & 1U << scan->target) != 0) {
            return OIP_ERROR_TWICE;
        }
        scan->seen = (uint8_t)(scan->seen | 1U << scan->target);
    }
    scan->varint = 0;
    scan->shift = 0;
    switch (scan->wire) {
    case WIRE_VARINT:
        scan->state = VARINT;
        return OIP_ERROR_NONE;
    case WIRE_BYTES:
        scan->state = SIZE;
        return OIP_ERROR_NONE;
    case WIRE_64:
    case WIRE_32:
        scan->state = FIXED;
        scan->field_left = scan->wire == WIRE_64 ? 8 : 4;
        return scan->field_left <= scan->message_left ? OIP_ERROR_NONE : OIP_ERROR_SYNTAX;
    default:
        return OIP_ERROR_SYNTAX;
    }
}

static struct oip_field *field_of(struct oip_scan *scan)
{
    return scan->target == TARGET_MODEL     ? &scan->model
           : scan->target == TARGET_VERSION ? &scan->version
                                            : &scan->id;
}

static char *text_of(struct oip_scan *scan)
{
    return scan->target == TARGET_MODEL     ? scan->model_text
           : scan->target == TARGET_VERSION ? scan->version_text
                                            : scan->id_text;
}

static enum oip_error end_text(struct oip_scan *scan)
{
    if (scan->messages == 1 && scan->target != TARGET_NONE) {
        struct oip_field *field = field_of(scan);
        if (scan->target != TARGET_ID &&
            !oip_name_is_sound(slice_of(text_of(scan), field->len))) {
            return OIP_ERROR_NAME;
        }
        field->found = true;
    }
    return next_field(scan);
}

// The length of a string or of bytes is known.
static enum oip_error begin_text(struct oip_scan *scan)
{
    uint64_t len = scan->varint;
    if (len > scan->message_left) {
        return OIP_ERROR_SYNTAX;
    }
    if (scan->target == TARGET_ID && len > OIP_ID_MAX) {
        scan->target = TARGET_NONE;
    }
    // An empty version is what proto3 calls none; not every writer leaves it out.
    if (scan->target == TARGET_VERSION && len == 0) {
        return next_field(scan);
    }
    if ((scan->target == TARGET_MODEL && len > OIP_NAME_MAX) ||
        (scan->target == TARGET_VERSION && len > OIP_VERSION_MAX)) {
        return OIP_ERROR_NAME;
    }
    scan->state = scan->target == TARGET_NONE ? FIXED : TEXT;
    scan->field_left = len;
    if (scan->target != TARGET_NONE && scan->messages == 1) {
        struct oip_field *field = field_of(scan);
        field->len = (uint16_t)len;
        field->start = scan->offset + 1;
    }
    if (scan->target == TARGET_MODEL) {
        scan->later_len = (uint16_t)len;
    }
    return len == 0 ? end_text(scan) : OIP_ERROR_NONE;
}

static enum oip_error step_text(struct oip_scan *scan, char c)
{
    if (scan->messages == 1) {
        text_of(scan)[field_of(scan)->len - scan->field_left] = c;
    } else if (scan->target == TARGET_MODEL) {
        size_t at = scan->later_len - scan->field_left;
        if (at >= scan->model.len || scan->model_text[at] != c) {
            return OIP_ERROR_OTHER_MODEL;
        }
    }
    return --scan->field_left == 0 ? end_text(scan) : OIP_ERROR_NONE;
}

static enum oip_error step(struct oip_scan *scan, char byte)
{
    unsigned char c = (unsigned char)byte;
    int whole = 0;
    if (scan->state > LENGTH) {
        scan->message_left--;
    }
    switch ((enum state)scan->state) {
    case FLAG:
        return step_flag(scan, c);
    case LENGTH:
        return step_length(scan, c);
    case TAG:
        whole = step_varint(scan, c, TAG_BYTES_MAX);
        break;
    case SIZE:
        if (scan->shift == 0 && scan->messages == 1 && scan->target != TARGET_NONE) {
            field_of(scan)->length_at = scan->offset;
        }
        whole = step_varint(scan, c, VARINT_BYTES_MAX);
        break;
    case VARINT:
        whole = step_varint(scan, c, VARINT_BYTES_MAX);
        break;
    case TEXT:
        return step_text(scan, byte);
    case FIXED:
        return --scan->field_left == 0 ? next_field(scan) : OIP_ERROR_NONE;
    }
    if (whole < 0) {
        return OIP_ERROR_SYNTAX;
    }
    if (whole > 0) {
        return scan->state == TAG    ? begin_field(scan)
               : scan->state == SIZE ? begin_text(scan)
                                     : next_field(scan);
    }
    return OIP_ERROR_NONE;
}

// ---- the stream -------------------------------------------------------------------------------

// What of the piece is skipped in one go: the inside of values that are not looked at.
static size_t skip(struct oip_scan *scan, size_t len)
{
    if (scan->state != FIXED || scan->field_left <= 1) {
        return 0;
    }
    uint64_t skipped = MIN_OF(scan->field_left - 1, (uint64_t)len); // the last byte is a step
    scan->field_left -= skipped;
    scan->message_left -= skipped;
    scan->offset += skipped;
    return (size_t)skipped;
}

enum oip_error oip_scan_feed(struct oip_scan *scan, struct slice piece)
{
    size_t at = 0;
    while (scan->error == OIP_ERROR_NONE && at < piece.len) {
        at += skip(scan, piece.len - at);
        if (at == piece.len) {
            break;
        }
        bool inside = scan->state > LENGTH;
        scan->error = step(scan, piece.ptr[at]);
        // A message that ends between a tag and its value.
        if (scan->error == OIP_ERROR_NONE && inside && scan->message_left == 0 &&
            scan->state > LENGTH) {
            scan->error = OIP_ERROR_SYNTAX;
        }
        scan->offset++;
        at++;
    }
    return scan->error;
}

enum oip_error oip_scan_finish(struct oip_scan *scan)
{
    if (scan->error == OIP_ERROR_NONE) {
        scan->error = scan->state != FLAG    ? OIP_ERROR_CUT
                      : scan->messages == 0 ? OIP_ERROR_MISSING
                                            : OIP_ERROR_NONE;
    }
    return scan->error;
}

bool oip_scan_has_model(const struct oip_scan *scan)
{
    return scan->model.found && scan->error == OIP_ERROR_NONE;
}

struct slice oip_scan_model(const struct oip_scan *scan)
{
    return slice_of(scan->model_text, scan->model.found ? scan->model.len : 0);
}

struct slice oip_scan_version(const struct oip_scan *scan)
{
    return scan->version.found ? slice_of(scan->version_text, scan->version.len) : SLICE_NULL;
}

struct slice oip_scan_id(const struct oip_scan *scan)
{
    return scan->id.found ? slice_of(scan->id_text, scan->id.len) : SLICE_NULL;
}

int oip_splice_make(const struct oip_scan *scan, struct slice name, struct oip_splice *ret_splice)
{
    if (scan->streaming) {
        return -EINVAL;
    }
    if (!oip_scan_has_model(scan)) {
        return -ENOENT;
    }
    BUG_ON(name.len == 0 || name.len > OIP_NAME_MAX);
    struct oip_splice splice = {.cut_start = scan->model.length_at,
                                .cut_end = scan->model.start + scan->model.len,
                                .length_len = name.len < 0x80 ? 1 : 2};
    uint64_t old_size = splice.cut_end - splice.cut_start;
    uint64_t message = scan->message_len - old_size + splice.length_len + name.len;
    if (message > UINT32_MAX) {
        return -E2BIG;
    }
    splice.delta = (int64_t)(message - scan->message_len);
    splice.prefix[0] = 0;
    for (size_t i = 1; i < PREFIX; i++) {
        splice.prefix[i] = (char)(message >> 8 * (PREFIX - 1 - i) & 0xff);
    }
    splice.length[0] = (char)((name.len & 0x7f) | (splice.length_len > 1 ? 0x80 : 0));
    splice.length[1] = (char)(name.len >> BITS);
    *ret_splice = splice;
    return 0;
}
