// /routes: the published snapshot. /explain: what it does with one request.
#include "admin/page.h"

#include "ai/openai.h"
#include "base/clock.h"
#include "observe/decision.h"

enum { QUERY_TEXT_MAX = 1024, EXPLAIN_PROMPT_BYTES = 4096 };

// ---- routes ---------------------------------------------------------------------------------------

static void write_text_match(const char *key, const struct snap_text_match *match,
                             struct strbuf *out)
{
    static const char *const types[] = {
        [SNAP_MATCH_EXACT] = "Exact",
        [SNAP_MATCH_PREFIX] = "Prefix",
        [SNAP_MATCH_REGEX] = "Regex",
    };
    page_open(out, key, '{');
    page_str(out, "type", slice_of_str(types[match->type]));
    page_str(out, "value", match->value);
    page_close(out, '}');
}

static void write_match(const struct snap_match *match, struct strbuf *out)
{
    page_open(out, "match", '{');
    if (match->model_count != 0) {
        page_open(out, "models", '[');
        for (size_t i = 0; i < match->model_count; i++) {
            write_text_match("", &match->models[i], out);
        }
        page_close(out, ']');
    }
    if (match->has_path) {
        write_text_match("path", &match->path, out);
    }
    if (match->method.len != 0) {
        page_str(out, "method", match->method);
    }
    if (match->header_count != 0) {
        page_open(out, "headers", '[');
        for (size_t i = 0; i < match->header_count; i++) {
            page_open(out, "", '{');
            page_str(out, "name", match->headers[i].name);
            write_text_match("value", &match->headers[i].value, out);
            page_close(out, '}');
        }
        page_close(out, ']');
    }
    page_close(out, '}');
}

static void write_target(const struct snap_target *target, uint64_t total_weight,
                         struct strbuf *out)
{
    if (target->backend != NULL) {
        page_str(out, "backend", target->backend->key);
    } else {
        page_bool(out, "unresolved", true);
    }
    if (total_weight != 0) {
        page_num(out, "weight", target->weight);
        page_num(out, "share", (double)target->weight / (double)total_weight);
    }
    if (target->model.len != 0) {
        page_str(out, "model", target->model);
    }
}

static void write_targets(const char *key, const struct snap_target *targets, size_t count,
                          uint64_t total_weight, struct strbuf *out)
{
    page_open(out, key, '[');
    for (size_t i = 0; i < count; i++) {
        page_open(out, "", '{');
        write_target(&targets[i], total_weight, out);
        page_close(out, '}');
    }
    page_close(out, ']');
}

static void write_rule(const struct snap_rule *rule, struct strbuf *out)
{
    page_str(out, "route", rule->route_key);
    page_str(out, "rule", rule->name);
    page_bool(out, "reads_body", rule->needs_body);
    page_num(out, "retry_attempts", rule->retry_attempts);
    if (rule->request_timeout_ms != 0) {
        page_num(out, "request_timeout_ms", rule->request_timeout_ms);
    }
}

static void write_host(const struct snap_host *host, struct strbuf *out)
{
    page_open(out, "", '{');
    page_str(out, "host", host->name.len != 0 ? host->name : SLICE("*"));
    page_open(out, "entries", '[');
    for (size_t i = 0; i < host->entry_count; i++) {
        const struct snap_rule *rule = host->entries[i].rule;
        page_open(out, "", '{');
        write_rule(rule, out);
        write_match(host->entries[i].match, out);
        write_targets("backends", rule->targets, rule->target_count, rule->total_weight, out);
        write_targets("fallbacks", rule->fallbacks, rule->fallback_count, 0, out);
        page_close(out, '}');
    }
    page_close(out, ']');
    page_close(out, '}');
}

static void write_snap_backend(const struct snap_backend *backend, struct strbuf *out)
{
    page_open(out, "", '{');
    page_str(out, "name", backend->key);
    page_str(out, "policy", slice_of_str(pick_policy_name(backend->policy)));
    page_num(out, "connect_timeout_ms", backend->connect_timeout_ms);
    page_num(out, "first_token_timeout_ms", backend->first_token_timeout_ms);
    page_num(out, "between_tokens_timeout_ms", backend->between_tokens_timeout_ms);
    page_open(out, "models", '[');
    for (size_t i = 0; i < backend->model_count; i++) {
        const struct snap_model *model = &backend->models[i];
        page_open(out, "", '{');
        page_str(out, "name", model->name);
        page_str(out, "upstream_name", model->upstream_name);
        page_open(out, "aliases", '[');
        for (size_t k = 0; k < model->alias_count; k++) {
            page_str(out, "", model->aliases[k]);
        }
        page_close(out, ']');
        page_close(out, '}');
    }
    page_close(out, ']');
    page_close(out, '}');
}

unsigned page_routes(struct page_context *context, struct strbuf *out)
{
    const struct snapshot *snapshot = publisher_current(context->config->publisher);
    if (snapshot == NULL) {
        return page_error(out, 503, "no configuration yet");
    }
    page_open(out, "", '{');
    page_num(out, "generation", (double)snapshot->generation);
    page_open(out, "hosts", '[');
    for (size_t i = 0; i < snapshot->host_count; i++) {
        write_host(&snapshot->hosts[i], out);
    }
    page_close(out, ']');
    page_open(out, "backends", '[');
    for (size_t i = 0; i < snapshot->backend_count; i++) {
        write_snap_backend(snapshot->backends[i], out);
    }
    page_close(out, ']');
    page_close(out, '}');
    return 200;
}

// ---- explain --------------------------------------------------------------------------------------

static void write_candidates(struct page_context *context, const struct snap_backend *backend,
                             uint64_t prompt_bytes, struct strbuf *out)
{
    struct pick_request request = {
        .policy = backend->policy,
        .prompt_bytes = prompt_bytes,
        .now_ms = clock_mono_ms(),
        .rng = context->rng,
    };
    struct pick_trace trace = {.policy = backend->policy};
    if (pick_preview(backend->state, &request, &trace) != 0) {
        page_str(out, "problem", SLICE("the backend has no ready endpoint"));
    }
    strbuf_add(out, SLICE(",\"pick\":"));
    pick_trace_write_json(&trace, out);
}

static void explain_targets(struct page_context *context, const char *key,
                            const struct snap_target *targets, size_t count, uint64_t total_weight,
                            const struct route_query *query, uint64_t prompt_bytes,
                            struct strbuf *out)
{
    page_open(out, key, '[');
    for (size_t i = 0; i < count; i++) {
        page_open(out, "", '{');
        write_target(&targets[i], total_weight, out);
        if (targets[i].backend != NULL) {
            if (query->model.ptr != NULL) {
                page_str(out, "upstream_model",
                         snapshot_upstream_model(&targets[i], query->model));
            }
            write_candidates(context, targets[i].backend, prompt_bytes, out);
        }
        page_close(out, '}');
    }
    page_close(out, ']');
}

static void offer_name(struct slice model, void *arg)
{
    openai_close_names_offer(arg, model);
}

static void explain_miss(const struct snapshot *snapshot, const struct route_query *query,
                         enum route_miss miss, struct strbuf *out)
{
    struct strbuf text;
    strbuf_init(&text, 4096);
    switch (miss) {
    case ROUTE_MISS_HOST:
        strbuf_add_str(&text, "no route for this host");
        break;
    case ROUTE_MISS_PATH:
        strbuf_add_str(&text, "no route for this method, path and headers");
        break;
    case ROUTE_MISS_MODEL:
    case ROUTE_MISS_NONE:
        strbuf_add_str(&text, query->model.ptr != NULL ? "no route takes this model"
                                                       : "the routes want a model");
        break;
    }
    if (miss == ROUTE_MISS_MODEL && query->model.ptr != NULL) {
        struct openai_close_names close;
        openai_close_names_init(&close, query->model);
        if (snapshot_each_model(snapshot, query->host, offer_name, &close) == 0) {
            openai_close_names_write(&close, &text);
        }
    }
    page_str(out, "problem", strbuf_slice(&text));
    strbuf_fini(&text);
}

// The host as the matcher wants it: lower case, without port. Copied into buf.
static struct slice normal_host(struct slice text, char *buf, size_t size)
{
    ptrdiff_t colon = slice_find_byte(text, ':');
    bool is_ipv6 = colon >= 0 && slice_find_byte(slice_skip(text, (size_t)colon + 1), ':') >= 0;
    if (colon >= 0 && !is_ipv6) {
        text = slice_first(text, (size_t)colon);
    }
    text = slice_first(text, size);
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        buf[i] = c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
    }
    return slice_of(buf, text.len);
}

static void write_query(const struct route_query *query, struct strbuf *out)
{
    page_open(out, "query", '{');
    page_str(out, "host", query->host);
    page_str(out, "method", query->method);
    page_str(out, "path", query->path);
    if (query->model.ptr != NULL) {
        page_str(out, "model", query->model);
    }
    page_close(out, '}');
}

unsigned page_explain(struct page_context *context, struct strbuf *out)
{
    const struct snapshot *snapshot = publisher_current(context->config->publisher);
    char host[256];
    struct slice prompt = page_argument(context, "prompt_bytes", NULL);
    uint64_t prompt_bytes = EXPLAIN_PROMPT_BYTES;
    struct route_query query = {
        .host = normal_host(page_argument(context, "host", ""), host, sizeof(host)),
        .path = page_argument(context, "path", "/v1/chat/completions"),
        .method = page_argument(context, "method", "POST"),
        .model = page_argument(context, "model", NULL),
    };
    if (prompt.ptr != NULL && slice_to_u64(prompt, &prompt_bytes) != 0) {
        return page_error(out, 400, "prompt_bytes must be a number");
    }
    if (query.path.len > QUERY_TEXT_MAX || query.model.len > QUERY_TEXT_MAX ||
        query.method.len > QUERY_TEXT_MAX) {
        return page_error(out, 400, "an argument is too long");
    }
    if (snapshot == NULL) {
        return page_error(out, 503, "no configuration yet");
    }
    enum route_miss miss;
    const struct snap_rule *rule = snapshot_match(snapshot, &query, &miss);
    page_open(out, "", '{');
    page_num(out, "generation", (double)snapshot->generation);
    write_query(&query, out);
    page_bool(out, "matched", rule != NULL);
    if (rule == NULL) {
        explain_miss(snapshot, &query, miss, out);
    } else {
        write_rule(rule, out);
        explain_targets(context, "backends", rule->targets, rule->target_count, rule->total_weight,
                        &query, prompt_bytes, out);
        explain_targets(context, "fallbacks", rule->fallbacks, rule->fallback_count, 0, &query,
                        prompt_bytes, out);
    }
    page_close(out, '}');
    return 200;
}
