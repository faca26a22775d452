#include "ai/oip_grpc.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

// A message of the bytes given; its length is below 256.
#define MESSAGE(len, bytes) "\0\0\0\0" len bytes
#define MODEL_AB "\x0a\x02" "ab"

struct verdict {
    enum oip_error error;
    struct slice model; // literals
    struct slice version;
    struct slice id;
};

static void feed(struct oip_scan *scan, enum oip_method method, struct slice text, size_t step)
{
    oip_scan_init(scan, method);
    enum oip_error error = OIP_ERROR_NONE;
    while (text.len > 0) {
        size_t len = MIN_OF(step, text.len);
        char *copy = malloc(len);
        assert_non_null(copy);
        memcpy(copy, text.ptr, len);
        enum oip_error now = oip_scan_feed(scan, slice_of(copy, len));
        assert_true(error == OIP_ERROR_NONE || now == error);
        error = now;
        free(copy);
        text = slice_skip(text, len);
    }
    assert_true(error == OIP_ERROR_NONE || oip_scan_finish(scan) == error);
    (void)!oip_scan_finish(scan);
}

static const struct {
    const char *what;
    struct slice text;
    enum oip_method method;
    struct verdict verdict;
} rows[] = {
#define GOOD(what, text, method, model, version, id)                                              \
    {what, SLICE(text), OIP_METHOD_##method,                                                      \
     {OIP_ERROR_NONE, SLICE(model), SLICE(version), SLICE(id)}}
#define BAD(what, text, method, reason)                                                           \
    {what, SLICE(text), OIP_METHOD_##method, {.error = OIP_ERROR_##reason}}
    GOOD("model only", MESSAGE("\x04", MODEL_AB), INFER, "ab", "", ""),
    GOOD("all three", MESSAGE("\x0a", MODEL_AB "\x12\x01" "7" "\x1a\x01" "i"), INFER, "ab", "7",
         "i"),
    GOOD("other order", MESSAGE("\x0a", "\x1a\x01" "i" "\x12\x01" "7" MODEL_AB), INFER, "ab", "7",
         "i"),
    GOOD("empty version", MESSAGE("\x06", MODEL_AB "\x12\0"), INFER, "ab", "", ""),
    GOOD("unknown fields of every kind",
         MESSAGE("\x17", "\x78\xac\x02" "\x7d" "1234" "\x79" "12345678" MODEL_AB "\x3a\x00"), INFER,
         "ab", "", ""),
    GOOD("tensors", MESSAGE("\x0b", MODEL_AB "\x3a\x05" "\x0a\0\0\x0a\0"), INFER, "ab", "", ""),
    GOOD("lengths in more bytes than they need", MESSAGE("\x06", "\x8a\0" "\x82\0" "ab"), INFER,
         "ab", "", ""),
    GOOD("metadata", MESSAGE("\x07", MODEL_AB "\x12\x01" "7"), METADATA, "ab", "7", ""),
    GOOD("field 3 of metadata is unknown", MESSAGE("\x06", MODEL_AB "\x18\x01"), METADATA, "ab", "",
         ""),
    GOOD("a stream of one model", MESSAGE("\x04", MODEL_AB) MESSAGE("\x06", "\x12\0" MODEL_AB),
         STREAM_INFER, "ab", "", ""),
    BAD("a stream of two", MESSAGE("\x04", MODEL_AB) MESSAGE("\x04", "\x0a\x02" "ac"),
        STREAM_INFER, OTHER_MODEL),
    BAD("a prefix of the model", MESSAGE("\x04", MODEL_AB) MESSAGE("\x03", "\x0a\x01" "a"),
        STREAM_INFER, OTHER_MODEL),
    BAD("a longer model", MESSAGE("\x04", MODEL_AB) MESSAGE("\x05", "\x0a\x03" "abc"),
        STREAM_INFER, OTHER_MODEL),
    BAD("no model later", MESSAGE("\x04", MODEL_AB) MESSAGE("\x02", "\x12\0"), STREAM_INFER,
        MISSING),
    BAD("a second message", MESSAGE("\x04", MODEL_AB) MESSAGE("\x04", MODEL_AB), INFER, EXTRA),
    BAD("compressed", "\x01\0\0\0\x04" MODEL_AB, INFER, COMPRESSED),
    BAD("flag", "\x02\0\0\0\x04" MODEL_AB, INFER, FLAG),
    BAD("model twice", MESSAGE("\x08", MODEL_AB MODEL_AB), INFER, TWICE),
    BAD("version twice", MESSAGE("\x08", MODEL_AB "\x12\0" "\x12\0"), INFER, TWICE),
    BAD("empty message", MESSAGE("\0", ""), INFER, MISSING),
    BAD("no message", "", INFER, MISSING),
    BAD("no model", MESSAGE("\x02", "\x12\0"), INFER, MISSING),
    BAD("empty model", MESSAGE("\x02", "\x0a\0"), INFER, NAME),
    BAD("slash", MESSAGE("\x05", "\x0a\x03" "a/b"), INFER, NAME),
    BAD("no UTF-8", MESSAGE("\x03", "\x0a\x01\xff"), INFER, NAME),
    BAD("long model", MESSAGE("\x04", "\x0a\x81\x02" "a"), INFER, SYNTAX), // beyond the message
    BAD("model as a number", MESSAGE("\x02", "\x08\x01"), INFER, SYNTAX),
    BAD("group", MESSAGE("\x05", MODEL_AB "\x7b"), INFER, SYNTAX),
    BAD("end of a group", MESSAGE("\x05", MODEL_AB "\x7c"), INFER, SYNTAX),
    BAD("field 0", MESSAGE("\x02", "\0\0"), INFER, SYNTAX),
    BAD("tag of six bytes", MESSAGE("\x07", "\x8a\x80\x80\x80\x80\0\0"), INFER, SYNTAX),
    BAD("tag of 33 bits", MESSAGE("\x06", "\xfa\xff\xff\xff\x7f\0"), INFER, SYNTAX),
    BAD("number of 65 bits", MESSAGE("\x0b", "\x78\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"), INFER,
        SYNTAX),
    BAD("value beyond the message", MESSAGE("\x04", "\x0a\x03" "ab"), INFER, SYNTAX),
    BAD("fixed beyond the message", MESSAGE("\x04", "\x7d" "123"), INFER, SYNTAX),
    BAD("tag at the end", MESSAGE("\x05", MODEL_AB "\x3a"), INFER, SYNTAX),
    BAD("number cut", MESSAGE("\x06", MODEL_AB "\x78\x80"), INFER, SYNTAX),
    BAD("cut", MESSAGE("\x06", MODEL_AB "\x3a"), INFER, CUT),
    BAD("cut prefix", "\0\0\0", INFER, CUT),
};

static void reads_or_refuses_however_it_is_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (size_t step = 1; step <= rows[i].text.len + 1; step++) {
            struct oip_scan scan;
            feed(&scan, rows[i].method, rows[i].text, step);
            if (scan.error != rows[i].verdict.error) {
                fail_msg("%s, step %zu: %s", rows[i].what, step, oip_error_text(scan.error));
            }
            if (scan.error == OIP_ERROR_NONE) {
                assert_true(slice_eq(oip_scan_model(&scan), rows[i].verdict.model));
                assert_true(slice_eq(oip_scan_version(&scan), rows[i].verdict.version));
                assert_true(slice_eq(oip_scan_id(&scan), rows[i].verdict.id));
            }
        }
    }
}

static void methods_are_known_by_their_path(void **state)
{
    (void)state;
#define SERVICE "/inference.GRPCInferenceService/"
    assert_int_equal(oip_method_of(SLICE(SERVICE "ModelInfer")), OIP_METHOD_INFER);
    assert_int_equal(oip_method_of(SLICE(SERVICE "ModelStreamInfer")), OIP_METHOD_STREAM_INFER);
    assert_int_equal(oip_method_of(SLICE(SERVICE "ModelReady")), OIP_METHOD_READY);
    assert_int_equal(oip_method_of(SLICE(SERVICE "ServerLive")), OIP_METHOD_NONE);
    assert_int_equal(oip_method_of(SLICE("/other.Service/ModelInfer")), OIP_METHOD_NONE);
    assert_int_equal(oip_method_of(SLICE("/inference.GRPCInferenceService")), OIP_METHOD_NONE);
}

static void the_model_is_there_before_the_tensors(void **state)
{
    (void)state;
    struct oip_scan scan;
    struct slice head = SLICE("\0\0\x01\0\0" MODEL_AB "\x3a\xff\xff\xff\x7f");
    oip_scan_init(&scan, OIP_METHOD_INFER);
    assert_int_equal(oip_scan_feed(&scan, head), OIP_ERROR_SYNTAX); // more than the message has
    oip_scan_init(&scan, OIP_METHOD_INFER);
    assert_int_equal(oip_scan_feed(&scan, slice_first(head, 8)), OIP_ERROR_NONE);
    assert_false(oip_scan_has_model(&scan));
    assert_int_equal(oip_scan_feed(&scan, SLICE("b")), OIP_ERROR_NONE);
    assert_true(oip_scan_has_model(&scan));
}

// The bytes with the name replaced read as the other name, everything else as before.
static void assert_spliced(struct slice text, struct slice name)
{
    struct oip_scan scan;
    struct oip_splice splice;
    char out[1024];
    size_t len = 0;
    feed(&scan, OIP_METHOD_INFER, text, 1000);
    assert_int_equal(oip_splice_make(&scan, name, &splice), 0);
    memcpy(out, splice.prefix, 5);
    memcpy(out + 5, text.ptr + 5, splice.cut_start - 5);
    len = splice.cut_start;
    memcpy(out + len, splice.length, splice.length_len);
    len += splice.length_len;
    memcpy(out + len, name.ptr, name.len);
    len += name.len;
    memcpy(out + len, text.ptr + splice.cut_end, text.len - splice.cut_end);
    len += text.len - splice.cut_end;
    assert_int_equal((int64_t)len, (int64_t)text.len + splice.delta);
    struct oip_scan again;
    feed(&again, OIP_METHOD_INFER, slice_of(out, len), 1000);
    assert_int_equal(again.error, OIP_ERROR_NONE);
    assert_true(slice_eq(oip_scan_model(&again), name));
    assert_true(slice_eq(oip_scan_version(&again), oip_scan_version(&scan)));
    assert_true(slice_eq(oip_scan_id(&again), oip_scan_id(&scan)));
}

static void a_name_is_spliced(void **state)
{
    (void)state;
    char longest[OIP_NAME_MAX];
    memset(longest, 'n', sizeof(longest));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (rows[i].verdict.error != OIP_ERROR_NONE || rows[i].method != OIP_METHOD_INFER) {
            continue;
        }
        assert_spliced(rows[i].text, SLICE("x"));
        assert_spliced(rows[i].text, slice_of(longest, 127));
        assert_spliced(rows[i].text, slice_of(longest, 128));
        assert_spliced(rows[i].text, slice_of(longest, sizeof(longest)));
    }
}

static void what_cannot_be_spliced(void **state)
{
    (void)state;
    struct oip_scan scan;
    struct oip_splice splice;
    oip_scan_init(&scan, OIP_METHOD_INFER);
    assert_int_equal(oip_splice_make(&scan, SLICE("x"), &splice), -ENOENT);
    assert_int_equal(oip_scan_feed(&scan, SLICE("\0\xff\xff\xff\xff" MODEL_AB)), OIP_ERROR_NONE);
    assert_int_equal(oip_splice_make(&scan, SLICE("xy"), &splice), 0);
    assert_int_equal(oip_splice_make(&scan, SLICE("xyz"), &splice), -E2BIG);
    oip_scan_init(&scan, OIP_METHOD_STREAM_INFER);
    assert_int_equal(oip_splice_make(&scan, SLICE("x"), &splice), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_or_refuses_however_it_is_cut),
        cmocka_unit_test(methods_are_known_by_their_path),
        cmocka_unit_test(the_model_is_there_before_the_tensors),
        cmocka_unit_test(a_name_is_spliced),
        cmocka_unit_test(what_cannot_be_spliced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
