// Any bytes as JSON: pieces of any size give the same captures and the same verdict; what the
// scanner accepts, json-c accepts too, and finds the same model. The first byte picks the pieces.
#include <json-c/json.h>
#include <stdlib.h>

#include "json/scan.h"

#define CHECK(cond) BUG_ON(!(cond))

static const struct slice keys[] = {SLICE("model"), SLICE("messages"), SLICE("stream"), SLICE("n")};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void scan_in_pieces(struct json_scan *scan, const char *text, size_t size, size_t step)
{
    json_scan_init(scan, keys, ARRAY_LEN(keys));
    for (size_t at = 0; at < size; at += step) {
        size_t len = size - at < step ? size - at : step;
        char *piece = malloc(len);
        CHECK(piece != NULL);
        memcpy(piece, text + at, len);
        (void)json_scan_feed(scan, slice_of(piece, len));
        free(piece);
    }
    (void)json_scan_finish(scan);
}

static void check_same(const struct json_scan *a, const struct json_scan *b)
{
    CHECK(a->error == b->error && a->error_at == b->error_at);
    if (a->error != JSON_OK) {
        return;
    }
    CHECK(a->string_bytes == b->string_bytes && a->offset == b->offset && a->done && b->done);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        CHECK(a->captures[i].type == b->captures[i].type);
        CHECK(a->captures[i].start == b->captures[i].start);
        CHECK(a->captures[i].end == b->captures[i].end);
    }
}

static void check_with_json_c(const struct json_scan *scan, const char *text, size_t size)
{
    struct json_tokener *tokener = json_tokener_new_ex(JSON_MAX_DEPTH + 2);
    CHECK(tokener != NULL);
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
    struct json_object *root = json_tokener_parse_ex(tokener, text, (int)size);
    enum json_tokener_error error = json_tokener_get_error(tokener);
    CHECK(error == json_tokener_success && json_object_is_type(root, json_type_object));
    struct json_object *model = NULL;
    bool found = json_object_object_get_ex(root, "model", &model);
    const struct json_capture *capture = &scan->captures[0];
    // json-c knows keys as C strings, so "model\u0000x" is "model" to it.
    if (capture->type != JSON_ABSENT) {
        CHECK(found);
    }
    if (capture->type == JSON_STRING && slice_find(slice_of(text, size), SLICE("\\u0000")) < 0) {
        char out[4096];
        struct slice token =
            slice_of(text + capture->start, (size_t)(capture->end - capture->start));
        ptrdiff_t len = json_string_decode(token, out, sizeof out);
        CHECK(token.len > sizeof out || len >= 0);
        CHECK(json_object_is_type(model, json_type_string));
        if (len >= 0) {
            CHECK(slice_eq(slice_of(out, (size_t)len),
                           slice_of(json_object_get_string(model),
                                    (size_t)json_object_get_string_len(model))));
        }
    }
    json_object_put(root);
    json_tokener_free(tokener);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_scan whole;
    struct json_scan pieces;
    if (size < 2) {
        return 0;
    }
    size_t step = 1 + data[0] % 80u;
    char *text = malloc(size); // with a NUL, which json-c needs to see the end of a number
    CHECK(text != NULL);
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    scan_in_pieces(&whole, text, size - 1, size);
    scan_in_pieces(&pieces, text, size - 1, step);
    check_same(&whole, &pieces);
    if (whole.error == JSON_OK) {
        check_with_json_c(&whole, text, size - 1);
    }
    free(text);
    return 0;
}
