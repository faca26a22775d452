// `headrace explain`: why a request went where it went, or where one would go.
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "admin_client.h"
#include "base/options.h"
#include "commands.h"
#include "table.h"

enum { OUT_MAX = 16 * 1024 * 1024 };

struct explain_options {
    const char *admin;
    const char *request_id;
    const char *host;
    const char *path;
    const char *method;
    const char *model;
    const char *prompt_bytes;
    const char *output;
    bool json;
};

static void remark(struct json_object *candidate, struct table *table)
{
    const char *why = json_flag(candidate, "kv_full")      ? "KV cache full"
                      : json_flag(candidate, "overloaded") ? "refused lately"
                      : json_flag(candidate, "avoided")    ? "failing, or tried before"
                                                           : "";
    table_cell(table, "%s", why);
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
        return "cost in tokens of prefill work = (ours waiting + others waiting + own, counted twice, "
               "+ decoding + KV pressure) / weight; the lowest is taken";
    }
    if (strcmp(policy, "LeastRequest") == 0) {
        return "cost = requests there, ours and others', with this one, / weight; the lowest is taken";
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
    strbuf_printf(out, "    policy %s: %s\n", policy, policy_text(policy));
    if (count == 0) {
        return;
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

static int write_decisions(struct json_object *json, const char *id, struct strbuf *out)
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

static int write_match(struct json_object *json, struct strbuf *out)
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
    strbuf_printf(out, "  route %s%s%s%s, configuration %.0f\n", json_text(json, "route", "?"),
                  rule[0] != '\0' ? ", rule \"" : "", rule, rule[0] != '\0' ? "\"" : "",
                  json_number(json, "generation", 0));
    write_targets(json, "backends", "backend", model, out);
    write_targets(json, "fallbacks", "fallback", model, out);
    return 0;
}

static int ask(const struct explain_options *o, struct error *err)
{
    bool by_id = o->request_id != NULL;
    const struct admin_argument by_request[] = {{"request_id", o->request_id}};
    const struct admin_argument by_query[] = {
        {"host", o->host},     {"path", o->path},   {"method", o->method},
        {"model", o->model}, {"prompt_bytes", o->prompt_bytes},
    };
    struct json_object *json;
    int rc = by_id ? admin_get(o->admin, "/decisions", by_request, ARRAY_LEN(by_request), &json, err)
                   : admin_get(o->admin, "/explain", by_query, ARRAY_LEN(by_query), &json, err);
    if (rc != 0) {
        return rc;
    }
    struct strbuf out;
    strbuf_init(&out, OUT_MAX);
    if (o->json) {
        strbuf_printf(&out, "%s\n", json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN));
    } else if (by_id) {
        rc = write_decisions(json, o->request_id, &out);
    } else {
        rc = write_match(json, &out);
    }
    json_object_put(json);
    print_clean(&out);
    strbuf_fini(&out);
    return rc;
}

int cmd_explain(int argc, char **argv)
{
    struct explain_options o = {.admin = "127.0.0.1:9090", .output = "table"};
    const struct option_row rows[] = {
        {"admin", "ADDR:PORT", "admin address of the instance (default 127.0.0.1:9090)",
         OPTION_STRING, &o.admin, 0, 0, NULL},
        {"request-id", "ID", "a request that was served: its x-request-id", OPTION_STRING,
         &o.request_id, 0, 0, NULL},
        {"host", "NAME", "host of a request to be imagined", OPTION_STRING, &o.host, 0, 0, NULL},
        {"path", "PATH", "its path (default /v1/chat/completions)", OPTION_STRING, &o.path, 0, 0,
         NULL},
        {"method", "METHOD", "its method (default POST)", OPTION_STRING, &o.method, 0, 0, NULL},
        {"model", "NAME", "the model that it names", OPTION_STRING, &o.model, 0, 0, NULL},
        {"prompt-bytes", "N", "length of its prompt (default 4096)", OPTION_STRING, &o.prompt_bytes,
         0, 0, NULL},
        {"output", "FORMAT", "table or json; also -o (default table)", OPTION_STRING, &o.output, 0,
         0, NULL},
    };
    struct error err = ERROR_INIT;
    int words = 0;
    accept_short_output(argc, argv);
    int rc = options_parse(rows, ARRAY_LEN(rows), "HEADRACE", argc, argv, &words, &err);
    if (rc == -EAGAIN) {
        printf("Usage: headrace explain [--admin ADDR:PORT] --request-id ID\n"
               "       headrace explain [--admin ADDR:PORT] [--host NAME] [--path PATH] "
               "[--model NAME]\n\n");
        options_help(rows, ARRAY_LEN(rows), "HEADRACE");
        return 0;
    }
    if (rc == 0 && words != 0) {
        rc = error_set(&err, -EINVAL, "unexpected argument \"%s\"", argv[0]);
    }
    if (rc == 0) {
        rc = output_is_json(o.output, &o.json, &err);
    }
    if (rc == 0) {
        rc = ask(&o, &err);
        if (rc >= 0) {
            return rc;
        }
        fprintf(stderr, "headrace explain: %s\n", err.text);
        return 1;
    }
    fprintf(stderr, "headrace explain: %s\n", err.text);
    return 2;
}
