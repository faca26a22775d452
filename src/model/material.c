#include "model/material.h"

#include <errno.h>
#include <stdlib.h>

#include "base/base64.h"
#include "model/reader.h"

enum { ENTRIES_MAX = 1024 };

const struct material_entry *material_find(const struct material *material, struct slice key)
{
    for (size_t i = 0; i < material->entries.len; i++) {
        if (slice_eq(material->entries.items[i].key, key)) {
            return &material->entries.items[i];
        }
    }
    return NULL;
}

static bool holds_certificates(const struct material_entry *entry)
{
    return slice_find(entry->pem, SLICE("-----BEGIN CERTIFICATE-----")) >= 0;
}

bool material_is_sound(const struct material *material)
{
    bool sound = !material->has_pair || material->pair_problem.len == 0;
    for (size_t i = 0; i < material->entries.len; i++) {
        const struct material_entry *entry = &material->entries.items[i];
        sound = sound && (entry->problem.len == 0 || !holds_certificates(entry));
    }
    return sound;
}

bool material_equal(const struct material *a, const struct material *b)
{
    bool equal = a->entries.len == b->entries.len;
    for (size_t i = 0; i < a->entries.len && equal; i++) {
        equal = slice_eq(a->entries.items[i].key, b->entries.items[i].key) &&
                slice_eq(a->entries.items[i].pem, b->entries.items[i].pem);
    }
    return equal;
}

// ---- reading ----

static int compare_entries(const void *a, const void *b)
{
    return slice_cmp(((const struct material_entry *)a)->key,
                     ((const struct material_entry *)b)->key);
}

// Judges what is under one key as a list of authorities. 0 or -ENOMEM.
static int judge_entry(struct arena *arena, struct material_entry *entry)
{
    struct error err = ERROR_INIT;
    entry->problem = SLICE("");
    if (!tls_digest(&entry->pem, 1, entry->digest)) {
        return -ENOMEM;
    }
    int rc = entry->pem.len > 0 ? tls_pem_check_trust(entry->pem, &err)
                                : error_set(&err, -EINVAL, "it is no PEM");
    if (rc == -EINVAL) {
        entry->problem = arena_dup(arena, slice_of_str(err.text));
    }
    return rc == -ENOMEM || entry->problem.ptr == NULL ? -ENOMEM : 0;
}

// Keeps the value when it is PEM. 0 or -ENOMEM.
static int add_entry(struct arena *arena, struct material *material, const char *key,
                     struct slice value)
{
    struct material_entry *entry = NULL;
    if (material->entries.len == ENTRIES_MAX) {
        return 0;
    }
    entry = &material->entries.items[material->entries.len];
    *entry = (struct material_entry){.key = arena_dup(arena, slice_of_str(key)),
                                     .pem = SLICE("")};
    if (value.len <= TLS_PEM_MAX && slice_find(value, SLICE("-----BEGIN ")) >= 0) {
        entry->pem = arena_dup(arena, value);
    }
    if (entry->key.ptr == NULL || entry->pem.ptr == NULL || judge_entry(arena, entry) < 0) {
        return -ENOMEM;
    }
    material->entries.len++;
    return 0;
}

// The map `member`; its values are base64 in a Secret's data, text elsewhere. What is no string, or
// no base64, counts as no PEM.
static int add_entries(struct object *object, struct json_object *json, const char *member,
                       bool is_base64)
{
    struct json_object *map = reader_object(json, member);
    int rc = 0;
    if (map == NULL) {
        return 0;
    }
    json_object_object_foreach(map, key, value) {
        struct slice text = SLICE("");
        char *decoded = NULL;
        if (rc < 0 || material_find(object->material, slice_of_str(key)) != NULL) {
            continue; // stringData is written over data: it is read first
        }
        if (json_object_is_type(value, json_type_string)) {
            text = slice_of(json_object_get_string(value),
                            (size_t)json_object_get_string_len(value));
        }
        if (is_base64) {
            size_t len = 0;
            decoded = base64_decode(text, &len);
            text = decoded != NULL ? slice_of(decoded, len) : SLICE("");
        }
        rc = add_entry(&object->arena, object->material, key, text);
        if (decoded != NULL) {
            explicit_bzero(decoded, text.len);
        }
        free(decoded);
    }
    return rc;
}

static size_t count_members(struct json_object *json, const char *member)
{
    struct json_object *map = reader_object(json, member);
    return map != NULL ? (size_t)json_object_object_length(map) : 0;
}

// 0 or -ENOMEM.
static int judge_pair(struct arena *arena, struct material *material)
{
    const struct material_entry *certificate = material_find(material, MATERIAL_CERTIFICATE);
    const struct material_entry *key = material_find(material, MATERIAL_KEY);
    struct error err = ERROR_INIT;
    int rc = 0;
    material->has_pair = certificate != NULL || key != NULL;
    material->pair_problem = SLICE("");
    if (certificate == NULL || key == NULL) {
        rc = error_set(&err, -EINVAL, "it has no %s", certificate == NULL ? "tls.crt" : "tls.key");
    } else {
        const struct slice parts[] = {certificate->pem, key->pem};
        rc = tls_digest(parts, ARRAY_LEN(parts), material->pair_digest)
                 ? tls_pem_check_identity(certificate->pem, key->pem, arena, &material->leaf, &err)
                 : -ENOMEM;
    }
    if (rc == -EINVAL) {
        material->pair_problem = arena_dup(arena, slice_of_str(err.text));
    }
    return rc == -ENOMEM || material->pair_problem.ptr == NULL ? -ENOMEM : 0;
}

int reader_material(struct object *object, struct json_object *json)
{
    bool is_secret = object->kind == OBJECT_SECRET;
    const char *extra = is_secret ? "stringData" : "binaryData";
    size_t n = MIN_OF(count_members(json, "data") + count_members(json, extra),
                      (size_t)ENTRIES_MAX);
    struct material *material = ARENA_NEW(&object->arena, struct material);
    if (material == NULL) {
        return -ENOMEM;
    }
    object->material = material;
    material->entries.items = ARENA_ARRAY(&object->arena, struct material_entry, n);
    int rc = n > 0 && material->entries.items == NULL ? -ENOMEM : 0;
    rc = rc == 0 ? add_entries(object, json, extra, !is_secret) : rc;
    rc = rc == 0 ? add_entries(object, json, "data", is_secret) : rc;
    if (rc == 0 && material->entries.len > 1) {
        qsort(material->entries.items, material->entries.len, sizeof(struct material_entry),
              compare_entries);
    }
    return rc == 0 ? judge_pair(&object->arena, material) : rc;
}
