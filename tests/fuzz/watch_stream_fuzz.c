// The watch and list decoders under hostile bytes in hostile pieces: nothing may be read beyond
// them, and what is sound must come out the same however it is torn. (json-c sees some malformed
// numbers, "--1", later when they are torn: for what is refused, the pieces may matter.)
//
// Input: the first byte chooses the decoder and the size of the pieces.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "kube/decode.h"
#include "kube/object.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct result {
    int rc;
    size_t objects;
    uint64_t hash;
    bool complete;
};

static int on_object(struct json_object *object, void *arg)
{
    struct result *result = arg;
    struct kube_meta meta;
    const char *text = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN);
    result->objects++;
    result->hash = result->hash * 31 + hash_bytes(slice_of_str(text));
    kube_strip(object);
    if (kube_meta_read(object, &meta)) {
        result->hash += meta.name.len;
    }
    json_object_put(object);
    return 0;
}

// Each piece in memory of its own size, so that ASan sees a read beyond it.
static int feed(void *decoder, bool is_list, const uint8_t *data, size_t size)
{
    char *piece = malloc(size > 0 ? size : 1);
    if (piece == NULL) {
        abort();
    }
    memcpy(piece, data, size);
    struct slice bytes = slice_of(piece, size);
    int rc = is_list ? kube_list_decoder_feed(decoder, bytes)
                     : kube_watch_decoder_feed(decoder, bytes);
    free(piece);
    return rc;
}

static struct result decode(bool is_list, const uint8_t *data, size_t size, size_t step)
{
    struct result result = {.rc = 0};
    struct kube_list_decoder list;
    struct kube_watch_decoder watch;
    if (kube_list_decoder_init(&list, 4096, on_object, &result) != 0) {
        abort();
    }
    kube_watch_decoder_init(&watch, 4096, on_object, &result);
    void *decoder = is_list ? (void *)&list : (void *)&watch;
    for (size_t at = 0; at < size && result.rc == 0; at += step) {
        result.rc = feed(decoder, is_list, data + at, MIN_OF(step, size - at));
    }
    result.complete = is_list ? kube_list_decoder_is_complete(&list)
                              : kube_watch_decoder_is_between(&watch);
    kube_list_decoder_fini(&list);
    kube_watch_decoder_fini(&watch);
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    bool is_list = (data[0] & 1) != 0;
    size_t step = (size_t)(data[0] >> 1) + 1;
    struct result whole = decode(is_list, data + 1, size - 1, SIZE_MAX / 2);
    struct result torn = decode(is_list, data + 1, size - 1, step);
    BUG_ON(whole.rc == 0 && (torn.rc != 0 || whole.objects != torn.objects ||
                             whole.hash != torn.hash || whole.complete != torn.complete));
    return 0;
}
