#include "kube/object.h"

#include <string.h>

void kube_escape_add(struct strbuf *to, struct slice text)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     (c != '\0' && strchr("-._~", c) != NULL);
        if (plain) {
            strbuf_add_char(to, (char)c);
        } else {
            const char escape[3] = {'%', hex[c >> 4], hex[c & 15]};
            strbuf_add(to, slice_of(escape, sizeof(escape)));
        }
    }
}

static void add_segment(struct strbuf *path, const char *text)
{
    strbuf_add_char(path, '/');
    kube_escape_add(path, slice_of_str(text));
}

void kube_path_add(struct strbuf *path, const struct kube_resource *resource,
                   const char *namespace_name, const char *name, const char *subresource)
{
    bool core = strchr(resource->api_version, '/') == NULL;
    strbuf_add_str(path, core ? "/api/" : "/apis/");
    strbuf_add_str(path, resource->api_version);
    if (namespace_name != NULL && *namespace_name != '\0') {
        strbuf_add_str(path, "/namespaces");
        add_segment(path, namespace_name);
    }
    add_segment(path, resource->plural);
    if (name != NULL && *name != '\0') {
        add_segment(path, name);
    }
    if (subresource != NULL && *subresource != '\0') {
        add_segment(path, subresource);
    }
}

struct slice kube_get_str(struct json_object *object, const char *a, const char *b)
{
    struct json_object *node = object;
    const char *const names[] = {a, b};
    for (size_t i = 0; i < ARRAY_LEN(names) && names[i] != NULL; i++) {
        struct json_object *next = NULL;
        if (!json_object_is_type(node, json_type_object) ||
            !json_object_object_get_ex(node, names[i], &next)) {
            return SLICE_NULL;
        }
        node = next;
    }
    if (!json_object_is_type(node, json_type_string)) {
        return SLICE_NULL;
    }
    return slice_of(json_object_get_string(node), (size_t)json_object_get_string_len(node));
}

bool kube_meta_read(struct json_object *object, struct kube_meta *ret)
{
    struct json_object *meta = NULL;
    struct json_object *generation = NULL;
    if (!json_object_is_type(object, json_type_object) ||
        !json_object_object_get_ex(object, "metadata", &meta) ||
        !json_object_is_type(meta, json_type_object)) {
        return false;
    }
    struct kube_meta m = {
        .namespace_name = kube_get_str(meta, "namespace", NULL),
        .name = kube_get_str(meta, "name", NULL),
        .uid = kube_get_str(meta, "uid", NULL),
        .version = kube_get_str(meta, "resourceVersion", NULL),
    };
    if (json_object_object_get_ex(meta, "generation", &generation) &&
        json_object_is_type(generation, json_type_int)) {
        m.generation = json_object_get_int64(generation);
    }
    if (m.name.len == 0) {
        return false;
    }
    *ret = m;
    return true;
}

void kube_key_add(struct strbuf *to, struct slice namespace_name, struct slice name)
{
    if (namespace_name.len > 0) {
        strbuf_add(to, namespace_name);
        strbuf_add_char(to, '/');
    }
    strbuf_add(to, name);
}

void kube_strip(struct json_object *object)
{
    struct json_object *meta = NULL;
    struct json_object *annotations = NULL;
    if (!json_object_is_type(object, json_type_object) ||
        !json_object_object_get_ex(object, "metadata", &meta) ||
        !json_object_is_type(meta, json_type_object)) {
        return;
    }
    json_object_object_del(meta, "managedFields");
    if (json_object_object_get_ex(meta, "annotations", &annotations) &&
        json_object_is_type(annotations, json_type_object)) {
        json_object_object_del(annotations, "kubectl.kubernetes.io/last-applied-configuration");
    }
}

static bool is_decimal(struct slice s)
{
    if (s.len == 0 || (s.ptr[0] == '0' && s.len > 1)) {
        return false;
    }
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9') {
            return false;
        }
    }
    return true;
}

int kube_version_compare(struct slice a, struct slice b, bool *ret_known)
{
    *ret_known = true;
    if (slice_eq(a, b)) {
        return 0;
    }
    if (!is_decimal(a) || !is_decimal(b)) {
        *ret_known = false;
        return 0;
    }
    if (a.len != b.len) { // no leading zeros: longer is larger, whatever the size of the number
        return a.len < b.len ? -1 : 1;
    }
    return slice_cmp(a, b);
}
