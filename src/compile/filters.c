// What a rule does with requests besides choosing a backend, compiled.
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "compile/build.h"

// ---- header fields ----

static struct header_edit *compile_edit(struct build *build, const struct airoute_header_edit *from)
{
    struct header_edit *out = build_alloc(build, 1, sizeof(*out));
    struct slice *drops = build_alloc(build, from->set.len + from->remove.len, sizeof(*drops));
    struct http_header *adds = build_alloc(build, from->set.len + from->add.len, sizeof(*adds));
    if (build->failed) {
        return NULL;
    }
    for (size_t i = 0; i < from->remove.len; i++) {
        drops[out->drop_count++] = build_lower(build, from->remove.items[i]);
    }
    for (size_t i = 0; i < from->set.len + from->add.len; i++) {
        bool set = i < from->set.len;
        const struct airoute_header *field =
            set ? &from->set.items[i] : &from->add.items[i - from->set.len];
        struct slice name = build_lower(build, field->name);
        adds[out->add_count++] = (struct http_header){
            .name = name,
            .value = build_keep(build, field->value),
            .token = (uint16_t)http_token_find(name),
        };
        if (set) {
            drops[out->drop_count++] = name;
        }
    }
    out->drops = drops;
    out->adds = adds;
    header_edit_index(out);
    return build->failed ? NULL : out;
}

// ---- paths, answers ----

// What a prefix may be: the paths of the rule's matches; "/" is the empty one, which needs no row.
static void list_prefixes(struct build *build, const struct airoute_rule *rule,
                          struct path_change *out)
{
    struct slice *prefixes = build_alloc(build, rule->matches.len, sizeof(*prefixes));
    for (size_t i = 0; i < rule->matches.len && !build->failed; i++) {
        const struct airoute_path_match *path = rule->matches.items[i].path;
        struct slice text = path != NULL ? path->value : SLICE("");
        while (path != NULL && path->type == MATCH_PREFIX && text.len > 0 &&
               text.ptr[text.len - 1] == '/') {
            text.len--;
        }
        if (text.len > 0) {
            prefixes[out->prefix_count++] = build_keep(build, text);
        }
    }
    out->prefixes = prefixes;
}

static void compile_change(struct build *build, const struct airoute_rule *rule,
                           const struct airoute_path_change *from, struct path_change *out)
{
    out->value = build_keep(build, from->value);
    if (from->type == PATH_REPLACE_PREFIX) {
        out->type = PATH_CHANGE_PREFIX;
        list_prefixes(build, rule, out);
    } else {
        out->type = PATH_CHANGE_FULL;
    }
}

static struct redirect *compile_redirect(struct build *build, const struct airoute_rule *rule)
{
    static const struct slice schemes[] = {
        [REDIRECT_SCHEME_AS_ASKED] = SLICE(""),
        [REDIRECT_SCHEME_HTTP] = SLICE("http"),
        [REDIRECT_SCHEME_HTTPS] = SLICE("https"),
    };
    const struct airoute_redirect *from = rule->redirect;
    struct redirect *out = build_alloc(build, 1, sizeof(*out));
    if (out == NULL) {
        return NULL;
    }
    out->scheme = schemes[from->scheme];
    out->hostname = build_keep(build, from->hostname);
    out->port = (uint16_t)from->port;
    if (from->path != NULL) {
        compile_change(build, rule, from->path, &out->path);
    }
    return out;
}

static struct snap_answer *compile_answer(struct build *build, const struct airoute_rule *rule)
{
    struct snap_answer *out = build_alloc(build, 1, sizeof(*out));
    if (out == NULL) {
        return NULL;
    }
    if (rule->redirect != NULL) {
        out->status = (unsigned)rule->redirect->status_code;
        out->redirect = compile_redirect(build, rule);
        return out;
    }
    const struct airoute_fixed_response *fixed = rule->fixed_response;
    out->status = (unsigned)fixed->status;
    out->body = build_keep(build, fixed->body);
    out->content_type =
        fixed->body.len != 0 ? build_keep(build, fixed->content_type) : SLICE("");
    return out;
}

// ---- CORS ----

struct texts {
    const struct slice *items;
    size_t count;
};

static bool has_star(struct texts texts)
{
    for (size_t i = 0; i < texts.count; i++) {
        if (slice_eq(texts.items[i], SLICE("*"))) {
            return true;
        }
    }
    return false;
}

static struct slice joined(struct build *build, struct texts texts)
{
    struct strbuf text;
    strbuf_init(&text, 64 * 1024);
    for (size_t i = 0; i < texts.count; i++) {
        strbuf_add(&text, i > 0 ? SLICE(", ") : SLICE(""));
        strbuf_add(&text, texts.items[i]);
    }
    build->failed = build->failed || text.failed;
    struct slice kept = build_keep(build, strbuf_slice(&text));
    strbuf_fini(&text);
    return kept;
}

#define TEXTS(list) ((struct texts){(list).items, (list).len})

static struct cors_policy *compile_cors(struct build *build, const struct airoute_cors *from)
{
    struct cors_policy *out = build_alloc(build, 1, sizeof(*out));
    struct cors_origin *origins =
        build_alloc(build, from->allow_origins.len, sizeof(struct cors_origin));
    char seconds[SLICE_U64_MAX];
    if (build->failed) {
        return NULL;
    }
    for (size_t i = 0; i < from->allow_origins.len; i++) {
        struct slice origin = build_keep(build, from->allow_origins.items[i]);
        origins[out->origin_count++] = cors_origin_parse(origin);
    }
    size_t digits = slice_print_u64((uint64_t)from->max_age_ms / 1000, seconds);
    out->origins = origins;
    out->any_origin = has_star(TEXTS(from->allow_origins));
    out->any_method = has_star(TEXTS(from->allow_methods));
    out->any_header = has_star(TEXTS(from->allow_headers));
    out->credentials = from->allow_credentials;
    out->methods = joined(build, TEXTS(from->allow_methods));
    out->headers = joined(build, TEXTS(from->allow_headers));
    out->expose = joined(build, TEXTS(from->expose_headers));
    out->max_age = build_keep(build, slice_of(seconds, digits));
    return out;
}

// ---- sessions ----

static struct slice cookie_attributes(struct build *build,
                                      const struct airoute_affinity_cookie *cookie)
{
    static const char *const same_site[] = {
        [SAME_SITE_LAX] = "Lax", [SAME_SITE_STRICT] = "Strict", [SAME_SITE_NONE] = "None"};
    struct strbuf text;
    strbuf_init(&text, 1024);
    strbuf_printf(&text, "; Path=%.*s", SLICE_FMT(cookie->path));
    if (cookie->ttl_ms > 0) {
        strbuf_printf(&text, "; Max-Age=%lld", (long long)(cookie->ttl_ms / 1000));
    }
    strbuf_printf(&text, "; HttpOnly; SameSite=%s", same_site[cookie->same_site]);
    build->failed = build->failed || text.failed;
    struct slice kept = build_keep(build, strbuf_slice(&text));
    strbuf_fini(&text);
    return kept;
}

// Secret from clients, and the same in every replica and after every restart: of the object's uid.
// Without one (files) it is the process's own, and sessions begin anew when that does.
static struct siphash_key tag_key(const struct object *route)
{
    static const struct siphash_key halves[2] = {{{1, 0}}, {{2, 0}}};
    struct siphash_key key;
    uint64_t own = hash_bytes(route->key);
    struct slice seed = route->uid.len != 0 ? route->uid : slice_of((char *)&own, sizeof(own));
    for (int i = 0; i < 2; i++) {
        key.words[i] = siphash(&halves[i], seed);
    }
    return key;
}

static struct snap_affinity *compile_affinity(struct build *build, const struct object *route,
                                              const struct airoute_affinity *from)
{
    struct snap_affinity *out = build_alloc(build, 1, sizeof(*out));
    if (out == NULL) {
        return NULL;
    }
    if (from->cookie == NULL) {
        out->header = build_lower(build, from->header);
        return out;
    }
    out->cookie_name = build_keep(build, from->cookie->name);
    out->cookie_attributes = cookie_attributes(build, from->cookie);
    out->cookie_secure = from->cookie->same_site == SAME_SITE_NONE;
    out->key = tag_key(route);
    return out;
}

void build_filters(struct build *build, const struct object *route,
                   const struct airoute_rule *rule, struct snap_rule *out)
{
    if (rule->redirect != NULL || rule->fixed_response != NULL) {
        out->answer = compile_answer(build, rule);
    }
    if (rule->path_rewrite != NULL) {
        struct path_change *change = build_alloc(build, 1, sizeof(*change));
        if (change != NULL) {
            compile_change(build, rule, rule->path_rewrite, change);
        }
        out->path_rewrite = change;
    }
    if (rule->request_headers != NULL) {
        out->request_edit = compile_edit(build, rule->request_headers);
    }
    if (rule->response_headers != NULL) {
        out->response_edit = compile_edit(build, rule->response_headers);
    }
    if (rule->cors != NULL) {
        out->cors = compile_cors(build, rule->cors);
    }
    if (rule->session_affinity != NULL) {
        out->affinity = compile_affinity(build, route, rule->session_affinity);
    }
}
