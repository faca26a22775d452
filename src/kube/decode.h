// Resumable decoders for the API server's two big answers. Bytes come in any pieces; every byte is
// looked at once; only the object at hand is held as a tree.
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/macros.h"
#include "base/slice.h"

enum {
    // etcd refuses objects over 1.5 MiB; JSON may be larger than protobuf.
    KUBE_OBJECT_MAX = 8 << 20,
    KUBE_OBJECT_DEPTH = 128,
};

// Gets one object (owned by the receiver: json_object_put it). A negative return ends the decoding,
// and the feed returns it.
typedef int kube_decode_object(struct json_object *object, void *arg);

// ---- a watch: a sequence of JSON objects, one a line ----

struct kube_watch_decoder {
    json_tokener *tokener; // made at the first byte
    size_t object_bytes;   // of the object at hand; 0 = between objects
    size_t max_bytes;
    kube_decode_object *on_object;
    void *arg;
    int failed;
};

void kube_watch_decoder_init(struct kube_watch_decoder *decoder, size_t max_bytes,
                             kube_decode_object *on_object, void *arg);
void kube_watch_decoder_fini(struct kube_watch_decoder *decoder);

// 0; -EBADMSG (not JSON objects), -EMSGSIZE (one is larger than the maximum), -ENOMEM, or what
// on_object returned. After a failure every feed fails likewise. on_object must not free the
// decoder.
MUST_CHECK int kube_watch_decoder_feed(struct kube_watch_decoder *decoder, struct slice bytes);

// True when the stream may end here: no object is open.
bool kube_watch_decoder_is_between(const struct kube_watch_decoder *decoder);

// ---- a list: {"kind": …, "metadata": {…}, "items": [ … ]} ----

enum kube_list_state {
    KUBE_LIST_OPEN,
    KUBE_LIST_KEY_OR_END,
    KUBE_LIST_KEY,
    KUBE_LIST_IN_KEY,
    KUBE_LIST_COLON,
    KUBE_LIST_VALUE,
    KUBE_LIST_IN_VALUE,
    KUBE_LIST_COMMA_OR_END,
    KUBE_LIST_ITEM_OR_END,
    KUBE_LIST_ITEM,
    KUBE_LIST_IN_ITEM,
    KUBE_LIST_ITEM_COMMA_OR_END,
    KUBE_LIST_COMPLETE,
};

struct kube_list_decoder {
    json_tokener *tokener;
    enum kube_list_state state;
    char key[64]; // of the member at hand; longer ones are cut and thus not known
    size_t key_len;
    bool key_escape;
    bool has_items;
    size_t value_bytes;
    size_t max_bytes;
    struct json_object *head; // every member but "items"
    kube_decode_object *on_item;
    void *arg;
    int failed;
};

// 0 or -ENOMEM.
MUST_CHECK int kube_list_decoder_init(struct kube_list_decoder *decoder, size_t max_bytes,
                                      kube_decode_object *on_item, void *arg);
void kube_list_decoder_fini(struct kube_list_decoder *decoder);

// As kube_watch_decoder_feed.
MUST_CHECK int kube_list_decoder_feed(struct kube_list_decoder *decoder, struct slice bytes);

// The whole list was read and had "items" (maybe null). Only then is a missing object a deleted
// one.
bool kube_list_decoder_is_complete(const struct kube_list_decoder *decoder);
