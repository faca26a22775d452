// Hostile Secrets: whatever is in them, they are read and judged without harm, and what is judged
// good stays good when it is read again. The first byte says where the key begins.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "model/object.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct object *read_secret(struct json_object *json)
{
    static const struct object_origin origin = {0};
    struct object *object = NULL;
    struct error err = ERROR_INIT;
    BUG_ON(object_read(OBJECT_SECRET, json, &origin, &object, &err) != 0);
    return object;
}

static void add(struct json_object *data, const char *key, const uint8_t *bytes, size_t len)
{
    json_object_object_add(data, key,
                           json_object_new_string_len((const char *)bytes, (int)len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > TLS_PEM_MAX) {
        return 0;
    }
    size_t cut = 1 + (size - 1) * data[0] / 255;
    struct json_object *json = json_tokener_parse(
        "{\"metadata\": {\"name\": \"s\", \"namespace\": \"n\"},"
        " \"data\": {}, \"stringData\": {}}");
    struct json_object *text = json_object_object_get(json, "stringData");
    struct json_object *base64 = json_object_object_get(json, "data");
    add(text, "tls.crt", data + 1, cut - 1);
    add(text, "tls.key", data + cut, size - cut);
    add(base64, "ca.crt", data + 1, size - 1);
    struct object *first = read_secret(json);
    struct object *second = read_secret(json);
    BUG_ON(!material_equal(first->material, second->material));
    BUG_ON(material_is_sound(first->material) != material_is_sound(second->material));
    BUG_ON(memcmp(first->material->pair_digest, second->material->pair_digest,
                  TLS_DIGEST_LEN) != 0);
    tls_leaf_covers(&first->material->leaf, SLICE("a.example.com"));
    object_unref(first);
    object_unref(second);
    json_object_put(json);
    return 0;
}
