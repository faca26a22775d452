#include "manifest/manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "json/yaml_json.h"
#include "model/closest.h"
#include "model/reader.h"

static const struct slice default_namespace = SLICE("default");

void manifest_fini(struct manifest *manifest)
{
    for (size_t i = 0; i < manifest->objects.len; i++) {
        object_unref(manifest->objects.items[i]);
    }
    VEC_FINI(&manifest->objects);
    manifest->ignored = 0;
}

bool manifest_has_problems(const struct manifest *manifest)
{
    for (size_t i = 0; i < manifest->objects.len; i++) {
        if (problems_any(&manifest->objects.items[i]->problems)) {
            return true;
        }
    }
    return false;
}

// A kind of our group that does not exist is a mistake; any other kind is somebody else's.
static int unknown_kind(const char *api_version, const char *kind, const char *name, int line,
                        struct error *err)
{
    static const char *const kinds[] = {"AIRoute", "ModelBackend", NULL};
    if (strncasecmp(api_version, "headrace.dev/", 13) != 0) {
        return 0;
    }
    const char *closest = closest_name(kind, kinds);
    return error_set(err, -EINVAL, "%s:%d: there is no %s %s%s%s%s", name, line, api_version, kind,
                     closest != NULL ? ", did you mean headrace.dev/v1alpha1 " : "",
                     closest != NULL ? closest : "", closest != NULL ? "?" : "");
}

static int add_object(struct manifest *manifest, struct json_object *json, const char *name,
                      int line, struct error *err)
{
    const char *api_version = reader_text(json, "apiVersion");
    const char *kind_text = reader_text(json, "kind");
    if (!json_object_is_type(json, json_type_object) || api_version == NULL || kind_text == NULL) {
        return error_set(err, -EINVAL, "%s:%d: not a Kubernetes object: needs apiVersion and kind",
                         name, line);
    }
    enum object_kind kind;
    if (object_kind_find(api_version, kind_text, &kind) < 0) {
        manifest->ignored++;
        return unknown_kind(api_version, kind_text, name, line, err);
    }
    struct object_origin origin = {
        .file = slice_of_str(name),
        .line = line,
        .strict = true,
        .default_namespace = default_namespace,
    };
    struct object *object;
    int rc = object_read(kind, json, &origin, &object, err);
    if (rc < 0) {
        return error_prefix(err, rc, "%s:%d", name, line);
    }
    if (manifest->objects.len >= MANIFEST_OBJECTS_MAX || !VEC_PUSH(&manifest->objects, object)) {
        object_unref(object);
        return error_set(err, -E2BIG, "%s:%d: too many objects", name, line);
    }
    return 0;
}

// A document: one object, or a List of them as `kubectl get -o yaml` prints it.
static int add_document(struct manifest *manifest, struct json_object *json, const char *name,
                        int line, struct error *err)
{
    const char *kind = reader_text(json, "kind");
    struct json_object *items = reader_array(json, "items");
    if (kind == NULL || strcmp(kind, "List") != 0 || items == NULL) {
        return add_object(manifest, json, name, line, err);
    }
    for (size_t i = 0; i < json_object_array_length(items); i++) {
        struct json_object *item = json_object_array_get_idx(items, i);
        int item_line = yaml_json_line(item);
        int rc = add_object(manifest, item, name, item_line > 0 ? item_line : line, err);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

int manifest_parse(struct slice text, const char *name, struct manifest *ret, struct error *err)
{
    struct manifest manifest = {0};
    struct yaml_json *reader = yaml_json_new(text, name, NULL);
    int rc = reader == NULL ? error_set(err, -ENOMEM, "%s: out of memory", name) : 1;
    while (rc > 0) {
        struct json_object *json = NULL;
        rc = yaml_json_next(reader, &json, err);
        if (rc > 0 && json != NULL) {
            int line = yaml_json_line(json);
            int add_rc = add_document(&manifest, json, name,
                                      line > 0 ? line : yaml_json_doc_line(reader), err);
            rc = add_rc < 0 ? add_rc : rc;
        }
        json_object_put(json);
    }
    yaml_json_free(reader);
    if (rc < 0) {
        manifest_fini(&manifest);
        return rc;
    }
    *ret = manifest;
    return 0;
}

static int read_all(int fd, const char *path, char **ret_text, size_t *ret_len, struct error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0) {
        return error_set(err, -errno, "%s: %s", path, strerror(errno));
    }
    if (!S_ISREG(st.st_mode)) {
        return error_set(err, -EINVAL, "%s: not a regular file", path);
    }
    if (st.st_size > MANIFEST_BYTES_MAX) {
        return error_set(err, -EFBIG, "%s: larger than %d bytes", path, MANIFEST_BYTES_MAX);
    }
    size_t size = (size_t)st.st_size;
    size_t len = 0;
    char *text = malloc(size + 1);
    if (text == NULL) {
        return error_set(err, -ENOMEM, "%s: out of memory", path);
    }
    while (len < size) {
        ssize_t n = read(fd, text + len, size - len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            int code = -errno;
            free(text);
            return error_set(err, code, "%s: %s", path, strerror(-code));
        }
        if (n == 0) {
            break; // cut meanwhile: the next change event reads it again
        }
        len += (size_t)n;
    }
    *ret_text = text;
    *ret_len = len;
    return 0;
}

int manifest_read(const char *path, struct manifest *ret, struct error *err)
{
    char *text = NULL;
    size_t len = 0;
    // Not blocking: a pipe in the place of a file must not hold up the thread.
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return error_set(err, -errno, "%s: %s", path, strerror(errno));
    }
    int rc = read_all(fd, path, &text, &len, err);
    close(fd);
    if (rc == 0) {
        rc = manifest_parse(slice_of(text, len), path, ret, err);
    }
    free(text);
    return rc;
}
