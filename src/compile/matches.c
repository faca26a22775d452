// From the matches of rules to the ordered entries of each host: which match is more specific, and
// which of two equal ones is older.
#include <errno.h>
#include <stdlib.h>

#include "compile/build.h"

// How much a match says about the model; more goes first.
enum model_rank {
    RANK_UNRESOLVED, // leaves it to backends of which none exists: never before a rule that works
    RANK_ANY,        // takes any model
    RANK_DECLARED,   // those that its backends declare
    RANK_REGEX,
    RANK_PREFIX,
    RANK_EXACT,
};

struct build_entry {
    const struct snap_match *match;
    const struct snap_rule *rule;
    enum model_rank rank;
    size_t sequence; // age: route, then rule, then match
};

struct build_host {
    struct slice name;
    VEC(struct build_entry) entries;
    struct map owners; // signature of a match → struct owner
};

// Who has a match. The slices live in the snapshot's arena.
struct owner {
    struct slice route;
    struct slice rule;
};

// A match of one rule on its way into one host.
struct expansion {
    struct build *build;
    const struct object *route;
    const struct airoute_match *match; // NULL = everything
    struct snap_match base;            // without models
    struct snap_rule *rule;
    struct build_host *host;
    struct match_outcome *outcome;
    size_t sequence;
};

// ---- regular expressions, hosts ----

struct snap_regex *build_regex(struct build *build, struct slice pattern, struct error *err)
{
    struct snap_regex *regex = map_get(&build->regexes, pattern);
    if (regex != NULL) {
        return regex;
    }
    regex = snapshot_add_regex(build->snapshot, pattern, err);
    if (regex != NULL && map_put(&build->regexes, pattern, regex, NULL) < 0) {
        build->failed = true;
    }
    return regex;
}

static struct build_host *find_host(struct build *build, struct slice name)
{
    struct build_host *host = map_get(&build->hosts, name);
    if (host != NULL) {
        return host;
    }
    host = calloc(1, sizeof(*host));
    if (host == NULL || !VEC_PUSH(&build->host_list, host)) {
        free(host);
        build->failed = true;
        return NULL;
    }
    host->name = build_keep(build, name);
    build->failed = build->failed || map_put(&build->hosts, name, host, NULL) < 0;
    return host;
}

void build_fini(struct build *build)
{
    for (size_t i = 0; i < build->host_list.len; i++) {
        struct build_host *host = build->host_list.items[i];
        VEC_FINI(&host->entries);
        map_fini(&host->owners);
        free(host);
    }
    VEC_FINI(&build->host_list);
    map_fini(&build->hosts);
    map_fini(&build->backends);
    map_fini(&build->regexes);
    map_fini(&build->identities);
    map_fini(&build->trusts);
    map_fini(&build->tls_claims);
}

// ---- conflicts ----

// The match without its models, as text: equal for equal matches. 0x1f is in no field.
static void print_base(const struct snap_match *match, struct strbuf *out)
{
    strbuf_printf(out, "%d%d%.*s\x1f%.*s", match->has_path, match->path.type,
                  SLICE_FMT(match->path.value), SLICE_FMT(match->method));
    for (size_t i = 0; i < match->header_count; i++) {
        const struct snap_header_match *header = &match->headers[i];
        strbuf_printf(out, "\x1f%.*s\x1f%d%.*s", SLICE_FMT(header->name), header->value.type,
                      SLICE_FMT(header->value.value));
    }
}

static void describe(const struct expansion *e, struct slice model, const char *how,
                     struct strbuf *out)
{
    struct slice host = e->host->name;
    strbuf_printf(out, "host %.*s", SLICE_FMT(host.len > 0 ? host : SLICE("(any)")));
    if (e->base.has_path) {
        strbuf_printf(out, ", path %.*s", SLICE_FMT(e->base.path.value));
    }
    if (e->base.method.len > 0) {
        strbuf_printf(out, ", method %.*s", SLICE_FMT(e->base.method));
    }
    if (e->base.header_count > 0) {
        strbuf_printf(out, ", %zu headers", e->base.header_count);
    }
    strbuf_printf(out, ", %s%.*s", how, SLICE_FMT(model));
}

// Claims the match with this model for the rule; false, and told, when somebody older has it.
static bool claim(struct expansion *e, char kind, struct slice model, const char *how)
{
    struct build *build = e->build;
    struct strbuf key;
    strbuf_init(&key, 65536);
    print_base(&e->base, &key);
    strbuf_printf(&key, "\x1f\x1f%c%.*s", kind, SLICE_FMT(model));
    struct owner *owner = map_get(&e->host->owners, strbuf_slice(&key));
    bool free_to_take = owner == NULL;
    if (free_to_take) {
        owner = build_alloc(build, 1, sizeof(*owner));
        if (owner != NULL) {
            *owner = (struct owner){.route = e->rule->route_key, .rule = e->rule->name};
        }
        build->failed = build->failed || owner == NULL || key.failed ||
                        map_put(&e->host->owners, strbuf_slice(&key), owner, NULL) < 0;
    } else {
        e->outcome->first_lost = e->outcome->lost == 0 ? e->match : e->outcome->first_lost;
        e->outcome->lost++;
        struct strbuf *text = &e->outcome->text;
        strbuf_add_str(text, text->len > 0 ? "; " : "");
        describe(e, model, how, text);
        bool same_route = slice_eq(owner->route, e->rule->route_key);
        strbuf_printf(text, ": taken by %s%.*s, rule %.*s", same_route ? "this route" : "AIRoute ",
                      SLICE_FMT(same_route ? SLICE("") : owner->route), SLICE_FMT(owner->rule));
    }
    strbuf_fini(&key);
    return free_to_take;
}

// ---- expansion ----

static void add_entry(struct expansion *e, const struct snap_text_match *models, size_t count,
                      enum model_rank rank)
{
    struct build *build = e->build;
    struct snap_match *match = build_alloc(build, 1, sizeof(*match));
    struct snap_text_match *copy = build_alloc(build, count, sizeof(*copy));
    if (match == NULL || copy == NULL) {
        return;
    }
    *match = e->base;
    if (count > 0) {
        memcpy(copy, models, count * sizeof(*copy));
        match->models = copy;
        match->model_count = count;
    }
    struct build_entry entry = {
        .match = match, .rule = e->rule, .rank = rank, .sequence = e->sequence};
    build->failed = build->failed || !VEC_PUSH(&e->host->entries, entry);
    e->outcome->won++;
}

// The models of one type that are still free: one entry for all, or for each prefix one, for a
// longer one goes before a shorter one.
static void expand_models(struct expansion *e, enum match_type type)
{
    static const struct {
        enum snap_match_type type;
        enum model_rank rank;
        char kind;
        const char *how;
    } kinds[] = {
        [MATCH_EXACT] = {SNAP_MATCH_EXACT, RANK_EXACT, 'e', "model "},
        [MATCH_PREFIX] = {SNAP_MATCH_PREFIX, RANK_PREFIX, 'p', "models that begin with "},
        [MATCH_REGEX] = {SNAP_MATCH_REGEX, RANK_REGEX, 'r', "models that fit "},
    };
    struct snap_text_match won[32];
    size_t n = 0;
    for (size_t i = 0; i < e->match->models.len && n < ARRAY_LEN(won); i++) {
        const struct airoute_model_match *model = &e->match->models.items[i];
        if (model->type != (int)type ||
            !claim(e, kinds[type].kind, model->value, kinds[type].how)) {
            continue;
        }
        struct snap_text_match *out = &won[n];
        *out = (struct snap_text_match){.type = kinds[type].type,
                                        .value = build_keep(e->build, model->value)};
        if (type == MATCH_REGEX) {
            struct error err = ERROR_INIT;
            out->regex = build_regex(e->build, model->value, &err);
        }
        if (type == MATCH_PREFIX) {
            add_entry(e, out, 1, RANK_PREFIX);
        } else {
            n++;
        }
    }
    if (n > 0) {
        add_entry(e, won, n, kinds[type].rank);
    }
}

// The targets that decide which models such a match takes; see snapshot_match.
static bool target_declares(const struct snap_target *target)
{
    return target->backend != NULL && target->weight > 0 && target->model.len == 0;
}

struct declared {
    bool is_any; // takes any model
    enum model_rank rank;
};

static struct declared look_at_targets(const struct snap_rule *rule)
{
    bool resolves = rule->target_count == 0; // it answers itself
    bool declares = false;
    bool is_any = false;
    for (size_t t = 0; t < rule->target_count; t++) {
        const struct snap_target *target = &rule->targets[t];
        resolves = resolves || target->backend != NULL;
        if (target_declares(target)) {
            declares = true;
            is_any = is_any || target->backend->model_count == 0;
        }
    }
    is_any = is_any || !declares;
    return (struct declared){
        .is_any = is_any,
        .rank = !resolves ? RANK_UNRESOLVED : is_any ? RANK_ANY : RANK_DECLARED,
    };
}

// A match that leaves the models to the rule's backends. It cannot be taken apart by model, so it
// is added when at least one of the models is free; the others are told as lost.
static void expand_declared(struct expansion *e)
{
    struct declared declared = look_at_targets(e->rule);
    if (declared.is_any) {
        if (declared.rank == RANK_UNRESOLVED || claim(e, '*', SLICE_NULL, "any model")) {
            add_entry(e, NULL, 0, declared.rank);
        }
        return;
    }
    size_t free_models = 0;
    struct map seen = {0}; // versions of a rule declare the same models
    for (size_t t = 0; t < e->rule->target_count; t++) {
        if (!target_declares(&e->rule->targets[t])) {
            continue;
        }
        const struct snap_backend *backend = e->rule->targets[t].backend;
        for (size_t m = 0; m < backend->model_count; m++) {
            const struct snap_model *model = &backend->models[m];
            for (size_t a = 0; a <= model->alias_count; a++) {
                struct slice name = a == 0 ? model->name : model->aliases[a - 1];
                void *old = NULL;
                if (map_put(&seen, name, e, &old) < 0) {
                    e->build->failed = true;
                } else if (old == NULL) {
                    free_models += claim(e, 'd', name, "model ");
                }
            }
        }
    }
    map_fini(&seen);
    if (free_models > 0) {
        add_entry(e, NULL, 0, declared.rank);
    }
}

static int compare_headers(const void *a, const void *b)
{
    const struct snap_header_match *x = a;
    const struct snap_header_match *y = b;
    int order = slice_cmp(x->name, y->name);
    return order != 0 ? order : slice_cmp(x->value.value, y->value.value);
}

static void build_base(struct build *build, const struct airoute_match *match,
                       struct snap_match *base)
{
    if (match->path != NULL) {
        struct slice path = match->path->value;
        bool prefix = match->path->type == MATCH_PREFIX;
        while (prefix && path.len > 0 && path.ptr[path.len - 1] == '/') {
            path.len--; // "/v1/" means the same as "/v1", and "/" everything
        }
        base->has_path = path.len > 0;
        base->path.type = prefix ? SNAP_MATCH_PREFIX : SNAP_MATCH_EXACT;
        base->path.value = path.len > 0 ? build_keep(build, path) : SLICE_NULL;
    }
    base->method = slice_of_str(route_method_text(match->method)); // lives for ever
    base->headers = build_alloc(build, match->headers.len, sizeof(struct snap_header_match));
    for (size_t i = 0; i < match->headers.len && !build->failed; i++) {
        const struct airoute_header_match *from = &match->headers.items[i];
        struct snap_header_match *to = &base->headers[base->header_count++];
        struct error err = ERROR_INIT;
        to->name = build_lower(build, from->name);
        to->value.value = build_keep(build, from->value);
        to->value.type = from->type == MATCH_REGEX ? SNAP_MATCH_REGEX : SNAP_MATCH_EXACT;
        to->value.regex =
            from->type == MATCH_REGEX ? build_regex(build, from->value, &err) : NULL;
    }
    if (base->header_count > 1) {
        qsort(base->headers, base->header_count, sizeof(struct snap_header_match), compare_headers);
    }
}

static void expand_match(struct build *build, const struct object *route,
                         const struct airoute_match *match, struct snap_rule *compiled,
                         struct match_outcome *outcome)
{
    struct expansion e = {
        .build = build,
        .route = route,
        .match = match,
        .rule = compiled,
        .outcome = outcome,
        .sequence = build->sequence++,
    };
    size_t hosts = route->airoute->hostnames.len;
    if (match != NULL) {
        build_base(build, match, &e.base);
    }
    for (size_t h = 0; h < (hosts > 0 ? hosts : 1) && !build->failed; h++) {
        e.host = find_host(build, hosts > 0 ? route->airoute->hostnames.items[h] : SLICE(""));
        if (e.host == NULL) {
            return;
        }
        if (match == NULL || match->models.len == 0) {
            expand_declared(&e);
            continue;
        }
        expand_models(&e, MATCH_EXACT);
        expand_models(&e, MATCH_PREFIX);
        expand_models(&e, MATCH_REGEX);
    }
}

void build_matches(struct build *build, const struct object *route,
                   const struct airoute_rule *rule, struct snap_rule *compiled,
                   struct match_outcome *outcome)
{
    if (rule->matches.len == 0) {
        expand_match(build, route, NULL, compiled, outcome);
    }
    for (size_t m = 0; m < rule->matches.len && !build->failed; m++) {
        expand_match(build, route, &rule->matches.items[m], compiled, outcome);
    }
}

size_t build_count_matches(const struct airoute_spec *spec)
{
    size_t sum = 0;
    for (size_t r = 0; r < spec->rules.len; r++) {
        const struct airoute_rule *rule = &spec->rules.items[r];
        sum += rule->matches.len == 0;
        for (size_t m = 0; m < rule->matches.len; m++) {
            sum += MAX_OF(rule->matches.items[m].models.len, (size_t)1);
        }
    }
    return sum * MAX_OF(spec->hostnames.len, (size_t)1);
}

size_t build_count_regexes(const struct airoute_spec *spec)
{
    size_t sum = 0;
    for (size_t r = 0; r < spec->rules.len; r++) {
        const struct airoute_rule *rule = &spec->rules.items[r];
        for (size_t m = 0; m < rule->matches.len; m++) {
            const struct airoute_match *match = &rule->matches.items[m];
            for (size_t i = 0; i < match->models.len; i++) {
                sum += match->models.items[i].type == MATCH_REGEX;
            }
            for (size_t i = 0; i < match->headers.len; i++) {
                sum += match->headers.items[i].type == MATCH_REGEX;
            }
        }
    }
    return sum;
}

// ---- precedence ----

static int first_more(size_t a, size_t b)
{
    return a == b ? 0 : a > b ? -1 : 1;
}

static size_t path_rank(const struct snap_match *match)
{
    return !match->has_path ? 0 : match->path.type == SNAP_MATCH_PREFIX ? 1 : 2;
}

static int compare_entries(const void *a, const void *b)
{
    const struct build_entry *x = a;
    const struct build_entry *y = b;
    int order = first_more(path_rank(x->match), path_rank(y->match));
    if (order == 0) {
        order = first_more(x->match->path.value.len, y->match->path.value.len);
    }
    if (order == 0) {
        order = first_more(x->match->method.len > 0, y->match->method.len > 0);
    }
    if (order == 0) {
        order = first_more(x->match->header_count, y->match->header_count);
    }
    if (order == 0) {
        order = first_more(x->rank, y->rank);
    }
    if (order == 0 && x->rank == RANK_PREFIX) {
        order = first_more(x->match->models[0].value.len, y->match->models[0].value.len);
    }
    return order != 0 ? order : x->sequence < y->sequence ? -1 : x->sequence > y->sequence;
}

static int compare_hosts(const void *a, const void *b)
{
    return slice_cmp((*(struct build_host *const *)a)->name,
                     (*(struct build_host *const *)b)->name);
}

void build_finish_hosts(struct build *build)
{
    struct snapshot *snapshot = build->snapshot;
    size_t n = build->host_list.len;
    snapshot->hosts = build_alloc(build, n, sizeof(struct snap_host));
    if (n > 1) {
        qsort(build->host_list.items, n, sizeof(struct build_host *), compare_hosts);
    }
    for (size_t h = 0; h < n && !build->failed; h++) {
        struct build_host *from = build->host_list.items[h];
        struct snap_host *to = &snapshot->hosts[snapshot->host_count];
        to->name = from->name;
        to->entries = build_alloc(build, from->entries.len, sizeof(struct snap_entry));
        if (from->entries.len > 1) {
            qsort(from->entries.items, from->entries.len, sizeof(struct build_entry),
                  compare_entries);
        }
        for (size_t e = 0; e < from->entries.len && !build->failed; e++) {
            to->entries[to->entry_count++] = (struct snap_entry){
                .match = from->entries.items[e].match, .rule = from->entries.items[e].rule};
        }
        snapshot->host_count += to->entry_count > 0;
    }
}
