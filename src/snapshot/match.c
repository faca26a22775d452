// Which rule takes a request: host, then the host's entries in order of precedence.
#include <stdlib.h>

#include "snapshot/match_index.h"
#include "snapshot/regex.h"
#include "snapshot/snapshot.h"

bool snap_text_matches(const struct snap_text_match *match, struct slice text)
{
    switch (match->type) {
    case SNAP_MATCH_EXACT:
        return slice_eq(match->value, text);
    case SNAP_MATCH_PREFIX:
        return slice_has_prefix(text, match->value);
    case SNAP_MATCH_REGEX:
        return snap_regex_matches(match->regex, text);
    }
    return false;
}

bool snap_path_matches(const struct snap_text_match *match, struct slice path)
{
    if (match->type != SNAP_MATCH_PREFIX) {
        return snap_text_matches(match, path);
    }
    struct slice prefix = match->value;
    if (prefix.len > 0 && prefix.ptr[prefix.len - 1] == '/') {
        prefix.len--; // "/v1/" and "/v1" mean the same (Gateway API PathPrefix)
    }
    return slice_has_prefix(path, prefix) &&
           (path.len == prefix.len || path.ptr[prefix.len] == '/');
}

// Calls fn for the host's own list, then for each wildcard that covers it, then for any-host, until
// fn returns true.
typedef bool host_visit_fn(const struct snap_host *host, void *arg);

static bool visit_hosts(const struct snapshot *snapshot, struct slice name, host_visit_fn *fn,
                        void *arg, bool *ret_any)
{
    const struct snap_host *host = name.len != 0 ? map_get(&snapshot->host_index, name) : NULL;
    *ret_any = host != NULL;
    if (host != NULL && fn(host, arg)) {
        return true;
    }
    // "*.example.com" covers every name with at least one more label (RFC 9110 has no wildcards;
    // this is the meaning that Ingress and Gateway API give them, nearest suffix first).
    char wildcard[256];
    ptrdiff_t dot;
    for (struct slice rest = name; (dot = slice_find_byte(rest, '.')) >= 0;) {
        rest = slice_skip(rest, (size_t)dot);
        if (rest.len + 1 > sizeof(wildcard)) {
            rest = slice_skip(rest, 1);
            continue;
        }
        wildcard[0] = '*';
        memcpy(wildcard + 1, rest.ptr, rest.len);
        host = map_get(&snapshot->host_index, slice_of(wildcard, rest.len + 1));
        if (host != NULL) {
            *ret_any = true;
            if (fn(host, arg)) {
                return true;
            }
        }
        rest = slice_skip(rest, 1);
    }
    host = map_get(&snapshot->host_index, SLICE(""));
    *ret_any = *ret_any || host != NULL;
    return host != NULL && fn(host, arg);
}

static bool headers_match(const struct snap_match *match, const struct route_query *query)
{
    for (size_t i = 0; i < match->header_count; i++) {
        const struct http_header *header =
            http_header_find_name(query->headers, query->header_count, match->headers[i].name);
        if (header == NULL || !snap_text_matches(&match->headers[i].value, header->value)) {
            return false;
        }
    }
    return true;
}

static bool path_and_method_match(const struct snap_match *match, const struct route_query *query)
{
    return (!match->has_path || snap_path_matches(&match->path, query->path)) &&
           (match->method.len == 0 || slice_eq(match->method, query->method));
}

static bool matches_but_model(const struct snap_match *match, const struct route_query *query)
{
    return path_and_method_match(match, query) && headers_match(match, query);
}

static bool backend_has_model(const struct snap_backend *backend, struct slice model)
{
    if (backend->model_count == 0) {
        return true; // takes any
    }
    for (size_t i = 0; i < backend->model_count; i++) {
        const struct snap_model *known = &backend->models[i];
        if (slice_eq(known->name, model)) {
            return true;
        }
        for (size_t a = 0; a < known->alias_count; a++) {
            if (slice_eq(known->aliases[a], model)) {
                return true;
            }
        }
    }
    return false;
}

// A rule of which no target declares anything takes any model (and answers with its own error, when
// nothing resolves).
static bool rule_has_model(const struct snap_rule *rule, struct slice model)
{
    bool declared = false;
    for (size_t i = 0; i < rule->target_count; i++) {
        if (snap_target_declares(&rule->targets[i])) {
            declared = true;
            if (backend_has_model(rule->targets[i].backend, model)) {
                return true;
            }
        }
    }
    return !declared;
}

static bool model_matches(const struct snap_entry *entry, struct slice model)
{
    if (entry->match->model_count == 0) {
        return model.ptr == NULL || rule_has_model(entry->rule, model);
    }
    if (model.ptr == NULL) {
        return false;
    }
    for (size_t i = 0; i < entry->match->model_count; i++) {
        if (snap_text_matches(&entry->match->models[i], model)) {
            return true;
        }
    }
    return false;
}

struct match_state {
    const struct route_query *query;
    const struct snap_rule *found;
};

// The first entry that holds, model aside.
static bool visit_head(const struct snap_host *host, void *arg)
{
    struct match_state *state = arg;
    struct match_cursor cursor;
    uint32_t i;
    match_cursor_init(&cursor, host, state->query->path, MATCH_REACH_ALL, SLICE_NULL);
    while (match_cursor_next(&cursor, &i)) {
        if (matches_but_model(host->entries[i].match, state->query)) {
            state->found = host->entries[i].rule;
            return true;
        }
    }
    return false;
}

const struct snap_rule *snapshot_match_head(const struct snapshot *snapshot,
                                            const struct route_query *query,
                                            enum route_miss *ret_miss)
{
    struct match_state state = {.query = query};
    bool any_host;
    visit_hosts(snapshot, query->host, visit_head, &state, &any_host);
    *ret_miss = state.found != NULL ? ROUTE_MISS_NONE
                : any_host          ? ROUTE_MISS_PATH
                                    : ROUTE_MISS_HOST;
    return state.found;
}

static bool visit_first(const struct snap_host *host, void *arg)
{
    struct match_state *state = arg;
    state->found = host->entry_count != 0 ? host->entries[0].rule : NULL;
    return state->found != NULL;
}

const struct snap_rule *snapshot_match_way(const struct snapshot *snapshot,
                                           const struct route_query *query)
{
    struct match_state state = {.query = query};
    enum route_miss miss;
    bool any_host;
    state.found = snapshot_match_head(snapshot, query, &miss);
    if (state.found == NULL) {
        visit_hosts(snapshot, query->host, visit_first, &state, &any_host);
    }
    return state.found;
}

// Whatever the model and the header fields are, nothing behind the entry is reached.
static bool takes_all(const struct snap_entry *entry)
{
    const struct snap_match *match = entry->match;
    if (match->model_count != 0 || match->header_count != 0) {
        return false;
    }
    bool declares = false;
    for (size_t i = 0; i < entry->rule->target_count; i++) {
        const struct snap_target *target = &entry->rule->targets[i];
        if (snap_target_declares(target)) {
            if (target->backend->model_count == 0) {
                return true;
            }
            declares = true;
        }
    }
    return !declares;
}

struct cors_state {
    const struct route_query *query;
    struct slice origin;
    const struct cors_policy *found;
};

static bool visit_cors(const struct snap_host *host, void *arg)
{
    struct cors_state *state = arg;
    struct match_cursor cursor;
    uint32_t i;
    match_cursor_init(&cursor, host, state->query->path, MATCH_REACH_ALL, SLICE_NULL);
    while (match_cursor_next(&cursor, &i)) {
        const struct snap_entry *entry = &host->entries[i];
        const struct cors_policy *policy = entry->rule->cors;
        if (!path_and_method_match(entry->match, state->query)) {
            continue;
        }
        if (policy != NULL && cors_allows(policy, state->origin)) {
            state->found = policy;
            return true;
        }
        state->found = state->found == NULL ? policy : state->found;
        if (takes_all(entry)) {
            return true;
        }
    }
    return false;
}

const struct cors_policy *snapshot_match_cors(const struct snapshot *snapshot,
                                              const struct route_query *query,
                                              struct slice origin)
{
    struct cors_state state = {.query = query, .origin = origin};
    bool any_host;
    visit_hosts(snapshot, query->host, visit_cors, &state, &any_host);
    return state.found;
}

static bool visit_match(const struct snap_host *host, void *arg)
{
    struct match_state *state = arg;
    struct slice model = state->query->model;
    struct match_cursor cursor;
    uint32_t i;
    match_cursor_init(&cursor, host, state->query->path,
                      model.ptr != NULL ? MATCH_REACH_MODEL : MATCH_REACH_NO_MODEL, model);
    while (match_cursor_next(&cursor, &i)) {
        if (matches_but_model(host->entries[i].match, state->query) &&
            model_matches(&host->entries[i], model)) {
            state->found = host->entries[i].rule;
            return true;
        }
    }
    return false;
}

const struct snap_rule *snapshot_match(const struct snapshot *snapshot,
                                       const struct route_query *query, enum route_miss *ret_miss)
{
    struct match_state state = {.query = query};
    bool any_host;
    visit_hosts(snapshot, query->host, visit_match, &state, &any_host);
    if (state.found != NULL) {
        *ret_miss = ROUTE_MISS_NONE;
    } else if (snapshot_match_head(snapshot, query, ret_miss) != NULL) {
        *ret_miss = ROUTE_MISS_MODEL;
    }
    return state.found;
}

const struct snap_target *snapshot_draw_target(const struct snap_rule *rule, uint64_t draw)
{
    if (rule->total_weight == 0) {
        return NULL;
    }
    uint64_t at = (uint64_t)(((unsigned __int128)draw * rule->total_weight) >> 64);
    for (size_t i = 0; i < rule->target_count; i++) {
        if (at < rule->targets[i].weight) {
            return &rule->targets[i];
        }
        at -= rule->targets[i].weight;
    }
    return NULL;
}

struct slice snapshot_upstream_model(const struct snap_target *target, struct slice requested)
{
    struct slice name = target->model.len != 0 ? target->model : requested;
    const struct snap_backend *backend = target->backend;
    for (size_t i = 0; backend != NULL && i < backend->model_count; i++) {
        const struct snap_model *known = &backend->models[i];
        if (slice_eq(known->name, name)) {
            return known->upstream_name;
        }
        for (size_t a = 0; a < known->alias_count; a++) {
            if (slice_eq(known->aliases[a], name)) {
                return known->upstream_name;
            }
        }
    }
    return name;
}

struct model_lister {
    struct map seen;
    struct slice host;
    const struct snap_client *client;
    snapshot_model_fn *fn;
    void *arg;
    int rc;
};

static void list_one(struct model_lister *lister, struct slice model)
{
    if (map_get(&lister->seen, model) != NULL) {
        return;
    }
    int rc = map_put(&lister->seen, model, lister, NULL);
    if (rc == 0) {
        lister->fn(model, lister->arg);
    } else {
        lister->rc = rc;
    }
}

static void list_if_taken(struct model_lister *lister, const struct snap_match *match,
                          struct slice model)
{
    bool taken = match->model_count == 0;
    for (size_t i = 0; i < match->model_count && !taken; i++) {
        taken = snap_text_matches(&match->models[i], model);
    }
    if (taken) {
        list_one(lister, model);
    }
}

static void list_backend(struct model_lister *lister, const struct snap_match *match,
                         const struct snap_backend *backend)
{
    for (size_t i = 0; backend != NULL && i < backend->model_count; i++) {
        list_if_taken(lister, match, backend->models[i].name);
        for (size_t a = 0; a < backend->models[i].alias_count; a++) {
            list_if_taken(lister, match, backend->models[i].aliases[a]);
        }
    }
}

static void list_entry(struct model_lister *lister, const struct snap_entry *entry)
{
    const struct snap_match *match = entry->match;
    const struct snap_rule *rule = entry->rule;
    for (size_t m = 0; m < match->model_count; m++) {
        if (match->models[m].type == SNAP_MATCH_EXACT) {
            list_one(lister, match->models[m].value);
        }
    }
    for (size_t t = 0; t < rule->target_count; t++) {
        if (snap_target_declares(&rule->targets[t])) {
            list_backend(lister, match, rule->targets[t].backend);
        }
    }
}

static bool visit_models(const struct snap_host *host, void *arg)
{
    struct model_lister *lister = arg;
    for (size_t i = 0; i < host->entry_count; i++) {
        const struct snap_entry *entry = &host->entries[i];
        if (lister->client == NULL ||
            snapshot_admit(entry->rule, lister->host, lister->client) == SNAP_ADMIT_YES) {
            list_entry(lister, entry);
        }
    }
    return false;
}

int snapshot_each_model(const struct snapshot *snapshot, struct slice host,
                        const struct snap_client *client, snapshot_model_fn *fn, void *arg)
{
    struct model_lister lister = {.host = host, .client = client, .fn = fn, .arg = arg};
    bool any_host;
    visit_hosts(snapshot, host, visit_models, &lister, &any_host);
    map_fini(&lister.seen);
    return lister.rc;
}
