#include "explain_text.h"

#include <stdio.h>
#include <string.h>

#include "admin_client.h"
#include "endpoint/pick.h"
#include "table.h"

// Why others came first.
static void remark(struct json_object *candidate, struct table *table)
{
    static const struct {
        const char *name;
        const char *text;
    } rows[] = {
#define X(name_, label, text_) {.name = label, .text = text_},
        PICK_SKIP_TABLE(X)
#undef X
    };
    const char *skip = json_text(candidate, "skip", "none");
    const char *text = "";
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        text = strcmp(rows[i].name, skip) == 0 ? rows[i].text : text;
    }
    bool tried = json_flag(candidate, "tried");
    table_cell(table, "%s%s%s", text, text[0] != '\0' && tried ? ", " : "",
               tried ? "tried before" : "");
}

static void candidate_row(struct json_object *candidate, bool chosen, struct table *table)
{
    double kv = json_number(candidate, "kv_utilisation", -1);
    double age = json_number(candidate, "age_ms", -1);
    table_cell(table, "%s", chosen ? "*" : "");
    table_cell(table, "%s", json_text(candidate, "endpoint", "?"));
    table_cell(table, "%.1f", json_number(candidate, "cost", 0));
    table_cell(table, "%.0f", json_number(candidate, "ours_tokens", 0));
    table_cell(table, "%.0f", json_number(candidate, "others_tokens", 0));
    table_cell(table, "%.0f", json_number(candidate, "own_tokens", 0));
    table_cell(table, "%.1f", json_number(candidate, "running", 0));
    table_cell(table, "%.0f", json_number(candidate, "kv_pressure", 0));
    table_cell(table, "%.0f", json_number(candidate, "weight", 1));
    table_cell(table, "%.0f", json_number(candidate, "ours_requests", 0));
    if (kv >= 0) {
        table_cell(table, "%.0f%%", kv * 100);
    } else {
        table_cell(table, "-");
    }
    if (age >= 0) {
        table_cell(table, "%.1fs", age / 1000);
    } else {
        table_cell(table, "-");
    }
    remark(candidate, table);
}

static const char *policy_text(const char *policy)
{
    if (strcmp(policy, "InferenceAware") == 0) {
        return "cost in tokens of prefill work = (ours waiting + others waiting + own, "
               "counted twice, + decoding + KV pressure) / weight; the lowest is taken";
    }
    if (strcmp(policy, "LeastRequest") == 0) {
        return "cost = requests there, ours and others', with this one, / weight; "
               "the lowest is taken";
    }
    return "no cost: endpoints take turns or are drawn by weight";
}

static void write_pick(struct json_object *holder, struct strbuf *out)
{
    struct json_object *pick;
    if (!json_object_object_get_ex(holder, "pick", &pick)) {
        return;
    }
    struct json_object *candidates = json_list(pick, "candidates");
    size_t count = json_list_len(candidates);
    const char *policy = json_text(pick, "policy", "?");
    if (count == 0) {
        return;
    }
    if (json_flag(pick, "session")) {
        strbuf_add_str(out, "    the session's own endpoint, whatever the costs\n");
    } else {
        strbuf_printf(out, "    policy %s: %s\n", policy, policy_text(policy));
    }
    struct table table;
    table_init(&table, " ENDPOINT >COST >OURS >OTHERS >OWN >DECODING >PRESSURE >WEIGHT "
                       ">REQUESTS >KV >AGE REMARK");
    for (size_t i = 0; i < count; i++) {
        candidate_row(json_object_array_get_idx(candidates, i), i == 0, &table);
    }
    table_write(&table, 4, out);
    double all = json_number(pick, "endpoints", 0);
    if (all > (double)count) {
        strbuf_printf(out, "    (the best %zu of %.0f)\n", count, all);
    }
}

static void write_model(struct json_object *holder, const char *asked, struct strbuf *out)
{
    const char *upstream = json_text(holder, "upstream_model", "");
    if (upstream[0] != '\0' && strcmp(upstream, asked) != 0) {
        strbuf_printf(out, ", model sent as \"%s\"", upstream);
    }
}

static void write_decision(struct json_object *decision, struct strbuf *out)
{
    const char *model = json_text(decision, "model", "");
    const char *after = json_text(decision, "after", "");
    strbuf_printf(out, "%s  request %s  attempt %.0f%s%s%s\n", json_text(decision, "time", "?"),
                  json_text(decision, "request_id", "?"), json_number(decision, "attempt", 0),
                  json_flag(decision, "fallback") ? ", on a fallback" : "",
                  after[0] != '\0' ? ", after: " : "", after);
    strbuf_printf(out, "  route %s", json_text(decision, "route", "?"));
    const char *rule = json_text(decision, "rule", "");
    if (rule[0] != '\0') {
        strbuf_printf(out, ", rule \"%s\"", rule);
    }
    if (model[0] != '\0') {
        strbuf_printf(out, ", model \"%s\"", model);
    }
    strbuf_printf(out, "\n  backend %s", json_text(decision, "backend", "?"));
    write_model(decision, model, out);
    strbuf_printf(out, ", about %.0f prompt tokens\n", json_number(decision, "prompt_tokens", 0));
    if (json_flag(decision, "failed")) {
        strbuf_add_str(out, "    no endpoint could be picked: there is none, or all were tried\n");
    } else {
        write_pick(decision, out);
    }
}

int explain_text_decisions(struct json_object *json, const char *id, struct strbuf *out)
{
    struct json_object *list = json_list(json, "decisions");
    for (size_t i = 0; i < json_list_len(list); i++) {
        write_decision(json_object_array_get_idx(list, i), out);
    }
    if (json_list_len(list) == 0) {
        fprintf(stderr, "headrace explain: no decision for request %s: it was answered without an "
                        "endpoint, or is older than the last 256 of its worker\n", id);
        return 1;
    }
    return 0;
}

static void write_targets(struct json_object *json, const char *key, const char *word,
                          const char *model, struct strbuf *out)
{
    struct json_object *targets = json_list(json, key);
    for (size_t i = 0; i < json_list_len(targets); i++) {
        struct json_object *target = json_object_array_get_idx(targets, i);
        double share = json_number(target, "share", -1);
        strbuf_printf(out, "  %s %s", word, json_text(target, "backend", "(does not resolve)"));
        if (share >= 0) {
            strbuf_printf(out, ", weight %.0f (%.0f%%)", json_number(target, "weight", 0),
                          share * 100);
        }
        write_model(target, model, out);
        strbuf_add_char(out, '\n');
        const char *problem = json_text(target, "problem", NULL);
        if (problem != NULL) {
            strbuf_printf(out, "    %s\n", problem);
        }
        write_pick(target, out);
    }
}

// What the rule asks of the connection.
static void write_connection(struct json_object *json, struct strbuf *out)
{
    struct json_object *guards = json_list(json, "client_certificates");
    double port = json_number(json, "redirects_to_https_port", 0);
    if (port > 0) {
        strbuf_printf(out, "  in the clear: a redirect to https, port %.0f\n", port);
    }
    for (size_t i = 0; i < json_list_len(guards); i++) {
        struct json_object *guard = json_object_array_get_idx(guards, i);
        if (json_flag(guard, "required")) {
            strbuf_printf(out, "  clients of host %s must show a certificate%s\n",
                          json_text(guard, "host", "?"),
                          json_flag(guard, "unresolved")
                              ? ", and none is good: its authorities are missing"
                              : "");
        }
    }
}

int explain_text_match(struct json_object *json, struct strbuf *out)
{
    struct json_object *query = NULL;
    json_object_object_get_ex(json, "query", &query);
    const char *host = json_text(query, "host", "");
    const char *model = json_text(query, "model", "");
    strbuf_printf(out, "%s %s%s%s", json_text(query, "method", "?"), json_text(query, "path", "?"),
                  host[0] != '\0' ? "  host " : "", host);
    if (model[0] != '\0') {
        strbuf_printf(out, "  model \"%s\"", model);
    }
    strbuf_add_char(out, '\n');
    if (!json_flag(json, "matched")) {
        strbuf_printf(out, "  no rule: %s\n", json_text(json, "problem", "?"));
        return 1;
    }
    const char *rule = json_text(json, "rule", "");
    strbuf_printf(out, "  route %s%s%s%s", json_text(json, "route", "?"),
                  rule[0] != '\0' ? ", rule \"" : "", rule, rule[0] != '\0' ? "\"" : "");
    double generation = json_number(json, "generation", 0);
    if (generation > 0) {
        strbuf_printf(out, ", configuration %.0f", generation);
    }
    strbuf_add_char(out, '\n');
    write_connection(json, out);
    double status = json_number(json, "answer_status", 0);
    if (status > 0) {
        strbuf_printf(out, "  answers itself: %.0f\n", status);
    }
    write_targets(json, "backends", "backend", model, out);
    write_targets(json, "fallbacks", "fallback", model, out);
    return 0;
}
