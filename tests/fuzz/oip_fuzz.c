// Any bytes as a path of the Open Inference Protocol, and as the messages of a gRPC call: pieces of
// any size give the same verdict and the same names, and a name that is replaced is read again. The
// first byte picks the size of the pieces and the method.
#include <stdlib.h>

#include "ai/oip_grpc.h"
#include "base/strbuf.h"

#define CHECK(cond) BUG_ON(!(cond))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void scan_pieces(struct oip_scan *scan, enum oip_method method, struct slice text,
                        size_t step)
{
    oip_scan_init(scan, method);
    while (text.len > 0) {
        size_t len = MIN_OF(step, text.len);
        char *copy = malloc(len);
        CHECK(copy != NULL);
        memcpy(copy, text.ptr, len);
        CHECK(oip_scan_feed(scan, slice_of(copy, len)) == scan->error);
        free(copy);
        text = slice_skip(text, len);
    }
    CHECK(oip_scan_finish(scan) == scan->error);
}

static void check_splice(const struct oip_scan *scan, struct slice text)
{
    struct oip_splice splice;
    struct oip_scan again;
    struct strbuf out;
    struct slice name = SLICE("another-model");
    if (scan->error != OIP_ERROR_NONE || oip_splice_make(scan, name, &splice) != 0) {
        return;
    }
    strbuf_init(&out, text.len + 64);
    CHECK(splice.cut_start > 5 && splice.cut_start < splice.cut_end && splice.cut_end <= text.len);
    strbuf_add(&out, slice_of(splice.prefix, 5));
    strbuf_add(&out, slice_of(text.ptr + 5, (size_t)splice.cut_start - 5));
    strbuf_add(&out, slice_of(splice.length, splice.length_len));
    strbuf_add(&out, name);
    strbuf_add(&out, slice_skip(text, (size_t)splice.cut_end));
    CHECK(!out.failed && (int64_t)out.len == (int64_t)text.len + splice.delta);
    scan_pieces(&again, OIP_METHOD_INFER, strbuf_slice(&out), out.len);
    CHECK(again.error == OIP_ERROR_NONE && slice_eq(oip_scan_model(&again), name));
    CHECK(slice_eq(oip_scan_version(&again), oip_scan_version(scan)));
    strbuf_fini(&out);
}

static void check_path(struct slice text)
{
    struct oip_path path;
    char buffer[OIP_PATH_BUFFER];
    char segment[3 * OIP_NAME_MAX];
    for (size_t i = 0; i < text.len; i++) { // a normalised path has sound escapes only
        if (text.ptr[i] == '%') {
            return;
        }
    }
    if (oip_path_parse(text, buffer, &path) == 0 && path.operation != OIP_NONE) {
        CHECK(oip_name_is_sound(path.model) && path.model_end <= text.len);
        CHECK(oip_segment_encode(path.model, segment) >= path.model.len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    size_t step = 1 + data[0] % 32u;
    enum oip_method method = (enum oip_method)(1 + data[0] / 32 % 4);
    struct oip_scan whole;
    struct oip_scan pieces;
    char *copy = malloc(size);
    CHECK(copy != NULL);
    memcpy(copy, data, size);
    struct slice text = slice_of(copy + 1, size - 1);
    scan_pieces(&whole, method, text, size);
    scan_pieces(&pieces, method, text, step);
    CHECK(whole.error == pieces.error && (unsigned)whole.error < OIP_ERROR_COUNT);
    CHECK(slice_eq(oip_scan_model(&whole), oip_scan_model(&pieces)));
    CHECK(slice_eq(oip_scan_version(&whole), oip_scan_version(&pieces)));
    CHECK(slice_eq(oip_scan_id(&whole), oip_scan_id(&pieces)));
    if (method == OIP_METHOD_INFER) {
        check_splice(&whole, text);
    }
    check_path(text);
    free(copy);
    return 0;
}
