#include "http/multipart.h"

#include "base/utf8.h"
#include "http/h1_scan.h"
#include "http/multipart_params.h"

enum state {
    START = 0,       // the first boundary, after CR LF at most
    AFTER_DELIMITER, // CR LF: a part; "--": the end
    HEADER,
    DATA,
    END, // CR LF at most
};

enum part { PART_OTHER = 0, PART_MODEL, PART_STREAM };

const char *multipart_error_text(enum multipart_error error)
{
    static const char *const texts[MULTIPART_ERROR_COUNT] = {
#define X(name, text) text,
        MULTIPART_ERROR_TABLE(X)
#undef X
    };
    BUG_ON((unsigned)error >= MULTIPART_ERROR_COUNT);
    return texts[error];
}

enum multipart_error multipart_init(struct multipart_scan *scan, struct slice content_type)
{
    struct slice boundary = multipart_boundary(content_type);
    memset(scan, 0, offsetof(struct multipart_scan, delimiter));
    if (boundary.ptr == NULL) {
        scan->error = MULTIPART_BOUNDARY;
        return scan->error;
    }
    memcpy(scan->delimiter, "--", 2);
    memcpy(scan->delimiter + 2, boundary.ptr, boundary.len);
    scan->delimiter_len = (uint16_t)(boundary.len + 2);
    return MULTIPART_NONE;
}

static struct multipart_field *field_of(struct multipart_scan *scan)
{
    return scan->part == PART_MODEL ? &scan->model : &scan->stream;
}

// ---- the header of a part ---------------------------------------------------------------------

static enum multipart_error read_disposition(struct multipart_scan *scan, struct slice value)
{
    bool is_file = false;
    struct slice name = multipart_name(value, &is_file);
    if (name.ptr == NULL || scan->has_disposition) {
        return MULTIPART_DISPOSITION;
    }
    scan->has_disposition = true;
    scan->part = slice_eq(name, SLICE("model"))    ? PART_MODEL
                 : slice_eq(name, SLICE("stream")) ? PART_STREAM
                                                   : PART_OTHER;
    scan->is_encoded |= is_file;
    return MULTIPART_NONE;
}

static bool is_identity(struct slice encoding)
{
    return slice_ieq(encoding, SLICE("7bit")) || slice_ieq(encoding, SLICE("8bit")) ||
           slice_ieq(encoding, SLICE("binary"));
}

static enum multipart_error read_line(struct multipart_scan *scan, struct slice line)
{
    size_t len = h1_token_length(line);
    const char *end = line.ptr + line.len;
    if (len == 0 || len == line.len || line.ptr[len] != ':' ||
        h1_scan_value(line.ptr + len, end) != end) {
        return MULTIPART_HEADER;
    }
    struct slice name = slice_first(line, len);
    struct slice value = slice_trim(slice_skip(line, len + 1));
    if (slice_ieq(name, SLICE("content-disposition"))) {
        return read_disposition(scan, value);
    }
    if (slice_ieq(name, SLICE("content-transfer-encoding"))) {
        scan->is_encoded |= !is_identity(value);
    }
    return MULTIPART_NONE;
}

static void begin_header(struct multipart_scan *scan)
{
    scan->state = HEADER;
    scan->used = 0;
    scan->header_size = 0;
    scan->part = PART_OTHER;
    scan->has_disposition = false;
    scan->is_encoded = false;
}

static enum multipart_error begin_data(struct multipart_scan *scan, uint64_t start)
{
    if (!scan->has_disposition) {
        return MULTIPART_DISPOSITION;
    }
    if (scan->part != PART_OTHER) {
        if (scan->is_encoded) {
            return MULTIPART_ENCODING;
        }
        if (field_of(scan)->found) {
            return MULTIPART_TWICE;
        }
    }
    scan->state = DATA;
    scan->used = 0;
    scan->tail_len = 0;
    scan->data_start = start;
    return MULTIPART_NONE;
}

// Takes one line, or as much as there is of it. Returns how many bytes.
static size_t feed_header(struct multipart_scan *scan, struct slice piece)
{
    const char *lf = memchr(piece.ptr, '\n', piece.len);
    size_t len = lf != NULL ? (size_t)(lf + 1 - piece.ptr) : piece.len;
    if (len > sizeof(scan->line) - scan->used ||
        scan->header_size + len > MULTIPART_HEADER_MAX) {
        scan->error = MULTIPART_HEADER_SIZE;
        return len;
    }
    memcpy(scan->line + scan->used, piece.ptr, len);
    scan->used = (uint16_t)(scan->used + len);
    scan->header_size = (uint16_t)(scan->header_size + len);
    if (lf == NULL) {
        return len;
    }
    if (scan->used < 2 || scan->line[scan->used - 2] != '\r') {
        scan->error = MULTIPART_HEADER;
    } else if (scan->used == 2) {
        scan->error = begin_data(scan, scan->offset + len);
    } else {
        scan->error = read_line(scan, slice_of(scan->line, scan->used - 2U));
        scan->used = 0;
    }
    return len;
}

// ---- the data of a part -----------------------------------------------------------------------

static bool is_plain(struct slice text)
{
    while (text.len > 0) {
        size_t len = utf8_char_len(text);
        unsigned char c = (unsigned char)text.ptr[0];
        if (len == 0 || c < 0x20 || c == 0x7f) {
            return false;
        }
        text = slice_skip(text, len);
    }
    return true;
}

// The value ends before the CR LF of the delimiter, which begins at `end`.
static enum multipart_error end_value(struct multipart_scan *scan, uint64_t end)
{
    if (scan->part == PART_OTHER) {
        return MULTIPART_NONE;
    }
    struct multipart_field *field = field_of(scan);
    uint64_t len = end - 2 - scan->data_start;
    if (len == 0 || len > MULTIPART_VALUE_MAX ||
        !is_plain(slice_of(scan->value, (size_t)len))) {
        return MULTIPART_VALUE;
    }
    memcpy(field->text, scan->value, (size_t)len);
    field->len = (uint16_t)len;
    field->start = scan->data_start;
    field->found = true;
    return MULTIPART_NONE;
}

static void keep_value(struct multipart_scan *scan, struct slice piece)
{
    if (scan->part == PART_OTHER) {
        return;
    }
    if (piece.len > sizeof(scan->value) - scan->used) {
        scan->error = MULTIPART_VALUE;
        return;
    }
    memcpy(scan->value + scan->used, piece.ptr, piece.len);
    scan->used = (uint16_t)(scan->used + piece.len);
}

// The last bytes of the data, in which a delimiter may have begun, and the two before it.
static void keep_tail(struct multipart_scan *scan, struct slice piece)
{
    size_t want = scan->delimiter_len + 1U;
    if (piece.len >= want) {
        memcpy(scan->tail, piece.ptr + piece.len - want, want);
        scan->tail_len = (uint16_t)want;
        return;
    }
    size_t old = MIN_OF((size_t)scan->tail_len, want - piece.len);
    memmove(scan->tail, scan->tail + scan->tail_len - old, old);
    memcpy(scan->tail + old, piece.ptr, piece.len);
    scan->tail_len = (uint16_t)(old + piece.len);
}

// The byte of the data at `at` in the piece; before the piece it is in the tail. -1: before the
// data.
static int byte_at(const struct multipart_scan *scan, struct slice piece, ptrdiff_t at)
{
    ptrdiff_t back = scan->tail_len + at;
    if (at >= 0) {
        return (unsigned char)piece.ptr[at];
    }
    return back >= 0 ? (unsigned char)scan->tail[back] : -1;
}

// Where the delimiter begins, relative to the piece (< 0: in the tail). False: not in it.
static bool find_delimiter(const struct multipart_scan *scan, struct slice piece,
                           ptrdiff_t *ret_at)
{
    struct slice delimiter = slice_of(scan->delimiter, scan->delimiter_len);
    char seam[2 * MULTIPART_DELIMITER_MAX];
    size_t more = MIN_OF(piece.len, delimiter.len - 1);
    memcpy(seam, scan->tail, scan->tail_len);
    memcpy(seam + scan->tail_len, piece.ptr, more);
    ptrdiff_t at = slice_find(slice_of(seam, scan->tail_len + more), delimiter);
    if (at >= 0) {
        *ret_at = at - scan->tail_len;
        return true;
    }
    at = slice_find(piece, delimiter);
    *ret_at = at;
    return at >= 0;
}

static size_t feed_data(struct multipart_scan *scan, struct slice piece)
{
    ptrdiff_t at;
    if (!find_delimiter(scan, piece, &at)) {
        keep_value(scan, piece);
        keep_tail(scan, piece);
        return piece.len;
    }
    size_t used = (size_t)(at + scan->delimiter_len);
    // Also where a lenient reader, who takes LF alone, would see a part begin and we would not.
    if (byte_at(scan, piece, at - 1) != '\n' || byte_at(scan, piece, at - 2) != '\r') {
        scan->error = MULTIPART_BOUNDARY_LINE;
        return used;
    }
    if (at > 0) {
        keep_value(scan, slice_first(piece, (size_t)at));
    }
    if (scan->error == MULTIPART_NONE) {
        scan->error = end_value(scan, scan->offset + (uint64_t)at);
    }
    scan->state = AFTER_DELIMITER;
    scan->matched = 0;
    return used;
}

// ---- what stands between ----------------------------------------------------------------------

static enum multipart_error step_start(struct multipart_scan *scan, char c)
{
    if (scan->offset < 2 && scan->matched == 0 && c == "\r\n"[scan->offset]) {
        return MULTIPART_NONE;
    }
    if (c != scan->delimiter[scan->matched] || (scan->offset == 1 && scan->matched == 0)) {
        return MULTIPART_PREAMBLE;
    }
    if (++scan->matched == scan->delimiter_len) {
        scan->state = AFTER_DELIMITER;
        scan->matched = 0;
    }
    return MULTIPART_NONE;
}

static enum multipart_error step_after(struct multipart_scan *scan, char c)
{
    if (scan->matched == 0) {
        scan->matched = (uint8_t)c;
        return c == '\r' || c == '-' ? MULTIPART_NONE : MULTIPART_BOUNDARY_LINE;
    }
    if (scan->matched == '-' && c == '-') {
        scan->state = END;
        scan->matched = 0;
        return MULTIPART_NONE;
    }
    if (scan->matched != '\r' || c != '\n') {
        return MULTIPART_BOUNDARY_LINE;
    }
    begin_header(scan);
    return ++scan->parts > MULTIPART_PARTS_MAX ? MULTIPART_PARTS : MULTIPART_NONE;
}

static enum multipart_error step_end(struct multipart_scan *scan, char c)
{
    return scan->matched < 2 && c == "\r\n"[scan->matched++] ? MULTIPART_NONE : MULTIPART_EPILOGUE;
}

static size_t feed_some(struct multipart_scan *scan, struct slice piece)
{
    switch ((enum state)scan->state) {
    case START:
        scan->error = step_start(scan, piece.ptr[0]);
        return 1;
    case AFTER_DELIMITER:
        scan->error = step_after(scan, piece.ptr[0]);
        return 1;
    case HEADER:
        return feed_header(scan, piece);
    case DATA:
        return feed_data(scan, piece);
    default:
        scan->error = step_end(scan, piece.ptr[0]);
        return 1;
    }
}

enum multipart_error multipart_feed(struct multipart_scan *scan, struct slice piece)
{
    while (scan->error == MULTIPART_NONE && piece.len > 0) {
        size_t used = feed_some(scan, piece);
        scan->offset += used;
        piece = slice_skip(piece, used);
    }
    return scan->error;
}

enum multipart_error multipart_finish(struct multipart_scan *scan)
{
    bool whole = scan->state == END && scan->matched != 1;
    if (scan->error == MULTIPART_NONE && !whole) {
        scan->error = MULTIPART_CUT;
    }
    return scan->error;
}

bool multipart_wants_stream(const struct multipart_scan *scan)
{
    struct slice value = multipart_value(&scan->stream);
    return slice_ieq(value, SLICE("true")) || slice_eq(value, SLICE("1"));
}
