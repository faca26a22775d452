// tests/golden/NAME.in.yaml holds objects; NAME.out.yaml what they compile to: backends with their
// endpoints, hosts with their entries in order of precedence, rules, and the status of each object.
// UPDATE_GOLDEN=1 writes the outputs anew; read the difference before committing it.
#include <errno.h>
#include <glob.h>
#include <netdb.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "compile/compile.h"
#include "compile/judge.h"
#include "manifest/manifest.h"

enum { OUTPUT_MAX = 4 << 20, GOLDEN_MIN = 25 };

struct world {
    struct epoch *epoch;
    struct endpoint_table *table;
    struct resources resources;
    struct compile_result result;
};

// ---- printing ----

static void print_texts(struct strbuf *out, const struct slice *texts, size_t count)
{
    strbuf_add_char(out, '[');
    for (size_t i = 0; i < count; i++) {
        strbuf_printf(out, "%s\"%.*s\"", i > 0 ? ", " : "", SLICE_FMT(texts[i]));
    }
    strbuf_add_char(out, ']');
}

static void print_models(struct strbuf *out, const struct snap_backend *backend)
{
    for (size_t i = 0; i < backend->model_count; i++) {
        const struct snap_model *model = &backend->models[i];
        strbuf_printf(out, "  %s{name: \"%.*s\", upstream: \"%.*s\", aliases: ",
                      i == 0 ? "models:\n  - " : "- ", SLICE_FMT(model->name),
                      SLICE_FMT(model->upstream_name));
        print_texts(out, model->aliases, model->alias_count);
        strbuf_add_str(out, "}\n");
    }
}

static void print_endpoints(struct strbuf *out, const struct resolution *resolution)
{
    strbuf_printf(out, "  endpoints: # %zu of %u\n", resolution->endpoints.len, resolution->total);
    for (size_t i = 0; i < resolution->endpoints.len; i++) {
        const struct endpoint_spec *spec = &resolution->endpoints.items[i];
        char host[64], port[16];
        assert_int_equal(getnameinfo((const struct sockaddr *)&spec->address, spec->address_len,
                                     host, sizeof(host), port, sizeof(port),
                                     NI_NUMERICHOST | NI_NUMERICSERV),
                         0);
        strbuf_printf(out, "  - {address: \"%s\", port: %s, weight: %u, pod: \"%.*s\"%s}\n", host,
                      port, spec->weight, SLICE_FMT(spec->pod),
                      spec->terminating ? ", terminating: true" : "");
    }
    for (size_t i = 0; i < resolution->terminating.len; i++) {
        strbuf_printf(out, "%s\"%.*s\"%s", i == 0 ? "  terminating: [" : ", ",
                      SLICE_FMT(resolution->terminating.items[i].pod),
                      i + 1 == resolution->terminating.len ? "]\n" : "");
    }
}

// Only what somebody set.
static const char *scheme_text(unsigned scheme)
{
    static const char *const texts[] = {[ENDPOINT_SCHEME_DEFAULT] = "",
                                        [ENDPOINT_SCHEME_HTTP] = ", scheme: HTTP",
                                        [ENDPOINT_SCHEME_HTTPS] = ", scheme: HTTPS"};
    return texts[scheme];
}

static void print_health(struct strbuf *out, const struct object *object,
                         const struct snap_backend *backend)
{
    struct health_config health, usual;
    compile_health_config(object->modelbackend, &health);
    health_config_default(&usual);
    if (backend->between_tokens_when_leaving_ms != 5000) {
        strbuf_printf(out, "  betweenTokensWhenLeaving: %u\n",
                      backend->between_tokens_when_leaving_ms);
    }
    if (health.active) {
        strbuf_printf(out,
                      "  check: {path: \"%s\", port: %u, interval: %u, timeout: %u, healthy: %u, "
                      "unhealthy: %u%s%s}\n",
                      health.check_path, health.check_port, health.check_interval_ms,
                      health.check_timeout_ms, health.healthy_threshold,
                      health.unhealthy_threshold, health.check_connects ? ", type: TCP" : "",
                      scheme_text(health.check_scheme));
        usual.active = true;
        usual.check_connects = health.check_connects;
        usual.check_scheme = health.check_scheme;
        usual.check_port = health.check_port;
        usual.check_interval_ms = health.check_interval_ms;
        usual.check_timeout_ms = health.check_timeout_ms;
        usual.healthy_threshold = health.healthy_threshold;
        usual.unhealthy_threshold = health.unhealthy_threshold;
        memcpy(usual.check_path, health.check_path, sizeof(usual.check_path));
    }
    if (memcmp(&health, &usual, sizeof(health)) != 0) {
        strbuf_printf(out,
                      "  outlier: {errors: %u, for: %u, most: %u, percent: %u, interval: %u, "
                      "requests: %u, errorPercent: %u, slowFactor: %u}\n"
                      "  panic: %u\n  slowStart: %u\n",
                      health.consecutive_errors, health.eject_for_ms, health.max_eject_for_ms,
                      health.max_ejected_percent, health.interval_ms, health.min_requests,
                      health.error_percent, health.slow_factor, health.panic_percent,
                      health.slow_start_ms);
    }
}

static void print_digest(struct strbuf *out, const uint8_t *digest)
{
    strbuf_printf(out, "%02x%02x%02x%02x", digest[0], digest[1], digest[2], digest[3]);
}

// The Secret or ConfigMap is told by the digest of what it holds.
static void print_identity(struct strbuf *out, const struct tls_identity *identity)
{
    strbuf_add_str(out, identity != NULL ? "" : "none");
    if (identity != NULL) {
        struct tls_leaf leaf;
        struct error err = ERROR_INIT;
        struct arena arena = {0};
        assert_int_equal(tls_pem_check_identity(identity->certificate_pem, identity->key_pem,
                                                &arena, &leaf, &err), 0);
        arena_fini(&arena);
        print_digest(out, identity->digest);
    }
}

static void print_trust(struct strbuf *out, const struct tls_trust *trust)
{
    struct error err = ERROR_INIT;
    strbuf_add_str(out, trust != NULL ? "" : "none");
    if (trust != NULL) {
        assert_int_equal(tls_pem_check_trust(trust->ca_pem, &err), 0);
        print_digest(out, trust->digest);
    }
}

static void print_upstream(struct strbuf *out, const struct snap_backend *backend)
{
    const struct tls_upstream *tls = backend->tls;
    if (backend->protocol == SNAP_PROTOCOL_HTTP2) {
        strbuf_add_str(out, "  protocol: HTTP2\n");
    }
    if (tls != NULL) {
        strbuf_add_str(out, "  tls: {trust: ");
        print_trust(out, tls->trust);
        strbuf_add_str(out, ", identity: ");
        print_identity(out, tls->identity);
        strbuf_printf(out, ", serverName: \"%.*s\", insecure: %s}\n", SLICE_FMT(tls->server_name),
                      tls->insecure ? "true" : "false");
    }
}

static void print_tls_hosts(struct strbuf *out, const struct snapshot *snapshot)
{
    static const char *const modes[] = {"", ", clients: Optional ", ", clients: Required "};
    for (size_t i = 0; i < snapshot->tls_host_count; i++) {
        const struct tls_host *host = &snapshot->tls_hosts[i];
        assert_ptr_equal(snapshot_tls_host(snapshot, host->name), host);
        strbuf_printf(out, "%s- {host: \"%.*s\", identity: ", i == 0 ? "tlsHosts:\n" : "",
                      SLICE_FMT(host->name));
        print_identity(out, host->identity);
        strbuf_add_str(out, modes[host->client_auth]);
        if (host->client_auth != TLS_CLIENT_AUTH_NONE) {
            print_trust(out, host->client_trust);
        }
        strbuf_add_str(out, "}\n");
    }
}

static void print_rule_tls(struct strbuf *out, const struct snap_rule *rule)
{
    if (rule->https_port != 0) {
        strbuf_printf(out, "  httpsPort: %u\n", rule->https_port);
    }
    if (rule->hsts.len > 0) {
        strbuf_printf(out, "  hsts: \"%.*s\"\n", SLICE_FMT(rule->hsts));
    }
    for (size_t i = 0; i < rule->client_auth_count; i++) {
        const struct snap_client_auth *auth = &rule->client_auth[i];
        strbuf_printf(out, "%s  - {host: \"%.*s\", required: %s, %strust: ",
                      i == 0 ? "  clientAuth:\n" : "", SLICE_FMT(auth->host),
                      auth->is_required ? "true" : "false", auth->is_told ? "told: true, " : "");
        print_trust(out, auth->trust);
        strbuf_add_str(out, "}\n");
    }
}

static void print_backend(struct strbuf *out, const struct world *w,
                          const struct snap_backend *backend)
{
    const struct scrape_config *scrape = &backend->scrape;
    strbuf_printf(out, "- key: %.*s\n  policy: %s\n  engine: %s\n", SLICE_FMT(backend->key),
                  pick_policy_name(backend->policy), engine_name(scrape->engine));
    strbuf_printf(out, "  timeouts: {connect: %u, firstToken: %u, betweenTokens: %u}\n",
                  backend->connect_timeout_ms, backend->first_token_timeout_ms,
                  backend->between_tokens_timeout_ms);
    strbuf_printf(out, "  scrape: {path: \"%s\", port: %u, interval: %u, staleAfter: %u%s%s}\n",
                  scrape->path, scrape->port, scrape->interval_ms, scrape->stale_after_ms,
                  scrape->is_tls ? ", tls: true" : "", scheme_text(scrape->scheme));
    if (scrape->map_waiting[0] != '\0' || scrape->map_running[0] != '\0' ||
        scrape->map_kv[0] != '\0') {
        strbuf_printf(out, "  mapping: {waiting: \"%s\", running: \"%s\", kv: \"%s\"}\n",
                      scrape->map_waiting, scrape->map_running, scrape->map_kv);
    }
    print_upstream(out, backend);
    const struct object *object =
        resources_get(&w->resources, OBJECT_MODELBACKEND, backend->key);
    print_health(out, object, backend);
    print_models(out, backend);
    struct resolution resolution = {0};
    assert_int_equal(resolve_backend(&w->resources, object, &resolution), 0);
    print_endpoints(out, &resolution);
    resolution_fini(&resolution);
}

static const char *const match_types[] = {"Exact", "Prefix", "Regex"};

static void print_match(struct strbuf *out, const struct snap_match *match)
{
    bool any = false;
    if (match->has_path) {
        strbuf_printf(out, "path %s %.*s", match_types[match->path.type],
                      SLICE_FMT(match->path.value));
        any = true;
    }
    if (match->method.len > 0) {
        strbuf_printf(out, "%smethod %.*s", any ? ", " : "", SLICE_FMT(match->method));
        any = true;
    }
    for (size_t i = 0; i < match->header_count; i++) {
        const struct snap_header_match *header = &match->headers[i];
        strbuf_printf(out, "%sheader %.*s %s %.*s", any ? ", " : "", SLICE_FMT(header->name),
                      match_types[header->value.type], SLICE_FMT(header->value.value));
        assert_int_equal(header->value.regex != NULL, header->value.type == SNAP_MATCH_REGEX);
        any = true;
    }
    for (size_t i = 0; i < match->model_count; i++) {
        const struct snap_text_match *model = &match->models[i];
        strbuf_printf(out, "%smodel %s %.*s", any ? ", " : "", match_types[model->type],
                      SLICE_FMT(model->value));
        assert_int_equal(model->regex != NULL, model->type == SNAP_MATCH_REGEX);
        any = true;
    }
    strbuf_add_str(out, any ? "" : "anything");
}

static void print_target(struct strbuf *out, const struct snap_target *target, bool weight)
{
    strbuf_printf(out, "{backend: %.*s",
                  SLICE_FMT(target->backend != NULL ? target->backend->key : SLICE("null")));
    if (weight) {
        strbuf_printf(out, ", weight: %u", target->weight);
    }
    if (target->model.len > 0) {
        strbuf_printf(out, ", model: \"%.*s\"", SLICE_FMT(target->model));
    }
    strbuf_add_char(out, '}');
}

static void print_change(struct strbuf *out, const char *key, const struct path_change *change)
{
    static const char *const types[] = {
        [PATH_CHANGE_NONE] = "none", [PATH_CHANGE_FULL] = "full", [PATH_CHANGE_PREFIX] = "prefix"};
    strbuf_printf(out, "  %s: {type: %s, value: \"%.*s\", prefixes: ", key, types[change->type],
                  SLICE_FMT(change->value));
    print_texts(out, change->prefixes, change->prefix_count);
    strbuf_add_str(out, "}\n");
}

static void print_answer(struct strbuf *out, const struct snap_answer *answer)
{
    strbuf_printf(out, "  answer: {status: %u, contentType: \"%.*s\", body: \"%.*s\"}\n",
                  answer->status, SLICE_FMT(answer->content_type), SLICE_FMT(answer->body));
    const struct redirect *redirect = answer->redirect;
    if (redirect != NULL) {
        strbuf_printf(out, "  location: {scheme: \"%.*s\", hostname: \"%.*s\", port: %u}\n",
                      SLICE_FMT(redirect->scheme), SLICE_FMT(redirect->hostname), redirect->port);
        print_change(out, "locationPath", &redirect->path);
    }
}

static void print_edit(struct strbuf *out, const char *key, const struct header_edit *edit)
{
    strbuf_printf(out, "  %s:\n    drop: ", key);
    print_texts(out, edit->drops, edit->drop_count);
    strbuf_add_str(out, "\n    add:\n");
    for (size_t i = 0; i < edit->add_count; i++) {
        strbuf_printf(out, "    - {%.*s: \"%.*s\"}\n", SLICE_FMT(edit->adds[i].name),
                      SLICE_FMT(edit->adds[i].value));
    }
}

static void print_cors(struct strbuf *out, const struct cors_policy *cors)
{
    strbuf_add_str(out, "  cors:\n");
    for (size_t i = 0; i < cors->origin_count; i++) {
        const struct cors_origin *origin = &cors->origins[i];
        strbuf_printf(out, "  - origin: \"%.*s%s%.*s\"\n", SLICE_FMT(origin->head),
                      origin->is_wildcard ? "(labels)" : "", SLICE_FMT(origin->tail));
    }
    strbuf_printf(out, "  - any: {origin: %d, method: %d, header: %d}\n", cors->any_origin,
                  cors->any_method, cors->any_header);
    strbuf_printf(out, "  - credentials: %d\n  - methods: \"%.*s\"\n  - headers: \"%.*s\"\n",
                  cors->credentials, SLICE_FMT(cors->methods), SLICE_FMT(cors->headers));
    strbuf_printf(out, "  - expose: \"%.*s\"\n  - maxAge: %.*s\n", SLICE_FMT(cors->expose),
                  SLICE_FMT(cors->max_age));
}

static void print_affinity(struct strbuf *out, const struct snap_affinity *affinity)
{
    strbuf_printf(out, "  affinity: {header: \"%.*s\", cookie: \"%.*s%.*s\", secure: %d}\n",
                  SLICE_FMT(affinity->header), SLICE_FMT(affinity->cookie_name),
                  SLICE_FMT(affinity->cookie_attributes), affinity->cookie_secure);
}

static void print_filters(struct strbuf *out, const struct snap_rule *rule)
{
    if (rule->answer != NULL) {
        print_answer(out, rule->answer);
    }
    if (rule->path_rewrite != NULL) {
        print_change(out, "pathRewrite", rule->path_rewrite);
    }
    if (rule->request_edit != NULL) {
        print_edit(out, "requestHeaders", rule->request_edit);
    }
    if (rule->response_edit != NULL) {
        print_edit(out, "responseHeaders", rule->response_edit);
    }
    if (rule->cors != NULL) {
        print_cors(out, rule->cors);
    }
    if (rule->affinity != NULL) {
        print_affinity(out, rule->affinity);
    }
    if (rule->mirror != NULL) {
        strbuf_printf(out, "  mirror: %u%% of ", rule->mirror_percent);
        print_target(out, rule->mirror, false);
        strbuf_add_char(out, '\n');
    }
}

static void print_retry(struct strbuf *out, const struct snap_rule *rule)
{
    static const char *const names[] = {"ConnectFailure", "Reset", "Overloaded", "ServerError",
                                        "Timeout"};
    static const uint32_t bits[] = {SNAP_RETRY_CONNECT_FAILURE, SNAP_RETRY_RESET,
                                    SNAP_RETRY_OVERLOADED, SNAP_RETRY_SERVER_ERROR,
                                    SNAP_RETRY_TIMEOUT};
    bool any = false;
    strbuf_printf(out, "  retry: {attempts: %u, when: [", rule->retry_attempts);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if ((rule->retry_on & bits[i]) != 0) {
            strbuf_printf(out, "%s%s", any ? ", " : "", names[i]);
            any = true;
        }
    }
    strbuf_add_str(out, "]}\n");
    if (rule->per_try_timeout_ms != 0 || rule->first_token_timeout_ms != 0) {
        strbuf_printf(out, "  firstToken: {all: %u, perTry: %u}\n", rule->first_token_timeout_ms,
                      rule->per_try_timeout_ms);
    }
    if (rule->retry_budget.percent != 20 || rule->retry_budget.min_concurrency != 10) {
        strbuf_printf(out, "  retryBudget: {percent: %u, min: %u}\n", rule->retry_budget.percent,
                      rule->retry_budget.min_concurrency);
    }
    if (rule->hedge_delay_ms != 0) {
        strbuf_printf(out, "  hedge: {delay: %u}\n", rule->hedge_delay_ms);
    }
}

static void print_rule(struct strbuf *out, const struct snap_rule *rule)
{
    strbuf_printf(out, "- rule: %.*s/%.*s\n", SLICE_FMT(rule->route_key), SLICE_FMT(rule->name));
    for (size_t i = 0; i < rule->target_count; i++) {
        strbuf_add_str(out, i == 0 ? "  targets:\n  - " : "  - ");
        print_target(out, &rule->targets[i], true);
        strbuf_add_char(out, '\n');
    }
    for (size_t i = 0; i < rule->fallback_count; i++) {
        strbuf_add_str(out, i == 0 ? "  fallbacks:\n  - " : "  - ");
        print_target(out, &rule->fallbacks[i], false);
        strbuf_add_char(out, '\n');
    }
    print_filters(out, rule);
    strbuf_printf(out, "  totalWeight: %llu\n  requestTimeout: %u\n",
                  (unsigned long long)rule->total_weight, rule->request_timeout_ms);
    print_retry(out, rule);
    strbuf_printf(out, "  needsBody: %s\n", rule->needs_body ? "true" : "false");
    print_rule_tls(out, rule);
}

static bool printed_before(const struct snapshot *snapshot, size_t host, size_t entry)
{
    const struct snap_rule *rule = snapshot->hosts[host].entries[entry].rule;
    for (size_t h = 0; h <= host; h++) {
        size_t n = h == host ? entry : snapshot->hosts[h].entry_count;
        for (size_t e = 0; e < n; e++) {
            if (snapshot->hosts[h].entries[e].rule == rule) {
                return true;
            }
        }
    }
    return false;
}

static void print_hosts(struct strbuf *out, const struct snapshot *snapshot)
{
    strbuf_add_str(out, "hosts:\n");
    for (size_t h = 0; h < snapshot->host_count; h++) {
        const struct snap_host *host = &snapshot->hosts[h];
        strbuf_printf(out, "- host: \"%.*s\"\n  entries:\n", SLICE_FMT(host->name));
        for (size_t e = 0; e < host->entry_count; e++) {
            const struct snap_entry *entry = &host->entries[e];
            strbuf_add_str(out, "  - '");
            print_match(out, entry->match);
            strbuf_printf(out, " -> %.*s/%.*s'\n", SLICE_FMT(entry->rule->route_key),
                          SLICE_FMT(entry->rule->name));
        }
    }
    strbuf_add_str(out, "rules:\n");
    for (size_t h = 0; h < snapshot->host_count; h++) {
        for (size_t e = 0; e < snapshot->hosts[h].entry_count; e++) {
            if (!printed_before(snapshot, h, e)) {
                print_rule(out, snapshot->hosts[h].entries[e].rule);
            }
        }
    }
}

static size_t ready_count(void *arg, struct slice key)
{
    const struct world *w = arg;
    const struct finding *finding = map_get(&w->result.by_key[OBJECT_MODELBACKEND], key);
    struct resolution resolution = {0};
    if (finding == NULL || !finding->accepted.holds) {
        return 0;
    }
    assert_int_equal(resolve_backend(&w->resources, finding->object, &resolution), 0);
    size_t ready = resolution.endpoints.len;
    resolution_fini(&resolution);
    return ready;
}

static void print_status(struct strbuf *out, struct world *w, const struct finding *finding)
{
    struct object_status status;
    struct resolution resolution = {0};
    struct backend_view view = {0};
    if (finding->object->kind == OBJECT_AIROUTE) {
        assert_true(judge_route_status(finding, true, ready_count, w, &status));
    } else {
        if (finding->accepted.holds) {
            assert_int_equal(resolve_backend(&w->resources, finding->object, &resolution), 0);
            view.resolution = &resolution;
        }
        assert_true(judge_backend_status(finding, &view, true, &status));
        resolution_fini(&resolution);
    }
    strbuf_printf(out, "- object: %s %s/%s # generation %lld\n",
                  object_kinds[status.kind].kind, status.namespace, status.name,
                  (long long)status.generation);
    for (size_t i = 0; i < CONDITION_COUNT; i++) {
        const struct condition *condition = &status.conditions[i];
        if (condition->present) {
            strbuf_printf(out, "  %s: %s %s%s%s\n", condition_type_text((enum condition_type)i),
                          condition_state_text(condition->state),
                          condition_reason_text(condition->reason),
                          condition->message[0] != '\0' ? " # " : "", condition->message);
        }
    }
    object_status_fini(&status);
}

// ---- compiling ----

static void world_up(struct world *w, const struct manifest *manifest, bool backwards)
{
    *w = (struct world){0};
    assert_int_equal(posix_memalign((void **)&w->epoch, CACHE_LINE, sizeof(*w->epoch)), 0);
    epoch_init(w->epoch);
    assert_int_equal(endpoint_table_new(&w->table, w->epoch), 0);
    size_t n = manifest->objects.len;
    for (size_t i = 0; i < n; i++) {
        struct object *object = manifest->objects.items[backwards ? n - 1 - i : i];
        assert_null(resources_get(&w->resources, object->kind, object->key));
        assert_int_equal(resources_put(&w->resources, object), 0);
    }
    struct compile_input input = {
        .resources = &w->resources, .endpoints = w->table, .ingress_class = SLICE("headrace"),
        .now_s = 1800000000}; // 15 January 2027
    assert_int_equal(compile(&input, &w->result), 0);
}

static void world_down(struct world *w)
{
    compile_result_fini(&w->result);
    resources_fini(&w->resources);
    endpoint_table_free(w->table);
    epoch_fini(w->epoch);
    free(w->epoch);
}

// Whoever publishes it has read the authorities, so that no worker has to.
static void check_read_ahead(const struct snapshot *snapshot, const struct tls_trust *trust)
{
    struct error err = ERROR_INIT;
    struct tls_store *store = tls_store_get(trust, &err);
    bool is_held = false;
    for (size_t i = 0; i < snapshot->tls_stores.len; i++) {
        is_held = is_held || snapshot->tls_stores.items[i] == store;
    }
    assert_true(is_held);
    tls_store_unref(store);
}

static void check_all_read_ahead(const struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->backend_count; i++) {
        const struct tls_upstream *tls = snapshot->backends[i]->tls;
        if (tls != NULL && !tls->insecure) {
            check_read_ahead(snapshot, tls->trust);
        }
    }
    for (size_t i = 0; i < snapshot->tls_host_count; i++) {
        if (snapshot->tls_hosts[i].client_trust != NULL) {
            check_read_ahead(snapshot, snapshot->tls_hosts[i].client_trust);
        }
    }
}

static void compile_to_text(const struct manifest *manifest, bool backwards, struct strbuf *out)
{
    struct world w;
    world_up(&w, manifest, backwards);
    strbuf_init(out, OUTPUT_MAX);
    check_all_read_ahead(w.result.snapshot);
    strbuf_add_str(out, "backends:\n");
    for (size_t i = 0; i < w.result.snapshot->backend_count; i++) {
        print_backend(out, &w, w.result.snapshot->backends[i]);
    }
    print_hosts(out, w.result.snapshot);
    print_tls_hosts(out, w.result.snapshot);
    if (w.result.next_judgement_s != 0) {
        strbuf_printf(out, "nextJudgement: %lld\n", (long long)w.result.next_judgement_s);
    }
    strbuf_add_str(out, "statuses:\n");
    for (size_t i = 0; i < w.result.finding_count; i++) {
        print_status(out, &w, &w.result.findings[i]);
    }
    assert_false(out->failed);
    world_down(&w);
}

static char *read_text(const char *path)
{
    FILE *file = fopen(path, "re");
    char *text = calloc(1, OUTPUT_MAX);
    if (file != NULL) {
        assert_true(fread(text, 1, OUTPUT_MAX - 1, file) < OUTPUT_MAX - 1);
        fclose(file);
    }
    return text;
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    fclose(file);
}

static bool run_case(const char *in_path)
{
    char out_path[512];
    struct manifest manifest;
    struct error err = ERROR_INIT;
    struct strbuf forwards, backwards;
    if (manifest_read(in_path, &manifest, &err) < 0) {
        fail_msg("%s", err.text);
    }
    compile_to_text(&manifest, false, &forwards);
    compile_to_text(&manifest, true, &backwards);
    assert_string_equal(strbuf_cstr(&forwards), strbuf_cstr(&backwards)); // whatever the order
    snprintf(out_path, sizeof(out_path), "%.*s.out.yaml",
             (int)(strlen(in_path) - strlen(".in.yaml")), in_path);
    char *wanted = read_text(out_path);
    bool same = strcmp(wanted, strbuf_cstr(&forwards)) == 0;
    if (!same && getenv("UPDATE_GOLDEN") != NULL) {
        write_text(out_path, strbuf_cstr(&forwards));
        same = true;
    }
    if (!same) {
        print_error("%s differs; UPDATE_GOLDEN=1 rewrites it. Now:\n%s", out_path,
                    strbuf_cstr(&forwards));
    }
    free(wanted);
    strbuf_fini(&forwards);
    strbuf_fini(&backwards);
    manifest_fini(&manifest);
    return same;
}

static void test_golden_files(void **state)
{
    (void)state;
    glob_t found;
    size_t different = 0;
    assert_int_equal(glob("tests/golden/*.in.yaml", 0, NULL, &found), 0);
    assert_true(found.gl_pathc >= GOLDEN_MIN);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        different += !run_case(found.gl_pathv[i]);
    }
    globfree(&found);
    assert_int_equal(different, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_files),
    };
    return cmocka_run_group_tests_name("golden", tests, NULL, NULL);
}
