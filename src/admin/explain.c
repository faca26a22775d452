#include "admin/explain.h"

#include "admin/page.h"
#include "ai/openai.h"
#include "base/clock.h"
#include "observe/decision.h"

void explain_question_init(struct explain_question *question)
{
    *question = (struct explain_question){
        .host = SLICE(""),
        .path = SLICE("/v1/chat/completions"),
        .method = SLICE("POST"),
        .prompt_bytes = EXPLAIN_PROMPT_BYTES,
    };
}

const char *explain_add_header(struct explain_question *question, struct slice line)
{
    ptrdiff_t colon = slice_find_byte(line, ':');
    if (colon <= 0) {
        return "a header is written as \"Name: value\"";
    }
    if (question->header_count == EXPLAIN_HEADERS_MAX) {
        return "at most 32 headers can be given";
    }
    struct slice name = slice_trim(slice_first(line, (size_t)colon));
    question->headers[question->header_count++] = (struct http_header){
        .name = name,
        .value = slice_trim(slice_skip(line, (size_t)colon + 1)),
        .token = (uint16_t)http_token_find(name),
    };
    return NULL;
}

const char *explain_question_check(const struct explain_question *question)
{
    const struct slice texts[] = {question->host, question->path, question->method,
                                  question->model};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (texts[i].len > EXPLAIN_TEXT_MAX) {
            return "an argument is too long";
        }
    }
    return NULL;
}

static void write_candidates(const struct snap_backend *backend,
                             const struct explain_question *question, struct rand_state *rng,
                             struct strbuf *out)
{
    struct pick_request request = {
        .policy = backend->policy,
        .prompt_bytes = question->prompt_bytes,
        .now_ms = clock_mono_ms(),
        .rng = rng,
    };
    struct pick_trace trace = {.policy = backend->policy};
    if (pick_preview(backend->state, &request, &trace) != 0) {
        page_str(out, "problem",
                 question->from_files
                     ? SLICE("the files name no endpoint: those of Services and Pods are known to "
                             "a running instance")
                     : SLICE("the backend has no ready endpoint"));
    }
    strbuf_add(out, SLICE(",\"pick\":"));
    pick_trace_write_json(&trace, out);
}

// The backends of a rule or its fallbacks.
struct target_list {
    const char *key;
    const struct snap_target *targets;
    size_t count;
    uint64_t total_weight; // 0: they are not drawn by weight
};

static void write_targets(const struct target_list *list, const struct explain_question *question,
                          struct rand_state *rng, struct strbuf *out)
{
    page_open(out, list->key, '[');
    for (size_t i = 0; i < list->count; i++) {
        const struct snap_target *target = &list->targets[i];
        page_open(out, "", '{');
        page_target(target, list->total_weight, out);
        if (target->backend != NULL) {
            if (question->model.ptr != NULL) {
                page_str(out, "upstream_model", snapshot_upstream_model(target, question->model));
            }
            write_candidates(target->backend, question, rng, out);
        }
        page_close(out, '}');
    }
    page_close(out, ']');
}

static void offer_name(struct slice model, void *arg)
{
    openai_close_names_offer(arg, model);
}

static void write_miss(const struct snapshot *snapshot, const struct route_query *query,
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
        if (snapshot_each_model(snapshot, query->host, NULL, offer_name, &close) == 0) {
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

static void write_question(const struct route_query *query, struct strbuf *out)
{
    page_open(out, "query", '{');
    page_str(out, "host", query->host);
    page_str(out, "method", query->method);
    page_str(out, "path", query->path);
    if (query->model.ptr != NULL) {
        page_str(out, "model", query->model);
    }
    if (query->header_count != 0) {
        page_open(out, "headers", '[');
        for (size_t i = 0; i < query->header_count; i++) {
            page_open(out, "", '{');
            page_str(out, "name", query->headers[i].name);
            page_str(out, "value", query->headers[i].value);
            page_close(out, '}');
        }
        page_close(out, ']');
    }
    page_close(out, '}');
}

void explain_write(const struct snapshot *snapshot, const struct explain_question *question,
                   struct rand_state *rng, struct strbuf *out)
{
    char host[256];
    struct route_query query = {
        .host = normal_host(question->host, host, sizeof(host)),
        .path = question->path,
        .method = question->method,
        .headers = question->headers,
        .header_count = question->header_count,
        .model = question->model,
    };
    enum route_miss miss;
    const struct snap_rule *rule = snapshot_match(snapshot, &query, &miss);
    page_open(out, "", '{');
    page_num(out, "generation", (double)snapshot->generation);
    write_question(&query, out);
    page_bool(out, "matched", rule != NULL);
    if (rule == NULL) {
        write_miss(snapshot, &query, miss, out);
    } else {
        const struct target_list backends = {"backends", rule->targets, rule->target_count,
                                             rule->total_weight};
        const struct target_list fallbacks = {"fallbacks", rule->fallbacks, rule->fallback_count,
                                              0};
        page_rule(rule, out);
        write_targets(&backends, question, rng, out);
        write_targets(&fallbacks, question, rng, out);
    }
    page_close(out, '}');
}
