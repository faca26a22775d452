// /routes: the published snapshot. /explain: what it does with one request.
#include "admin/page.h"

#include <string.h>

#include "admin/explain.h"

// ---- routes -------------------------------------------------------------------------------------

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

void page_target(const struct snap_target *target, uint64_t total_weight, struct strbuf *out)
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
        page_target(&targets[i], total_weight, out);
        page_close(out, '}');
    }
    page_close(out, ']');
}

static void write_client_auth(const struct snap_rule *rule, struct strbuf *out)
{
    page_open(out, "client_certificates", '[');
    for (size_t i = 0; i < rule->client_auth_count; i++) {
        const struct snap_client_auth *auth = &rule->client_auth[i];
        page_open(out, "", '{');
        page_str(out, "host", auth->host.len != 0 ? auth->host : SLICE("*"));
        page_bool(out, "required", auth->is_required);
        if (auth->is_told) {
            page_bool(out, "forward", true);
        }
        if ((auth->is_required || auth->is_told) && auth->trust == NULL) {
            page_bool(out, "unresolved", true);
        }
        page_close(out, '}');
    }
    page_close(out, ']');
}

// What else it does, by the names of the fields.
static void write_filters(const struct snap_rule *rule, struct strbuf *out)
{
    const struct {
        const void *set;
        const char *name;
    } filters[] = {
        {rule->path_rewrite, "pathRewrite"},    {rule->request_edit, "requestHeaders"},
        {rule->response_edit, "responseHeaders"}, {rule->cors, "cors"},
        {rule->affinity, "sessionAffinity"},    {rule->mirror, "mirror"},
    };
    page_open(out, "also", '[');
    for (size_t i = 0; i < ARRAY_LEN(filters); i++) {
        if (filters[i].set != NULL) {
            page_str(out, "", slice_of_str(filters[i].name));
        }
    }
    page_close(out, ']');
}

void page_rule(const struct snap_rule *rule, struct strbuf *out)
{
    page_str(out, "route", rule->route_key);
    page_str(out, "rule", rule->name);
    page_bool(out, "reads_body", rule->needs_body);
    page_num(out, "retry_attempts", rule->retry_attempts);
    if (rule->request_timeout_ms != 0) {
        page_num(out, "request_timeout_ms", rule->request_timeout_ms);
    }
    if (rule->https_port != 0) {
        page_num(out, "redirects_to_https_port", rule->https_port);
    }
    if (rule->hsts.len != 0) {
        page_str(out, "hsts", rule->hsts);
    }
    if (rule->client_auth_count != 0) {
        write_client_auth(rule, out);
    }
    if (rule->first_token_timeout_ms != 0) {
        page_num(out, "first_token_timeout_ms", rule->first_token_timeout_ms);
    }
    if (rule->per_try_timeout_ms != 0) {
        page_num(out, "per_try_timeout_ms", rule->per_try_timeout_ms);
    }
    if (rule->hedge_delay_ms != 0) {
        page_num(out, "hedge_delay_ms", rule->hedge_delay_ms);
    }
    if (rule->answer != NULL) {
        page_num(out, "answer_status", rule->answer->status);
    }
    write_filters(rule, out);
}

static void write_host(const struct snap_host *host, struct strbuf *out)
{
    page_open(out, "", '{');
    page_str(out, "host", host->name.len != 0 ? host->name : SLICE("*"));
    page_open(out, "entries", '[');
    for (size_t i = 0; i < host->entry_count; i++) {
        const struct snap_rule *rule = host->entries[i].rule;
        page_open(out, "", '{');
        page_rule(rule, out);
        write_match(host->entries[i].match, out);
        write_targets("backends", rule->targets, rule->target_count, rule->total_weight, out);
        write_targets("fallbacks", rule->fallbacks, rule->fallback_count, 0, out);
        page_close(out, '}');
    }
    page_close(out, ']');
    page_close(out, '}');
}

// Which certificate it is, the conditions of the route tell; nothing of a key is shown anywhere.
static void write_tls_hosts(const struct snapshot *snapshot, struct strbuf *out)
{
    static const char *const modes[] = {[TLS_CLIENT_AUTH_NONE] = "None",
                                        [TLS_CLIENT_AUTH_OPTIONAL] = "Optional",
                                        [TLS_CLIENT_AUTH_REQUIRED] = "Required"};
    page_open(out, "tls_hosts", '[');
    for (size_t i = 0; i < snapshot->tls_host_count; i++) {
        const struct tls_host *host = &snapshot->tls_hosts[i];
        page_open(out, "", '{');
        page_str(out, "host", host->name.len != 0 ? host->name : SLICE("*"));
        page_str(out, "client_certificates", slice_of_str(modes[host->client_auth]));
        page_close(out, '}');
    }
    page_close(out, ']');
}

static void write_upstream(const struct snap_backend *backend, struct strbuf *out)
{
    const struct tls_upstream *tls = backend->tls;
    page_str(out, "protocol",
             backend->protocol == SNAP_PROTOCOL_HTTP2 ? SLICE("HTTP2") : SLICE("HTTP1"));
    if (tls != NULL) {
        page_open(out, "tls", '{');
        page_str(out, "server_name", tls->server_name);
        page_bool(out, "verified", !tls->insecure);
        page_bool(out, "own_authorities", tls->trust != NULL);
        page_bool(out, "client_certificate", tls->identity != NULL);
        page_close(out, '}');
    }
}

static void write_snap_backend(const struct snap_backend *backend, struct strbuf *out)
{
    page_open(out, "", '{');
    page_str(out, "name", backend->key);
    page_str(out, "policy", slice_of_str(pick_policy_name(backend->policy)));
    page_num(out, "connect_timeout_ms", backend->connect_timeout_ms);
    page_num(out, "first_token_timeout_ms", backend->first_token_timeout_ms);
    page_num(out, "between_tokens_timeout_ms", backend->between_tokens_timeout_ms);
    write_upstream(backend, out);
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
    write_tls_hosts(snapshot, out);
    page_open(out, "backends", '[');
    for (size_t i = 0; i < snapshot->backend_count; i++) {
        write_snap_backend(snapshot->backends[i], out);
    }
    page_close(out, ']');
    page_close(out, '}');
    return 200;
}

// ---- explain ------------------------------------------------------------------------------------

struct header_arguments {
    struct explain_question *question;
    const char *problem;
};

static enum MHD_Result on_argument(void *arg, enum MHD_ValueKind kind, const char *key,
                                   const char *value)
{
    (void)kind;
    struct header_arguments *found = arg;
    if (strcmp(key, "header") == 0 && found->problem == NULL) {
        found->problem = explain_add_header(found->question,
                                            slice_of_str(value != NULL ? value : ""));
    }
    return MHD_YES;
}

// Leaves *to as it is when the argument is absent.
static void take_argument(struct page_context *context, const char *name, struct slice *to)
{
    struct slice value = page_argument(context, name, NULL);
    *to = value.ptr != NULL ? value : *to;
}

static const char *read_question(struct page_context *context, struct explain_question *question)
{
    explain_question_init(question);
    take_argument(context, "host", &question->host);
    take_argument(context, "path", &question->path);
    take_argument(context, "method", &question->method);
    take_argument(context, "model", &question->model);
    struct slice prompt = page_argument(context, "prompt_bytes", NULL);
    if (prompt.ptr != NULL && slice_to_u64(prompt, &question->prompt_bytes) != 0) {
        return "prompt_bytes must be a number";
    }
    struct header_arguments headers = {.question = question};
    MHD_get_connection_values(context->connection, MHD_GET_ARGUMENT_KIND, on_argument, &headers);
    return headers.problem != NULL ? headers.problem : explain_question_check(question);
}

unsigned page_explain(struct page_context *context, struct strbuf *out)
{
    struct explain_question question;
    const char *problem = read_question(context, &question);
    const struct snapshot *snapshot = publisher_current(context->config->publisher);
    if (problem != NULL) {
        return page_error(out, 400, problem);
    }
    if (snapshot == NULL) {
        return page_error(out, 503, "no configuration yet");
    }
    explain_write(snapshot, &question, context->rng, out);
    return 200;
}
