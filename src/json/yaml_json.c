#include "json/yaml_json.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/vec.h"
#include "json/yaml_scalar.h"

enum {
    DEFAULT_MAX_BYTES = 16 << 20,
    DEFAULT_MAX_DEPTH = 64,
    HARD_MAX_DEPTH = 256, // json_object_put and _deep_copy recurse, so the depth must stay small
    DEFAULT_MAX_NODES = 1 << 20,
    MAX_ANCHORS = 4096,
};

// A mapping or sequence that is being read.
struct frame {
    struct json_object *node;
    struct json_object *merges; // what "<<" named, applied when the mapping ends; or NULL
    char *key;                  // of the value to come; NULL while a key is expected
    char *anchor;               // takes node when it is complete
    size_t nodes_before;
    bool key_is_merge;
};

struct anchor {
    char *name;
    struct json_object *node;
    size_t weight; // nodes that an alias to it stands for
};

struct yaml_json {
    yaml_parser_t parser;
    struct yaml_json_limits limits;
    char *name;
    VEC(struct frame) frames;
    VEC(struct anchor) anchors;
    size_t nodes;
    int doc_line;
    int failed; // the code of the first failure
    bool begun;
    bool ended;
};

static int fail(struct yaml_json *r, size_t line, int code, struct error *err, const char *fmt, ...)
    PRINTF_LIKE(5, 6);

static int fail(struct yaml_json *r, size_t line, int code, struct error *err, const char *fmt, ...)
{
    char why[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(why, sizeof(why), fmt, args);
    va_end(args);
    r->failed = code;
    return error_set(err, code, "%s:%zu: %s", r->name, line + 1, why);
}

static int fail_oom(struct yaml_json *r, struct error *err)
{
    r->failed = -ENOMEM;
    return error_set(err, -ENOMEM, "%s: out of memory", r->name);
}

struct yaml_json *yaml_json_new(struct slice text, const char *name,
                                const struct yaml_json_limits *limits)
{
    struct yaml_json *r = calloc(1, sizeof(*r));
    if (r == NULL) {
        return NULL;
    }
    r->name = strdup(name != NULL ? name : "(yaml)");
    if (r->name == NULL || !yaml_parser_initialize(&r->parser)) {
        free(r->name);
        free(r);
        return NULL;
    }
    if (limits != NULL) {
        r->limits = *limits;
    }
    if (r->limits.max_bytes == 0) {
        r->limits.max_bytes = DEFAULT_MAX_BYTES;
    }
    if (r->limits.max_depth == 0) {
        r->limits.max_depth = DEFAULT_MAX_DEPTH;
    }
    r->limits.max_depth = MIN_OF(r->limits.max_depth, (unsigned int)HARD_MAX_DEPTH);
    if (r->limits.max_nodes == 0) {
        r->limits.max_nodes = DEFAULT_MAX_NODES;
    }
    if (text.len > r->limits.max_bytes) {
        r->failed = -E2BIG;
    } else {
        if (slice_has_prefix(text, SLICE("\xEF\xBB\xBF"))) {
            text = slice_skip(text, 3); // a byte order mark, as some editors write it
        }
        const char *ptr = text.ptr != NULL ? text.ptr : "";
        yaml_parser_set_input_string(&r->parser, (const unsigned char *)ptr, text.len);
        yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
    }
    return r;
}

static void drop_frame(struct frame *f)
{
    json_object_put(f->node);
    json_object_put(f->merges);
    free(f->key);
    free(f->anchor);
}

static void drop_document_state(struct yaml_json *r)
{
    for (size_t i = 0; i < r->frames.len; i++) {
        drop_frame(&r->frames.items[i]);
    }
    r->frames.len = 0;
    for (size_t i = 0; i < r->anchors.len; i++) {
        free(r->anchors.items[i].name);
        json_object_put(r->anchors.items[i].node);
    }
    r->anchors.len = 0;
}

void yaml_json_free(struct yaml_json *r)
{
    if (r == NULL) {
        return;
    }
    drop_document_state(r);
    VEC_FINI(&r->frames);
    VEC_FINI(&r->anchors);
    yaml_parser_delete(&r->parser);
    free(r->name);
    free(r);
}

int yaml_json_doc_line(const struct yaml_json *r)
{
    return r->doc_line;
}

int yaml_json_line(struct json_object *node)
{
    if (node == NULL || json_object_get_type(node) == json_type_double) {
        return 0; // json-c keeps a double's own spelling in its userdata
    }
    return (int)(intptr_t)json_object_get_userdata(node);
}

static void mark(struct json_object *node, size_t line)
{
    if (node != NULL && json_object_get_type(node) != json_type_double) {
        json_object_set_userdata(node, (void *)(intptr_t)(line + 1), NULL);
    }
}

static int copy_with_mark(struct json_object *src, struct json_object *parent, const char *key,
                          size_t index, struct json_object **dst)
{
    int rc = json_c_shallow_copy_default(src, parent, key, index, dst);
    if (rc < 1 || json_object_get_type(src) == json_type_double) {
        return rc;
    }
    json_object_set_userdata(*dst, json_object_get_userdata(src), NULL);
    return 2; // json-c: the userdata is done, do not copy it
}

struct json_object *yaml_json_copy(struct json_object *node)
{
    struct json_object *copy = NULL;
    if (node == NULL || json_object_deep_copy(node, &copy, copy_with_mark) != 0) {
        return NULL;
    }
    return copy;
}

// ---- scalars ----

// What the tag asks for, checked against what the text is.
static int resolve_event(struct yaml_json *r, const yaml_event_t *event, struct yaml_scalar *ret,
                         struct error *err)
{
    const char *text = (const char *)event->data.scalar.value;
    size_t len = event->data.scalar.length;
    const char *tag = (const char *)event->data.scalar.tag;
    size_t line = event->start_mark.line;
    struct yaml_scalar s = {.kind = YAML_SCALAR_TEXT};
    bool plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (tag == NULL || strcmp(tag, "!") == 0) {
        if (plain && tag == NULL) {
            s = yaml_scalar_resolve(text, len);
            if (s.kind == YAML_SCALAR_TEXT && yaml_scalar_is_not_finite(text)) {
                return fail(r, line, -EINVAL, err, "%s is not a number that JSON can hold", text);
            }
        }
        *ret = s;
        return 0;
    }
    if (strcmp(tag, YAML_STR_TAG) == 0) {
        *ret = s;
        return 0;
    }
    s = yaml_scalar_resolve(text, len);
    bool is_int = s.kind == YAML_SCALAR_INT || s.kind == YAML_SCALAR_UINT;
    bool fits = (strcmp(tag, YAML_INT_TAG) == 0 && is_int) ||
                (strcmp(tag, YAML_BOOL_TAG) == 0 && s.kind == YAML_SCALAR_BOOL) ||
                (strcmp(tag, YAML_NULL_TAG) == 0 && s.kind == YAML_SCALAR_NULL) ||
                (strcmp(tag, YAML_FLOAT_TAG) == 0 && s.kind == YAML_SCALAR_FLOAT);
    if (!fits) {
        return fail(r, line, -EINVAL, err, "tag %.80s does not fit the value, or is not supported",
                    tag);
    }
    *ret = s;
    return 0;
}

static struct json_object *scalar_node(const struct yaml_scalar *s, const char *text, size_t len)
{
    switch (s->kind) {
    case YAML_SCALAR_BOOL:
        return json_object_new_boolean(s->boolean);
    case YAML_SCALAR_INT:
        return json_object_new_int64(s->i64);
    case YAML_SCALAR_UINT:
        return json_object_new_uint64(s->u64);
    case YAML_SCALAR_FLOAT:
        return json_object_new_double(s->f64);
    case YAML_SCALAR_TEXT:
        return len <= INT32_MAX ? json_object_new_string_len(text, (int)len) : NULL;
    case YAML_SCALAR_NULL:
    default:
        return NULL;
    }
}

// ---- the tree ----

static int set_anchor(struct yaml_json *r, char **take_name, struct json_object *node,
                      size_t weight, size_t line, struct error *err)
{
    for (size_t i = 0; i < r->anchors.len; i++) {
        struct anchor *a = &r->anchors.items[i];
        if (strcmp(a->name, *take_name) == 0) { // YAML: a later anchor hides an earlier one
            json_object_put(a->node);
            a->node = json_object_get(node);
            a->weight = weight;
            free(*take_name);
            *take_name = NULL;
            return 0;
        }
    }
    if (r->anchors.len >= MAX_ANCHORS) {
        return fail(r, line, -E2BIG, err, "more than %d anchors", MAX_ANCHORS);
    }
    struct anchor a = {.name = *take_name, .node = node, .weight = weight};
    if (!VEC_PUSH(&r->anchors, a)) {
        return fail_oom(r, err);
    }
    json_object_get(node);
    *take_name = NULL;
    return 0;
}

static int add_merge(struct yaml_json *r, struct frame *f, struct json_object *node, size_t line,
                     struct error *err)
{
    enum json_type type = json_object_get_type(node);
    bool fits = type == json_type_object || type == json_type_array;
    for (size_t i = 0; type == json_type_array && i < json_object_array_length(node); i++) {
        struct json_object *item = json_object_array_get_idx(node, i);
        fits = fits && json_object_get_type(item) == json_type_object;
    }
    if (!fits || f->merges != NULL) {
        json_object_put(node);
        return fail(r, line, -EINVAL, err, "\"<<\" needs one mapping, or a list of mappings");
    }
    f->merges = node;
    return 0;
}

// Puts a complete node where it belongs: into the frame on top, or out as the document.
static int place(struct yaml_json *r, struct json_object *node, size_t line,
                 struct json_object **root, struct error *err)
{
    if (r->frames.len == 0) {
        *root = node;
        return 0;
    }
    struct frame *f = &r->frames.items[r->frames.len - 1];
    if (json_object_get_type(f->node) == json_type_array) {
        if (json_object_array_add(f->node, node) != 0) {
            json_object_put(node);
            return fail_oom(r, err);
        }
        return 0;
    }
    if (f->key == NULL) {
        json_object_put(node);
        return fail(r, line, -EINVAL, err, "a mapping's key must be a plain value");
    }
    int rc = 0;
    if (f->key_is_merge) {
        rc = add_merge(r, f, node, line, err);
    } else if (json_object_object_add(f->node, f->key, node) != 0) {
        json_object_put(node);
        rc = fail_oom(r, err);
    }
    free(f->key);
    f->key = NULL;
    return rc;
}

static int count_nodes(struct yaml_json *r, size_t n, size_t line, struct error *err)
{
    if (n > r->limits.max_nodes - r->nodes) {
        return fail(r, line, -E2BIG, err, "more than %zu values (aliases counted as expanded)",
                    r->limits.max_nodes);
    }
    r->nodes += n;
    return 0;
}

static int take_key(struct yaml_json *r, struct frame *f, const yaml_event_t *event,
                    struct error *err)
{
    const char *text = (const char *)event->data.scalar.value;
    size_t len = event->data.scalar.length;
    size_t line = event->start_mark.line;
    struct yaml_scalar s;
    int rc = resolve_event(r, event, &s, err);
    if (rc != 0) {
        return rc;
    }
    if (s.kind == YAML_SCALAR_NULL || strlen(text) != len) {
        return fail(r, line, -EINVAL, err, "a mapping's key must be text");
    }
    const char *key = s.kind == YAML_SCALAR_BOOL ? (s.boolean ? "true" : "false") : text;
    f->key_is_merge = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
                      event->data.scalar.tag == NULL && strcmp(text, "<<") == 0;
    if (!f->key_is_merge && json_object_object_get_ex(f->node, key, NULL)) {
        return fail(r, line, -EINVAL, err, "key \"%.80s\" appears twice", key);
    }
    f->key = strdup(key);
    if (f->key == NULL) {
        return fail_oom(r, err);
    }
    if (event->data.scalar.anchor != NULL) {
        struct json_object *node = scalar_node(&s, text, len);
        mark(node, line);
        char *name = strdup((const char *)event->data.scalar.anchor);
        rc = name == NULL ? fail_oom(r, err) : set_anchor(r, &name, node, 1, line, err);
        free(name);
        json_object_put(node);
    }
    return rc;
}

static int on_scalar(struct yaml_json *r, const yaml_event_t *event, struct json_object **root,
                     struct error *err)
{
    size_t line = event->start_mark.line;
    int rc = count_nodes(r, 1, line, err);
    if (rc != 0) {
        return rc;
    }
    struct frame *f = r->frames.len > 0 ? &r->frames.items[r->frames.len - 1] : NULL;
    if (f != NULL && f->key == NULL && json_object_get_type(f->node) == json_type_object) {
        return take_key(r, f, event, err);
    }
    struct yaml_scalar s;
    rc = resolve_event(r, event, &s, err);
    if (rc != 0) {
        return rc;
    }
    struct json_object *node = scalar_node(&s, (const char *)event->data.scalar.value,
                                           event->data.scalar.length);
    if (node == NULL && s.kind != YAML_SCALAR_NULL) {
        return fail_oom(r, err);
    }
    mark(node, line);
    if (event->data.scalar.anchor != NULL) {
        char *name = strdup((const char *)event->data.scalar.anchor);
        rc = name == NULL ? fail_oom(r, err) : set_anchor(r, &name, node, 1, line, err);
        free(name);
        if (rc != 0) {
            json_object_put(node);
            return rc;
        }
    }
    return place(r, node, line, root, err);
}

static int on_alias(struct yaml_json *r, const yaml_event_t *event, struct json_object **root,
                    struct error *err)
{
    const char *name = (const char *)event->data.alias.anchor;
    size_t line = event->start_mark.line;
    for (size_t i = 0; i < r->anchors.len; i++) {
        struct anchor *a = &r->anchors.items[i];
        if (strcmp(a->name, name) != 0) {
            continue;
        }
        int rc = count_nodes(r, a->weight, line, err);
        if (rc != 0) {
            return rc;
        }
        // A copy, so that whoever fills in defaults at one place does not change the other.
        struct json_object *copy = yaml_json_copy(a->node);
        if (copy == NULL && a->node != NULL) {
            return fail_oom(r, err);
        }
        return place(r, copy, line, root, err);
    }
    return fail(r, line, -EINVAL, err, "alias *%.80s has no anchor before it", name);
}

static int on_start(struct yaml_json *r, struct json_object *node, const yaml_char_t *anchor,
                    const yaml_char_t *tag, const char *usual_tag, size_t line, struct error *err)
{
    struct frame f = {.node = node, .nodes_before = r->nodes};
    int rc = 0;
    if (node == NULL) {
        return fail_oom(r, err);
    }
    mark(node, line);
    if (r->frames.len >= r->limits.max_depth) {
        rc = fail(r, line, -E2BIG, err, "nested deeper than %u", r->limits.max_depth);
    } else if (tag != NULL && strcmp((const char *)tag, usual_tag) != 0) {
        rc = fail(r, line, -EINVAL, err, "tag %.80s is not supported", (const char *)tag);
    } else {
        rc = count_nodes(r, 1, line, err);
    }
    struct frame *parent = r->frames.len > 0 ? &r->frames.items[r->frames.len - 1] : NULL;
    if (rc == 0 && parent != NULL && parent->key == NULL &&
        json_object_get_type(parent->node) == json_type_object) {
        rc = fail(r, line, -EINVAL, err, "a mapping's key must be a plain value");
    }
    if (rc == 0 && anchor != NULL && (f.anchor = strdup((const char *)anchor)) == NULL) {
        rc = fail_oom(r, err);
    }
    if (rc == 0 && !VEC_PUSH(&r->frames, f)) {
        rc = fail_oom(r, err);
    }
    if (rc != 0) {
        drop_frame(&f);
    }
    return rc;
}

// Earlier mappings win over later ones, and the mapping's own keys over all.
static int merge_from(struct yaml_json *r, struct json_object *into, struct json_object *from,
                      struct error *err)
{
    json_object_object_foreach(from, key, value) {
        if (json_object_object_get_ex(into, key, NULL)) {
            continue;
        }
        struct json_object *copy = yaml_json_copy(value);
        if ((copy == NULL && value != NULL) || json_object_object_add(into, key, copy) != 0) {
            json_object_put(copy);
            return fail_oom(r, err);
        }
    }
    return 0;
}

static int on_end(struct yaml_json *r, size_t line, struct json_object **root, struct error *err)
{
    struct frame f = r->frames.items[--r->frames.len];
    int rc = 0;
    if (json_object_get_type(f.merges) == json_type_object) {
        rc = merge_from(r, f.node, f.merges, err);
    }
    for (size_t i = 0; rc == 0 && json_object_get_type(f.merges) == json_type_array &&
                       i < json_object_array_length(f.merges);
         i++) {
        rc = merge_from(r, f.node, json_object_array_get_idx(f.merges, i), err);
    }
    if (rc == 0 && f.anchor != NULL) {
        rc = set_anchor(r, &f.anchor, f.node, r->nodes - f.nodes_before, line, err);
    }
    struct json_object *node = f.node;
    f.node = NULL;
    drop_frame(&f);
    if (rc != 0) {
        json_object_put(node);
        return rc;
    }
    return place(r, node, line, root, err);
}

static int on_event(struct yaml_json *r, const yaml_event_t *event, struct json_object **root,
                    struct error *err)
{
    size_t line = event->start_mark.line;
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return on_scalar(r, event, root, err);
    case YAML_ALIAS_EVENT:
        return on_alias(r, event, root, err);
    case YAML_MAPPING_START_EVENT:
        return on_start(r, json_object_new_object(), event->data.mapping_start.anchor,
                        event->data.mapping_start.tag, YAML_MAP_TAG, line, err);
    case YAML_SEQUENCE_START_EVENT:
        return on_start(r, json_object_new_array(), event->data.sequence_start.anchor,
                        event->data.sequence_start.tag, YAML_SEQ_TAG, line, err);
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        return on_end(r, line, root, err);
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_START_EVENT:
    case YAML_DOCUMENT_END_EVENT:
    default:
        return 0;
    }
}

static int parser_failure(struct yaml_json *r, struct error *err)
{
    const yaml_parser_t *p = &r->parser;
    if (p->error == YAML_MEMORY_ERROR) {
        return fail_oom(r, err);
    }
    const char *problem = p->problem != NULL ? p->problem : "cannot be read as YAML";
    if (p->error == YAML_READER_ERROR) {
        return fail(r, p->mark.line, -EINVAL, err, "%s (byte %zu)", problem, p->problem_offset);
    }
    if (p->context != NULL) {
        return fail(r, p->problem_mark.line, -EINVAL, err, "%s, %s", problem, p->context);
    }
    return fail(r, p->problem_mark.line, -EINVAL, err, "%s", problem);
}

int yaml_json_next(struct yaml_json *r, struct json_object **ret_doc, struct error *err)
{
    struct json_object *root = NULL;
    if (r->failed == -E2BIG && !r->begun) {
        return error_set(err, -E2BIG, "%s: larger than %zu bytes", r->name, r->limits.max_bytes);
    }
    r->begun = true;
    while (r->failed == 0 && !r->ended) {
        yaml_event_t event;
        if (!yaml_parser_parse(&r->parser, &event)) {
            parser_failure(r, err);
            break;
        }
        int rc = on_event(r, &event, &root, err);
        yaml_event_type_t type = event.type;
        if (type == YAML_DOCUMENT_START_EVENT) {
            r->doc_line = (int)event.start_mark.line + 1;
        }
        yaml_event_delete(&event);
        if (rc == 0 && type == YAML_DOCUMENT_END_EVENT) {
            drop_document_state(r);
            *ret_doc = root;
            return 1;
        }
        r->ended = r->ended || type == YAML_STREAM_END_EVENT;
    }
    json_object_put(root);
    drop_document_state(r);
    return r->failed;
}

int yaml_json_one(struct slice text, const char *name, const struct yaml_json_limits *limits,
                  struct json_object **ret_doc, struct error *err)
{
    struct yaml_json *r = yaml_json_new(text, name, limits);
    if (r == NULL) {
        return error_set(err, -ENOMEM, "%s: out of memory", name != NULL ? name : "(yaml)");
    }
    struct json_object *doc = NULL;
    struct json_object *second = NULL;
    int rc = yaml_json_next(r, &doc, err);
    if (rc == 1) {
        rc = yaml_json_next(r, &second, err);
        if (rc == 1) {
            rc = fail(r, (size_t)r->doc_line - 1, -EINVAL, err,
                      "a second document is not expected");
        }
    }
    json_object_put(second);
    yaml_json_free(r);
    if (rc < 0) {
        json_object_put(doc);
        return rc;
    }
    *ret_doc = doc;
    return 0;
}
