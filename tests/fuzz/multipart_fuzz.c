// Any bytes as the body of a form with the boundary "xYz": pieces of any size give the same verdict
// and the same fields, and what is called a value stands between its header and a boundary. The
// first byte picks the size of the pieces. The whole is read as a Content-Type, too.
#include <stdlib.h>

#include "http/multipart.h"
#include "http/multipart_params.h"

#define CHECK(cond) BUG_ON(!(cond))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void scan_pieces(struct multipart_scan *scan, struct slice text, size_t step)
{
    CHECK(multipart_init(scan, SLICE("multipart/form-data; boundary=xYz")) == MULTIPART_NONE);
    while (text.len > 0) {
        size_t len = MIN_OF(step, text.len);
        char *copy = malloc(len);
        CHECK(copy != NULL);
        memcpy(copy, text.ptr, len);
        CHECK(multipart_feed(scan, slice_of(copy, len)) == scan->error);
        free(copy);
        text = slice_skip(text, len);
    }
    CHECK(multipart_finish(scan) == scan->error);
}

static void check_field(const struct multipart_field *field, struct slice text)
{
    if (!field->found) {
        return;
    }
    struct slice value = slice_skip(text, (size_t)field->start);
    CHECK(field->len > 0 && field->len <= MULTIPART_VALUE_MAX && field->start > 4);
    CHECK(slice_has_prefix(value, multipart_value(field)));
    CHECK(memcmp(text.ptr + field->start - 4, "\r\n\r\n", 4) == 0);
    CHECK(slice_has_prefix(slice_skip(value, field->len), SLICE("\r\n--xYz")));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    size_t step = 1 + data[0] % 64u;
    struct multipart_scan whole;
    struct multipart_scan pieces;
    char *copy = malloc(size);
    CHECK(copy != NULL);
    memcpy(copy, data, size);
    struct slice text = slice_of(copy + 1, size - 1);
    scan_pieces(&whole, text, size);
    scan_pieces(&pieces, text, step);
    // A value that is too long is noticed sooner when it comes in pieces.
    CHECK(whole.error == pieces.error || pieces.error == MULTIPART_VALUE);
    CHECK(whole.error != MULTIPART_NONE || pieces.error == MULTIPART_NONE);
    if (whole.error == pieces.error) {
        CHECK(slice_eq(multipart_value(&whole.model), multipart_value(&pieces.model)));
        CHECK(slice_eq(multipart_value(&whole.stream), multipart_value(&pieces.stream)));
    }
    check_field(&whole.model, text);
    check_field(&whole.stream, text);
    CHECK(multipart_boundary(text).len <= MULTIPART_BOUNDARY_MAX);
    free(copy);
    return 0;
}
