#include "kube/decode.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static json_tokener *make_tokener(void)
{
    json_tokener *tokener = json_tokener_new_ex(KUBE_OBJECT_DEPTH);
    if (tokener != NULL) {
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_ALLOW_TRAILING_CHARS);
    }
    return tokener;
}

// Feeds one value. 1 with *ret_value when it is complete, 0 when more is needed, or negative;
// *used says how many bytes went in.
static int feed_value(json_tokener *tokener, struct slice bytes, size_t *total, size_t max,
                      size_t *used, struct json_object **ret_value)
{
    if (*total > max) {
        return -EMSGSIZE;
    }
    // One more, to see that it is too large.
    size_t room = MIN_OF(max - *total + 1, (size_t)INT_MAX);
    size_t len = MIN_OF(bytes.len, room);
    struct json_object *value = json_tokener_parse_ex(tokener, bytes.ptr, (int)len);
    enum json_tokener_error error = json_tokener_get_error(tokener);
    *used = json_tokener_get_parse_end(tokener);
    *total += *used;
    if (error == json_tokener_continue) {
        return *total > max ? -EMSGSIZE : 0;
    }
    if (error != json_tokener_success) {
        json_object_put(value);
        return -EBADMSG;
    }
    if (*total > max) {
        json_object_put(value);
        return -EMSGSIZE;
    }
    json_tokener_reset(tokener);
    *ret_value = value;
    return 1;
}

// ---- watch ----

void kube_watch_decoder_init(struct kube_watch_decoder *d, size_t max_bytes,
                             kube_decode_object *on_object, void *arg)
{
    *d = (struct kube_watch_decoder){.max_bytes = max_bytes, .on_object = on_object, .arg = arg};
}

void kube_watch_decoder_fini(struct kube_watch_decoder *d)
{
    if (d->tokener != NULL) {
        json_tokener_free(d->tokener);
        d->tokener = NULL;
    }
}

bool kube_watch_decoder_is_between(const struct kube_watch_decoder *d)
{
    return d->object_bytes == 0;
}

int kube_watch_decoder_feed(struct kube_watch_decoder *d, struct slice bytes)
{
    if (d->failed == 0 && d->tokener == NULL && (d->tokener = make_tokener()) == NULL) {
        d->failed = -ENOMEM;
    }
    while (d->failed == 0 && bytes.len > 0) {
        if (d->object_bytes == 0) {
            if (is_space(bytes.ptr[0])) {
                bytes = slice_skip(bytes, 1);
                continue;
            }
            if (bytes.ptr[0] != '{') {
                d->failed = -EBADMSG;
                break;
            }
        }
        struct json_object *object = NULL;
        size_t used = 0;
        int rc = feed_value(d->tokener, bytes, &d->object_bytes, d->max_bytes, &used, &object);
        bytes = slice_skip(bytes, used);
        if (rc == 1) {
            d->object_bytes = 0;
            rc = d->on_object(object, d->arg);
        }
        d->failed = rc < 0 ? rc : 0;
    }
    return d->failed;
}

// ---- list ----

int kube_list_decoder_init(struct kube_list_decoder *d, size_t max_bytes,
                           kube_decode_object *on_item, void *arg)
{
    *d = (struct kube_list_decoder){.max_bytes = max_bytes, .on_item = on_item, .arg = arg};
    d->tokener = make_tokener();
    d->head = json_object_new_object();
    if (d->tokener == NULL || d->head == NULL) {
        kube_list_decoder_fini(d);
        return -ENOMEM;
    }
    return 0;
}

void kube_list_decoder_fini(struct kube_list_decoder *d)
{
    if (d->tokener != NULL) {
        json_tokener_free(d->tokener);
        d->tokener = NULL;
    }
    json_object_put(d->head);
    d->head = NULL;
}

bool kube_list_decoder_is_complete(const struct kube_list_decoder *d)
{
    return d->failed == 0 && d->state == KUBE_LIST_COMPLETE && d->has_items;
}

// One byte of a member's name. The names that we look for have no escapes.
static void feed_key(struct kube_list_decoder *d, char c)
{
    if (!d->key_escape && c == '"') {
        d->key[MIN_OF(d->key_len, sizeof(d->key) - 1)] = '\0';
        d->state = KUBE_LIST_COLON;
        return;
    }
    d->key_escape = !d->key_escape && c == '\\';
    if (d->key_len < sizeof(d->key) - 1) {
        d->key[d->key_len] = c;
    }
    d->key_len = MIN_OF(d->key_len + 1, sizeof(d->key));
}

// One byte of structure between values. 0, or -EBADMSG. *hold is set when the byte begins a value
// and must be fed again.
static int feed_structure(struct kube_list_decoder *d, char c, bool *hold)
{
    bool items = d->key_len == 5 && memcmp(d->key, "items", 5) == 0;
    switch (d->state) {
    case KUBE_LIST_OPEN:
        d->state = KUBE_LIST_KEY_OR_END;
        return c == '{' ? 0 : -EBADMSG;
    case KUBE_LIST_KEY_OR_END:
        if (c == '}') {
            d->state = KUBE_LIST_COMPLETE;
            return 0;
        }
        // fall through
    case KUBE_LIST_KEY:
        d->state = KUBE_LIST_IN_KEY;
        d->key_len = 0;
        d->key_escape = false;
        return c == '"' ? 0 : -EBADMSG;
    case KUBE_LIST_COLON:
        d->state = KUBE_LIST_VALUE;
        return c == ':' ? 0 : -EBADMSG;
    case KUBE_LIST_VALUE:
        d->value_bytes = 0;
        if (items && d->has_items) {
            return -EBADMSG; // twice
        }
        d->has_items = d->has_items || items;
        if (items && c == '[') {
            d->state = KUBE_LIST_ITEM_OR_END;
            return 0;
        }
        *hold = true;
        d->state = KUBE_LIST_IN_VALUE;
        return 0;
    case KUBE_LIST_COMMA_OR_END:
        d->state = c == ',' ? KUBE_LIST_KEY : KUBE_LIST_COMPLETE;
        return c == ',' || c == '}' ? 0 : -EBADMSG;
    case KUBE_LIST_ITEM_OR_END:
        if (c == ']') {
            d->state = KUBE_LIST_COMMA_OR_END;
            return 0;
        }
        // fall through
    case KUBE_LIST_ITEM:
        d->value_bytes = 0;
        *hold = true;
        d->state = KUBE_LIST_IN_ITEM;
        return c == '{' ? 0 : -EBADMSG;
    case KUBE_LIST_ITEM_COMMA_OR_END:
        d->state = c == ',' ? KUBE_LIST_ITEM : KUBE_LIST_COMMA_OR_END;
        return c == ',' || c == ']' ? 0 : -EBADMSG;
    case KUBE_LIST_COMPLETE:
    case KUBE_LIST_IN_KEY:
    case KUBE_LIST_IN_VALUE:
    case KUBE_LIST_IN_ITEM:
    default:
        return -EBADMSG;
    }
}

// A complete value: an item, or a member beside the items.
static int take_value(struct kube_list_decoder *d, struct json_object *value)
{
    if (d->state == KUBE_LIST_IN_ITEM) {
        d->state = KUBE_LIST_ITEM_COMMA_OR_END;
        return d->on_item(value, d->arg);
    }
    d->state = KUBE_LIST_COMMA_OR_END;
    if (d->key_len == 5 && memcmp(d->key, "items", 5) == 0) { // Go writes null for no items
        bool null = value == NULL;
        json_object_put(value);
        return null ? 0 : -EBADMSG;
    }
    if (d->key_len >= sizeof(d->key)) {
        json_object_put(value);
        return 0;
    }
    if (json_object_object_add(d->head, d->key, value) != 0) {
        json_object_put(value);
        return -ENOMEM;
    }
    return 0;
}

int kube_list_decoder_feed(struct kube_list_decoder *d, struct slice bytes)
{
    while (d->failed == 0 && bytes.len > 0) {
        if (d->state == KUBE_LIST_IN_VALUE || d->state == KUBE_LIST_IN_ITEM) {
            struct json_object *value = NULL;
            size_t used = 0;
            int rc = feed_value(d->tokener, bytes, &d->value_bytes, d->max_bytes, &used, &value);
            bytes = slice_skip(bytes, used);
            if (rc == 1) {
                rc = take_value(d, value);
            }
            d->failed = rc < 0 ? rc : 0;
            continue;
        }
        char c = bytes.ptr[0];
        bool hold = false;
        if (d->state == KUBE_LIST_IN_KEY) {
            feed_key(d, c);
        } else if (!is_space(c)) {
            d->failed = feed_structure(d, c, &hold);
        }
        bytes = slice_skip(bytes, hold ? 0 : 1);
    }
    return d->failed;
}
