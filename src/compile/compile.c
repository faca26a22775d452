#include "compile/compile.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "compile/build.h"
#include "compile/tls.h"

struct slice build_keep(struct build *build, struct slice text)
{
    struct slice copy = arena_dup(&build->snapshot->arena, text);
    build->failed = build->failed || copy.ptr == NULL;
    return copy;
}

void *build_alloc(struct build *build, size_t n, size_t size)
{
    void *items = arena_zalloc_array(&build->snapshot->arena, n > 0 ? n : 1, size);
    build->failed = build->failed || items == NULL;
    return items;
}

struct slice build_lower(struct build *build, struct slice text)
{
    char *copy = build_alloc(build, text.len + 1, 1);
    if (copy == NULL) {
        return SLICE_NULL;
    }
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        copy[i] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
    }
    return slice_of(copy, text.len);
}

struct slice build_say(struct build *build, const char *fmt, ...)
{
    char text[CONDITION_MESSAGE_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    struct slice copy = arena_dup(&build->result->arena, slice_of_str(text));
    build->failed = build->failed || copy.ptr == NULL;
    return copy;
}

static struct verdict good(enum condition_reason reason)
{
    return (struct verdict){.holds = true, .reason = reason};
}

static struct verdict invalid_object(struct build *build, const struct object *object)
{
    struct strbuf text;
    strbuf_init(&text, CONDITION_MESSAGE_MAX - 1);
    for (size_t n = object->problems.list.len;; n--) { // as many problems as there is room for
        struct problems some = object->problems;
        some.list.len = n;
        some.dropped += object->problems.list.len - n;
        strbuf_reset(&text);
        problems_print(&some, &text);
        if (!text.failed || n == 0) {
            break;
        }
    }
    struct verdict verdict = {.reason = REASON_INVALID};
    verdict.message = build_say(build, "%s", strbuf_cstr(&text));
    strbuf_fini(&text);
    return verdict;
}

// ---- ModelBackends ----

// A name or alias that two models of the backend claim, and where for the second time; empty when
// there is none.
static struct slice duplicate_model(struct build *build, const struct modelbackend_spec *spec,
                                    struct slice *ret_path)
{
    struct map seen = {0};
    struct slice duplicate = SLICE_NULL;
    for (size_t i = 0; i < spec->models.len && duplicate.len == 0; i++) {
        const struct backend_model *model = &spec->models.items[i];
        for (size_t a = 0; a <= model->aliases.len && duplicate.len == 0; a++) {
            struct slice name = a == 0 ? model->name : model->aliases.items[a - 1];
            void *old = NULL;
            if (map_put(&seen, name, (void *)(uintptr_t)model, &old) < 0) {
                build->failed = true;
            }
            if (old != NULL) {
                duplicate = name;
                *ret_path = a == 0 ? build_say(build, "spec.models[%zu].name", i)
                                   : build_say(build, "spec.models[%zu].aliases[%zu]", i, a - 1);
            }
        }
    }
    map_fini(&seen);
    return duplicate;
}

static void copy_models(struct build *build, const struct modelbackend_spec *spec,
                        struct snap_backend *backend)
{
    backend->models = build_alloc(build, spec->models.len, sizeof(struct snap_model));
    for (size_t i = 0; i < spec->models.len && !build->failed; i++) {
        const struct backend_model *from = &spec->models.items[i];
        struct snap_model *to = &backend->models[backend->model_count++];
        to->name = build_keep(build, from->name);
        to->upstream_name =
            from->upstream_name.ptr != NULL ? build_keep(build, from->upstream_name) : to->name;
        to->aliases = build_alloc(build, from->aliases.len, sizeof(struct slice));
        for (size_t a = 0; a < from->aliases.len && !build->failed; a++) {
            to->aliases[to->alias_count++] = build_keep(build, from->aliases.items[a]);
        }
    }
}

static void build_backend(struct build *build, const struct object *object,
                          const struct tls_upstream *tls)
{
    static const enum pick_policy policies[] = {
        [BACKEND_POLICY_INFERENCE_AWARE] = PICK_INFERENCE_AWARE,
        [BACKEND_POLICY_LEAST_REQUEST] = PICK_LEAST_REQUEST,
        [BACKEND_POLICY_ROUND_ROBIN] = PICK_ROUND_ROBIN,
        [BACKEND_POLICY_RANDOM] = PICK_RANDOM,
    };
    const struct modelbackend_spec *spec = object->modelbackend;
    struct snap_backend *backend = build_alloc(build, 1, sizeof(*backend));
    if (backend == NULL) {
        return;
    }
    backend->key = build_keep(build, object->key);
    backend->namespace = build_keep(build, object->namespace);
    backend->name = build_keep(build, object->name);
    backend->policy = policies[spec->balancing->policy];
    backend->connect_timeout_ms = (uint32_t)spec->timeouts->connect_ms;
    backend->first_token_timeout_ms = (uint32_t)spec->timeouts->first_token_ms;
    backend->between_tokens_timeout_ms = (uint32_t)spec->timeouts->between_tokens_ms;
    backend->protocol = resolve_protocol(build->input->resources, object);
    backend->tls = tls;
    backend->between_tokens_when_leaving_ms =
        (uint32_t)spec->timeouts->between_tokens_when_leaving_ms;
    compile_scrape_config(spec, &backend->scrape);
    copy_models(build, spec, backend);
    if (build->failed || map_put(&build->backends, backend->key, backend, NULL) < 0) {
        build->failed = true;
        return;
    }
    backend->state = endpoint_table_backend(build->input->endpoints, backend->key);
    build->failed = backend->state == NULL;
    if (!build->failed) {
        build->snapshot->backends[build->snapshot->backend_count++] = backend;
    }
}

static void judge_backend(struct build *build, struct finding *finding)
{
    const struct object *object = finding->object;
    if (object->spec == NULL) {
        finding->accepted = invalid_object(build, object);
        return;
    }
    struct slice path = SLICE_NULL;
    struct slice duplicate = duplicate_model(build, object->modelbackend, &path);
    if (duplicate.len > 0) {
        finding->accepted = (struct verdict){.reason = REASON_DUPLICATE_MODEL, .path = path};
        finding->accepted.message =
            build_say(build, "spec.models: \"%.*s\" is named twice", SLICE_FMT(duplicate));
        return;
    }
    finding->accepted = good(REASON_ACCEPTED);
    struct references references;
    const struct tls_upstream *tls;
    references_init(&references);
    finding->left_out = !build_backend_tls(build, object, &references, &tls);
    finding->resolved = references_judge(build, &references);
    references_fini(&references);
    if (!finding->left_out) {
        finding->tls = tls;
        build_backend(build, object, tls);
    }
}

// ---- AIRoutes ----

static struct snap_backend *find_backend(struct build *build, const struct object *route,
                                         struct slice name, char *key, size_t key_size)
{
    int n = snprintf(key, key_size, "%.*s/%.*s", SLICE_FMT(route->namespace), SLICE_FMT(name));
    return map_get(&build->backends, slice_of(key, (size_t)n));
}

// A list of a rule: its backends or its fallbacks.
struct target_list {
    const struct object *route;
    const struct airoute_rule *rule;
    const char *name;
    const struct airoute_backend *items;
    size_t count;
    bool is_one; // no list: a single one
};

static void note_unresolved(struct build *build, struct references *references, const char *key,
                            const struct target_list *list, size_t index)
{
    const struct finding *finding =
        map_get(&build->result->by_key[OBJECT_MODELBACKEND], slice_of_str(key));
    enum reference_note kind = finding != NULL ? NOTE_BACKEND_INVALID : NOTE_BACKEND_NOT_FOUND;
    size_t rule = (size_t)(list->rule - list->route->airoute->rules.items);
    struct slice path =
        list->is_one ? build_say(build, "spec.rules[%zu].%s.name", rule, list->name)
                     : build_say(build, "spec.rules[%zu].%s[%zu].name", rule, list->name, index);
    references_note(build, references, kind, path, "rule %.*s: ModelBackend %s %s",
                    SLICE_FMT(list->rule->name), key,
                    finding == NULL     ? "does not exist"
                    : finding->left_out ? "lacks a certificate that it names"
                                        : "is not accepted");
}

static struct snap_target *build_targets(struct build *build, const struct target_list *list,
                                         struct references *references)
{
    struct snap_target *targets = build_alloc(build, list->count, sizeof(struct snap_target));
    for (size_t i = 0; i < list->count && !build->failed; i++) {
        const struct airoute_backend *from = &list->items[i];
        char key[512];
        targets[i].backend = find_backend(build, list->route, from->name, key, sizeof(key));
        targets[i].weight = (uint32_t)from->weight;
        if (from->model.ptr != NULL) {
            targets[i].model = build_keep(build, from->model);
        }
        if (targets[i].backend == NULL) {
            note_unresolved(build, references, key, list, i);
        }
    }
    return targets;
}

static void build_mirror(struct build *build, const struct object *route,
                         const struct airoute_rule *rule, struct references *references,
                         struct snap_rule *out)
{
    const struct airoute_backend item = {.name = rule->mirror->name, .model = rule->mirror->model};
    const struct target_list list = {.route = route,
                                     .rule = rule,
                                     .name = "mirror",
                                     .items = &item,
                                     .count = 1,
                                     .is_one = true};
    out->mirror = build_targets(build, &list, references);
    out->mirror_percent = (uint32_t)rule->mirror->percent;
}

static void build_limits(const struct airoute_rule *rule, struct snap_rule *out)
{
    const struct airoute_retry *retry = rule->retry;
    if (rule->timeouts != NULL) {
        out->request_timeout_ms = (uint32_t)rule->timeouts->request_ms;
        out->first_token_timeout_ms = (uint32_t)rule->timeouts->first_token_ms;
    }
    out->retry_attempts = (uint32_t)retry->attempts;
    for (size_t i = 0; i < retry->when.len; i++) {
        out->retry_on |= UINT32_C(1) << retry->when.items[i]; // the order of snap_retry_on
    }
    out->per_try_timeout_ms = (uint32_t)retry->per_try_ms;
    if (retry->per_try_ms > 0) {
        out->retry_on |= SNAP_RETRY_TIMEOUT; // what else would the limit be for?
    }
    out->retry_budget = (struct retry_budget){
        .percent = (uint32_t)retry->budget->percent,
        .min_concurrency = (uint32_t)retry->budget->min_concurrency,
    };
    if (rule->hedge != NULL) {
        out->hedge_delay_ms = (uint32_t)rule->hedge->delay_ms;
    }
}

static struct snap_rule *build_rule(struct build *build, const struct object *route,
                                    const struct airoute_rule *rule, const struct route_tls *tls,
                                    struct references *references)
{
    struct snap_rule *out = build_alloc(build, 1, sizeof(*out));
    if (out == NULL) {
        return NULL;
    }
    out->route_key = build_keep(build, route->key);
    out->name = build_keep(build, rule->name);
    const struct target_list backends = {.route = route,
                                         .rule = rule,
                                         .name = "backends",
                                         .items = rule->backends.items,
                                         .count = rule->backends.len};
    const struct target_list fallbacks = {.route = route,
                                          .rule = rule,
                                          .name = "fallbacks",
                                          .items = rule->fallbacks.items,
                                          .count = rule->fallbacks.len};
    out->targets = build_targets(build, &backends, references);
    out->target_count = rule->backends.len;
    out->fallbacks = build_targets(build, &fallbacks, references);
    out->fallback_count = rule->fallbacks.len;
    for (size_t i = 0; i < rule->backends.len; i++) {
        out->total_weight += (uint64_t)rule->backends.items[i].weight;
    }
    if (rule->mirror != NULL) {
        build_mirror(build, route, rule, references, out);
    }
    build_limits(rule, out);
    build_filters(build, route, rule, out);
    out->https_port = tls->https_port;
    out->hsts = tls->hsts;
    out->client_auth = tls->client_auth;
    out->client_auth_count = tls->client_auth_count;
    return out;
}

static void note_rule(struct build *build, const struct object *route,
                      const struct airoute_rule *rule, struct rule_finding *out, bool served)
{
    struct arena *arena = &build->result->arena;
    out->name = arena_dup(arena, rule->name);
    out->served = served;
    out->backends = ARENA_ARRAY(arena, struct slice, rule->backends.len);
    if (out->name.ptr == NULL || out->backends == NULL) {
        build->failed = true;
        return;
    }
    for (size_t i = 0; i < rule->backends.len; i++) {
        if (rule->backends.items[i].weight > 0) {
            struct slice *key = &out->backends[out->backend_count++];
            *key = arena_printf(arena, "%.*s/%.*s", SLICE_FMT(route->namespace),
                                SLICE_FMT(rule->backends.items[i].name));
            build->failed = build->failed || key->ptr == NULL;
        }
    }
}

#define REGEX_PATH "spec.rules[%zu].matches[%zu].%s[%zu].value"

static struct verdict bad_regex(struct build *build, struct slice path, const struct error *err)
{
    return (struct verdict){
        .reason = REASON_INVALID_REGEX,
        .message = build_say(build, "%.*s: %s", SLICE_FMT(path), err->text),
        .path = path,
    };
}

// Good, or the first expression of the route that does not compile.
static struct verdict check_regexes(struct build *build, const struct airoute_spec *spec)
{
    for (size_t r = 0; r < spec->rules.len; r++) {
        const struct airoute_rule *rule = &spec->rules.items[r];
        for (size_t m = 0; m < rule->matches.len; m++) {
            const struct airoute_match *match = &rule->matches.items[m];
            struct error err = ERROR_INIT;
            for (size_t i = 0; i < match->models.len; i++) {
                const struct airoute_model_match *model = &match->models.items[i];
                if (model->type == MATCH_REGEX && build_regex(build, model->value, &err) == NULL) {
                    return bad_regex(build, build_say(build, REGEX_PATH, r, m, "models", i), &err);
                }
            }
            for (size_t i = 0; i < match->headers.len; i++) {
                const struct airoute_header_match *header = &match->headers.items[i];
                if (header->type == MATCH_REGEX &&
                    build_regex(build, header->value, &err) == NULL) {
                    return bad_regex(build, build_say(build, REGEX_PATH, r, m, "headers", i), &err);
                }
            }
        }
    }
    return good(REASON_ACCEPTED);
}

// `rule`: the index of the first one that lost a match.
static struct verdict judge_outcome(struct build *build, const struct airoute_spec *spec,
                                    struct match_outcome *outcome, size_t rule)
{
    if (outcome->lost == 0 && outcome->tls_lost == 0) {
        return good(REASON_ACCEPTED);
    }
    const struct airoute_match *first = outcome->first_lost;
    return (struct verdict){
        .path = outcome->lost == 0 ? SLICE("spec.tls")
                : first == NULL
                    ? build_say(build, "spec.rules[%zu]", rule)
                    : build_say(build, "spec.rules[%zu].matches[%zu]", rule,
                                (size_t)(first - spec->rules.items[rule].matches.items)),
        .holds = outcome->won > 0,
        .reason = outcome->won > 0 ? REASON_PARTIALLY_CONFLICTED : REASON_CONFLICTED,
        .message = build_say(build, "%s%s", strbuf_cstr(&outcome->text),
                             outcome->text.failed ? "; and more" : ""),
    };
}

static void build_route(struct build *build, struct finding *finding)
{
    const struct object *route = finding->object;
    const struct airoute_spec *spec = route->airoute;
    struct references references;
    struct route_tls tls;
    struct match_outcome outcome = {0};
    references_init(&references);
    strbuf_init(&outcome.text, CONDITION_MESSAGE_MAX - 32);
    build_route_tls(build, route, &references, &tls);
    finding->rules = ARENA_ARRAY(&build->result->arena, struct rule_finding, spec->rules.len);
    build->failed = build->failed || finding->rules == NULL;
    size_t first_lost_rule = 0;
    for (size_t i = 0; i < spec->rules.len && !build->failed; i++) {
        const struct airoute_rule *rule = &spec->rules.items[i];
        first_lost_rule = outcome.lost == 0 ? i : first_lost_rule;
        struct snap_rule *compiled = build_rule(build, route, rule, &tls, &references);
        size_t won = outcome.won;
        if (compiled != NULL && !build->failed) {
            build_matches(build, route, rule, compiled, &outcome);
            note_rule(build, route, rule, &finding->rules[finding->rule_count++],
                      outcome.won > won);
        }
    }
    if (outcome.won > 0) {
        build_claim_tls_hosts(build, route, &tls, &outcome);
    }
    finding->accepted = judge_outcome(build, spec, &outcome, first_lost_rule);
    finding->resolved = references_judge(build, &references);
    references_fini(&references);
    strbuf_fini(&outcome.text);
}

static void judge_route(struct build *build, struct finding *finding)
{
    const struct object *route = finding->object;
    if (route->spec == NULL) {
        finding->accepted = invalid_object(build, route);
        return;
    }
    size_t matches = build_count_matches(route->airoute);
    if (matches > COMPILE_ROUTE_MATCHES_MAX) {
        finding->accepted =
            (struct verdict){.reason = REASON_TOO_MANY_MATCHES, .path = SLICE("spec.rules")};
        finding->accepted.message =
            build_say(build, "%zu combinations of hosts, matches and models, more than %d", matches,
                      COMPILE_ROUTE_MATCHES_MAX);
        return;
    }
    size_t regexes = build_count_regexes(route->airoute);
    if (regexes > COMPILE_ROUTE_REGEXES_MAX) {
        finding->accepted =
            (struct verdict){.reason = REASON_TOO_MANY_MATCHES, .path = SLICE("spec.rules")};
        finding->accepted.message = build_say(build, "%zu regular expressions, more than %d",
                                              regexes, COMPILE_ROUTE_REGEXES_MAX);
        return;
    }
    finding->accepted = check_regexes(build, route->airoute);
    if (finding->accepted.holds) {
        build_route(build, finding);
    }
}

// ---- all ----

static bool is_ours(const struct compile_input *input, const struct object *object)
{
    return object->kind != OBJECT_AIROUTE ||
           slice_eq(object->ingress_class, input->ingress_class);
}

static int judge_kind(struct build *build, enum object_kind kind)
{
    struct compile_result *result = build->result;
    struct object **objects;
    size_t count;
    if (resources_sorted(build->input->resources, kind, &objects, &count) < 0) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < count && !build->failed; i++) {
        if (!is_ours(build->input, objects[i])) {
            continue;
        }
        struct finding *finding = &result->findings[result->finding_count];
        if (map_put(&result->by_key[kind], objects[i]->key, finding, NULL) < 0) {
            build->failed = true;
            break;
        }
        result->finding_count++;
        finding->object = objects[i];
        object_ref(objects[i]);
        if (kind == OBJECT_MODELBACKEND) {
            judge_backend(build, finding);
        } else {
            judge_route(build, finding);
        }
    }
    free(objects);
    return build->failed ? -ENOMEM : 0;
}

void compile_result_fini(struct compile_result *result)
{
    for (size_t i = 0; i < result->finding_count; i++) {
        object_unref(result->findings[i].object);
    }
    snapshot_unref(result->snapshot);
    map_fini(&result->by_key[0]);
    map_fini(&result->by_key[1]);
    arena_fini(&result->arena);
    *result = (struct compile_result){0};
}

int compile(const struct compile_input *input, struct compile_result *ret)
{
    struct compile_result result = {0};
    struct build build = {.input = input, .result = &result};
    size_t backends = resources_count(input->resources, OBJECT_MODELBACKEND);
    size_t routes = resources_count(input->resources, OBJECT_AIROUTE);
    arena_init(&result.arena, 16384, 0);
    result.snapshot = snapshot_new();
    build.snapshot = result.snapshot;
    result.findings = ARENA_ARRAY(&result.arena, struct finding, backends + routes + 1);
    int rc = result.snapshot == NULL || result.findings == NULL ? -ENOMEM : 0;
    if (rc == 0) {
        build.snapshot->backends = build_alloc(&build, backends, sizeof(struct snap_backend *));
        rc = build.failed ? -ENOMEM : judge_kind(&build, OBJECT_MODELBACKEND);
    }
    if (rc == 0) {
        rc = judge_kind(&build, OBJECT_AIROUTE);
    }
    if (rc == 0) {
        build_finish_hosts(&build);
        build_finish_tls_hosts(&build);
        rc = build.failed ? -ENOMEM : snapshot_finish(build.snapshot);
    }
    build_fini(&build);
    if (rc < 0) {
        compile_result_fini(&result);
        return -ENOMEM;
    }
    *ret = result;
    return 0;
}
