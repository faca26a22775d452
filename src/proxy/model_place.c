#include "proxy/model_place.h"

#include <errno.h>

#include "ai/oip_grpc.h"
#include "base/utf8.h"
#include "json/write.h"
#include "proxy/reply.h"

enum { KEY_ENCODED_MAX = 3 * 5 }; // "model", each byte as %XX

static bool place(struct request *request, enum model_place where, struct slice name, size_t start,
                  size_t end)
{
    request->model = arena_dup(&request->arena, name);
    request->model_place = where;
    request->model_start = start;
    request->model_end = end;
    if (request->model.ptr == NULL) {
        reply_fault(request, FAULT_INTERNAL, SLICE(""));
        return false;
    }
    return true;
}

static bool of_path(struct request *request)
{
    char buffer[OIP_PATH_BUFFER];
    struct oip_path path;
    if (oip_path_parse(request->head.path, buffer, &path) != 0) {
        reply_fault(request, FAULT_MODEL_INVALID, SLICE(""));
        return false;
    }
    if (path.operation == OIP_NONE) {
        return true;
    }
    request->stream = path.streams;
    return place(request, MODEL_IN_PATH, path.model, path.model_start, path.model_end);
}

// ---- the query ----------------------------------------------------------------------------------

static bool is_model_key(struct slice key)
{
    char decoded[KEY_ENCODED_MAX];
    return key.len <= sizeof(decoded) && slice_eq(h1_path_decode(key, decoded), SLICE("model"));
}

static bool is_sound(struct slice name)
{
    bool sound = name.len > 0 && name.len <= REQUEST_MODEL_MAX;
    while (sound && name.len > 0) {
        size_t len = utf8_char_len(name);
        sound = len > 0 && (unsigned char)name.ptr[0] >= 0x20 && name.ptr[0] != 0x7f;
        name = slice_skip(name, len);
    }
    return sound;
}

static bool of_query(struct request *request)
{
    struct slice query = request->head.query;
    struct slice rest = query;
    struct slice value = SLICE_NULL;
    struct slice pair;
    char name[REQUEST_MODEL_MAX * 3];
    while (slice_split(&rest, '&', &pair)) {
        ptrdiff_t equals = slice_find_byte(pair, '=');
        if (!is_model_key(equals >= 0 ? slice_first(pair, (size_t)equals) : pair)) {
            continue;
        }
        // Twice: the server may take the other one.
        if (value.ptr != NULL || equals < 0 || pair.len - (size_t)equals - 1 > sizeof(name)) {
            reply_fault(request, FAULT_MODEL_INVALID, SLICE(""));
            return false;
        }
        value = slice_skip(pair, (size_t)equals + 1);
    }
    if (value.ptr == NULL) {
        return true;
    }
    struct slice decoded = h1_path_decode(value, name);
    if (!is_sound(decoded) || slice_find_byte(value, '+') >= 0) {
        reply_fault(request, FAULT_MODEL_INVALID, SLICE(""));
        return false;
    }
    size_t start = (size_t)(value.ptr - query.ptr);
    return place(request, MODEL_IN_QUERY, decoded, start, start + value.len);
}

bool model_place_of_target(struct request *request)
{
    if (!of_path(request)) {
        return false;
    }
    return request->model.ptr != NULL || request->head.upgrade.ptr == NULL || of_query(request);
}

// ---- writing ------------------------------------------------------------------------------------

static struct slice quote(struct request *request, struct slice name)
{
    struct strbuf json;
    strbuf_init(&json, REQUEST_MODEL_MAX * 6 + 2);
    json_write_string(&json, name);
    struct slice text = json.failed ? SLICE_NULL : arena_dup(&request->arena, strbuf_slice(&json));
    strbuf_fini(&json);
    return text;
}

// A protobuf string: its length, then the name.
static struct slice as_field(struct request *request, struct slice name)
{
    struct oip_splice splice;
    if (!is_sound(name) || oip_splice_make(request->rpc, name, &splice) != 0) {
        return SLICE_NULL;
    }
    char *text = arena_bytes(&request->arena, splice.length_len + name.len);
    if (text == NULL) {
        return SLICE_NULL;
    }
    memcpy(text, splice.length, splice.length_len);
    memcpy(text + splice.length_len, name.ptr, name.len);
    return slice_of(text, splice.length_len + name.len);
}

struct slice model_place_encode(struct request *request, struct slice name)
{
    char *out;
    switch (request->model_place) {
    case MODEL_IN_PATH:
    case MODEL_IN_QUERY:
        out = arena_bytes(&request->arena, 3 * name.len);
        return out != NULL ? slice_of(out, oip_segment_encode(name, out)) : SLICE_NULL;
    case MODEL_IN_MESSAGE:
        return as_field(request, name);
    case MODEL_IN_FORM:
        return is_sound(name) ? arena_dup(&request->arena, name) : SLICE_NULL;
    default:
        return quote(request, name);
    }
}

static void write_part(const struct request *request, enum model_place where, struct slice part,
                       struct strbuf *out)
{
    if (request->model_sent.ptr == NULL || request->model_place != where) {
        strbuf_add(out, part);
        return;
    }
    strbuf_add(out, slice_first(part, (size_t)request->model_start));
    strbuf_add(out, request->model_sent);
    strbuf_add(out, slice_skip(part, (size_t)request->model_end));
}

static void write_path(const struct request *request, struct strbuf *out)
{
    const struct path_change *change = request->rule->path_rewrite;
    if (LIKELY(change == NULL)) {
        write_part(request, MODEL_IN_PATH, request->head.path, out);
        return;
    }
    struct strbuf path;
    strbuf_init(&path, request->head.path.len + request->model_sent.len + 1);
    write_part(request, MODEL_IN_PATH, request->head.path, &path);
    path_change_write(change, strbuf_slice(&path), out);
    out->failed = out->failed || path.failed;
    strbuf_fini(&path);
}

void model_place_write_target(const struct request *request, struct strbuf *out)
{
    write_path(request, out);
    if (request->head.query.ptr != NULL) {
        strbuf_add_char(out, '?');
        write_part(request, MODEL_IN_QUERY, request->head.query, out);
    }
}
