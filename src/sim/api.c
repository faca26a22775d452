// Which request gets which answer: the OpenAI-compatible API, and where the other pages are.
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "sim/embeddings.h"
#include "sim/pages.h"
#include "sim/prompt.h"
#include "sim/words.h"

enum { CHOICES_MAX = 128 }; // of `n`, as OpenAI has it

// ---- POST ---------------------------------------------------------------------------------------

// limit 0: the length of the context.
static void fail_limit(struct sim_exchange *exchange, enum sim_failure failure, const char *field,
                       uint64_t value, uint64_t limit)
{
    struct sim_fill fill = sim_exchange_fill(exchange);
    fill.field = field;
    fill.value = value;
    fill.limit = limit != 0 ? limit : fill.limit;
    sim_exchange_fail(exchange, failure, &fill);
}

static void fail(struct sim_exchange *exchange, enum sim_failure failure, const char *field,
                 uint64_t value)
{
    fail_limit(exchange, failure, field, value, 0);
}

static bool has_form(const struct sim_exchange *exchange, enum sim_failure failure)
{
    return exchange->pod->server->dialect->failures[failure].body != NULL;
}

static bool list_has(const struct sim_list *list, struct slice name)
{
    for (size_t i = 0; i < list->len; i++) {
        if (slice_eq_str(name, list->items[i])) {
            return true;
        }
    }
    return false;
}

static const char *id_prefix(const struct sim_exchange *exchange)
{
    const struct sim_dialect *dialect = exchange->pod->server->dialect;
    return exchange->events != NULL         ? exchange->events->id_prefix
           : exchange->api == SIM_API_TEXT ? dialect->id_text
                                           : dialect->id_chat;
}

static struct slice new_id(struct sim_exchange *exchange)
{
    static const char alphabet[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    enum sim_id_form form = exchange->pod->server->dialect->id_form;
    struct rand_state *rng = &exchange->pod->server->rng;
    uint32_t letters = form == SIM_ID_LETTERS ? sizeof(alphabet) - 1 : 16;
    char random[32];
    size_t len = form == SIM_ID_HEX ? sizeof(random) / 2 : sizeof(random);
    for (size_t i = 0; i < len; i++) {
        random[i] = alphabet[rand_below(rng, letters)];
    }
    struct slice id = arena_printf(&exchange->arena, "%s%.*s", id_prefix(exchange), (int)len,
                                   random);
    return id.ptr != NULL ? id : SLICE("chatcmpl-out-of-memory");
}

static void make_id(struct sim_exchange *exchange)
{
    // vLLM builds the id from what the client sent. Only plain bytes may enter the JSON texts.
    struct slice sent = exchange->request_id;
    bool plain = sent.len > 0 && exchange->pod->server->dialect->request_ids &&
                 exchange->api != SIM_API_RESPONSES;
    for (size_t i = 0; plain && i < sent.len; i++) {
        char c = sent.ptr[i];
        plain = c > ' ' && c < 0x7f && c != '"' && c != '\\';
    }
    if (plain) {
        exchange->id = arena_printf(&exchange->arena, "%s%.*s", id_prefix(exchange),
                                    SLICE_FMT(sent));
    }
    if (exchange->id.ptr == NULL) {
        exchange->id = new_id(exchange);
    }
    exchange->created = clock_wall_ns() / 1000000000u;
}

// The model that is asked for, checked. False when an answer was given.
static bool take_model(struct sim_exchange *exchange, struct json_object *body)
{
    const struct sim_options *options = exchange->pod->server->options;
    struct json_object *value = NULL;
    json_object_object_get_ex(body, "model", &value);
    struct slice name = slice_of_str(options->models.items[0]);
    if (json_object_is_type(value, json_type_string)) {
        name = slice_of(json_object_get_string(value), (size_t)json_object_get_string_len(value));
    }
    exchange->model = arena_dup(&exchange->arena, name);
    if (exchange->model.ptr == NULL) {
        exchange->model = SLICE("");
    }
    if (list_has(&options->adapters, name)) {
        exchange->adapter = exchange->model;
        return true;
    }
    if (list_has(&options->models, name) || !has_form(exchange, SIM_FAILURE_UNKNOWN_MODEL)) {
        return true;
    }
    fail(exchange, SIM_FAILURE_UNKNOWN_MODEL, "model", 0);
    return false;
}

// How many tokens are asked for. False when an answer was given.
static bool take_length(struct sim_exchange *exchange, struct json_object *body)
{
    struct sim_request *request = &exchange->first.request;
    uint32_t context = sim_engine_context(&exchange->pod->engine);
    if (request->prompt_tokens >= context + (exchange->api == SIM_API_EMBEDDINGS)) {
        fail(exchange, SIM_FAILURE_TOO_LONG, NULL, request->prompt_tokens);
        return false;
    }
    uint32_t room = context - request->prompt_tokens;
    uint32_t asked = 0;
    static const char *const fields[] = {"max_completion_tokens", "max_tokens",
                                         "max_output_tokens"};
    const char *field = NULL;
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(fields) && rc == 0 && asked == 0; i++) {
        field = fields[i];
        rc = sim_prompt_u32(body, field, &asked);
    }
    if (rc != 0) {
        fail(exchange, SIM_FAILURE_WRONG_TYPE, field, 0);
        return false;
    }
    if (asked > room && has_form(exchange, SIM_FAILURE_MAX_TOKENS)) {
        fail(exchange, SIM_FAILURE_MAX_TOKENS, field, asked);
        return false;
    }
    request->max_tokens = asked;
    return true;
}

// Where a choice ends, when so many tokens were asked for (0: as many as the model likes).
static void set_length(struct sim_choice *choice, uint32_t asked)
{
    struct sim_request *request = &choice->request;
    uint32_t room = sim_engine_context(&choice->exchange->pod->engine) - request->prompt_tokens;
    request->finish = asked == 0 ? SIM_FINISH_STOP : SIM_FINISH_LENGTH;
    request->max_tokens = asked == 0 ? sim_natural_length(choice->seed) : asked;
    if (request->max_tokens > room) {
        request->max_tokens = room;
        request->finish = SIM_FINISH_LENGTH;
    }
    if (choice->exchange->api == SIM_API_EMBEDDINGS) {
        request->max_tokens = 0;
    }
}

// How many answers are asked for, and what tells them apart. False when an answer was given.
static bool take_choices(struct sim_exchange *exchange, struct json_object *body)
{
    const struct sim_dialect *dialect = exchange->pod->server->dialect;
    bool has_choices = exchange->api == SIM_API_CHAT || exchange->api == SIM_API_TEXT;
    uint32_t slots = exchange->pod->engine.config.max_num_seqs;
    uint32_t limit = dialect->choices_are_slots ? MIN_OF(slots, (uint32_t)CHOICES_MAX) : CHOICES_MAX;
    uint32_t asked = exchange->first.request.max_tokens;
    uint32_t count = 1;
    if (has_choices && sim_prompt_u32(body, "n", &count) != 0) {
        fail(exchange, SIM_FAILURE_WRONG_TYPE, "n", 0);
        return false;
    }
    if (count == 0 || count > limit) {
        fail_limit(exchange, SIM_FAILURE_CHOICES, "n", count, limit);
        return false;
    }
    if (count > 1) {
        struct sim_choice *choices = ARENA_ARRAY(&exchange->arena, struct sim_choice, count);
        if (choices == NULL) {
            fail(exchange, SIM_FAILURE_OVERLOADED, NULL, 0);
            return false;
        }
        exchange->choices = choices;
        exchange->choice_count = count;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct sim_choice *choice = &exchange->choices[i];
        *choice = exchange->first;
        choice->seed = i == 0 ? choice->seed : sim_mix(choice->seed, UINT64_C(1) << 32 | i);
        choice->request.sibling = i > 0;
        choice->id = i > 0 && dialect->choice_ids ? new_id(exchange) : SLICE("");
        set_length(choice, asked);
    }
    return true;
}

static bool take_prompt(struct sim_exchange *exchange, struct json_object *body)
{
    struct strbuf text;
    uint32_t tokens;
    uint32_t seed = 0;
    const char *field;
    strbuf_init(&text, 256u << 20);
    int rc = sim_prompt_text(body, exchange->api, &text, &tokens, &field);
    if (rc == 0) {
        struct sim_request *request = &exchange->first.request;
        struct slice prompt = strbuf_slice(&text);
        request->prompt_tokens = tokens > 0 ? tokens : sim_prompt_tokens(prompt);
        uint64_t content = hash_bytes(prompt);
        if (sim_prompt_u32(body, "seed", &seed) == 0) {
            content = sim_mix(content, seed);
        }
        exchange->first.seed = sim_mix(exchange->pod->server->options->config.seed, content);
        uint64_t context = exchange->adapter.len > 0 ? hash_bytes(exchange->adapter) : 0;
        rc = sim_prompt_hashes(prompt, request->prompt_tokens,
                               exchange->pod->engine.config.block_size, context, &request->hashes,
                               &request->hash_count);
    }
    strbuf_fini(&text);
    if (rc == -ENOENT) {
        fail(exchange, SIM_FAILURE_MISSING_FIELD, field,
             (uint64_t)json_object_object_length(body));
    } else if (rc != 0) {
        fail(exchange, SIM_FAILURE_WRONG_TYPE, field, 0);
    }
    return rc == 0;
}

static void take_stream_options(struct sim_exchange *exchange, struct json_object *body)
{
    struct json_object *options = NULL;
    exchange->stream = exchange->api != SIM_API_EMBEDDINGS && sim_prompt_bool(body, "stream");
    json_object_object_get_ex(body, "stream_options", &options);
    if (json_object_is_type(options, json_type_object)) {
        exchange->include_usage = sim_prompt_bool(options, "include_usage");
        exchange->every_usage = exchange->include_usage &&
                                sim_prompt_bool(options, "continuous_usage_stats");
    }
}

static void overloaded(struct sim_exchange *exchange, bool settled)
{
    const struct sim_dialect *dialect = exchange->pod->server->dialect;
    if (exchange->stream &&
        (dialect->error_needs_head || (dialect->burst_error_event && !settled))) {
        exchange->overloaded = true;
        exchange->generates = true;
        exchange->finished = true;
        sim_exchange_pump(exchange);
        return;
    }
    fail(exchange, SIM_FAILURE_OVERLOADED, NULL, 0);
}

static void submit(struct sim_exchange *exchange)
{
    struct sim_pod *pod = exchange->pod;
    bool draining = pod->server->terminating &&
                    pod->server->options->shutdown_manner == SIM_SHUTDOWN_DRAIN;
    if (draining) {
        fail(exchange, SIM_FAILURE_SHUTTING_DOWN, NULL, 0);
        return;
    }
    if (sim_engine_known_full(&pod->engine)) {
        pod->engine.stats.rejections++;
        overloaded(exchange, true);
        return;
    }
    int rc = 0;
    for (uint32_t i = 0; i < exchange->choice_count && rc == 0; i++) {
        rc = sim_engine_submit(&pod->engine, &exchange->choices[i].request, clock_mono_ns());
    }
    if (rc == -EAGAIN) {
        overloaded(exchange, false);
        return;
    }
    if (rc != 0) {
        fail(exchange, SIM_FAILURE_TOO_LONG, NULL, exchange->first.request.prompt_tokens);
        return;
    }
    exchange->generates = true;
    sim_pod_kick(pod);
    if (exchange->stream) {
        sim_exchange_pump(exchange); // the head, where it goes out at once
    }
}

static void generate(struct sim_exchange *exchange, struct json_object *body)
{
    if (!json_object_is_type(body, json_type_object)) {
        fail(exchange, SIM_FAILURE_WRONG_TYPE, "body", 0);
        return;
    }
    make_id(exchange);
    take_stream_options(exchange, body);
    if (!take_model(exchange, body) || !take_prompt(exchange, body) ||
        !take_length(exchange, body) || !take_choices(exchange, body)) {
        return;
    }
    if (exchange->api == SIM_API_EMBEDDINGS) {
        sim_embeddings_prepare(exchange, body);
    } else {
        strbuf_fini(&exchange->body);
        strbuf_init(&exchange->body, 0);
    }
    submit(exchange);
}

static void answer_post(struct sim_exchange *exchange, enum sim_api api)
{
    struct slice body = strbuf_slice(&exchange->body);
    size_t offset = 0;
    const struct sim_dialect *dialect = exchange->pod->server->dialect;
    exchange->api = api;
    exchange->events = api == SIM_API_RESPONSES  ? dialect->responses
                       : api == SIM_API_MESSAGES ? dialect->messages
                                                 : NULL;
    if (exchange->too_large) {
        sim_exchange_reply(exchange, 413, "text/plain", SLICE("the body is too large\n"));
        return;
    }
    if (exchange->has_content_type && !exchange->is_json &&
        has_form(exchange, SIM_FAILURE_MEDIA_TYPE)) {
        fail(exchange, SIM_FAILURE_MEDIA_TYPE, NULL, 0);
        return;
    }
    if (body.len == 0) {
        fail(exchange, SIM_FAILURE_EMPTY_BODY, NULL, 0);
        return;
    }
    struct json_object *parsed = NULL;
    if (sim_prompt_parse(body, &parsed, &offset) != 0) {
        fail(exchange, SIM_FAILURE_BAD_JSON, NULL, offset);
        return;
    }
    generate(exchange, parsed);
    json_object_put(parsed);
}

// ---- routes -------------------------------------------------------------------------------------

static void answer_method(struct sim_exchange *exchange, const char *allow)
{
    exchange->allow = allow;
    fail(exchange, SIM_FAILURE_METHOD, NULL, 0);
}

void sim_api_route(struct sim_exchange *exchange)
{
    static const struct {
        struct slice path;
        enum sim_api api;
    } posts[] = {
        {SLICE("/v1/chat/completions"), SIM_API_CHAT},
        {SLICE("/v1/completions"), SIM_API_TEXT},
        {SLICE("/v1/embeddings"), SIM_API_EMBEDDINGS},
        {SLICE("/v1/responses"), SIM_API_RESPONSES},
        {SLICE("/v1/messages"), SIM_API_MESSAGES},
    };
    const struct sim_server *server = exchange->pod->server;
    if (slice_has_prefix(exchange->path, SLICE("/sim/"))) {
        sim_control_handle(exchange);
        return;
    }
    sim_page_fn *get = sim_page_find(exchange);
    if (get != NULL) {
        bool head_ok = exchange->method == HTTP_METHOD_HEAD && server->dialect->head_method_ok;
        if (exchange->method == HTTP_METHOD_GET || head_ok) {
            get(exchange);
        } else {
            answer_method(exchange, "GET");
        }
        return;
    }
    if (server->options->instant) {
        sim_pace_reply(exchange);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(posts); i++) {
        if (slice_eq(exchange->path, posts[i].path) &&
            (posts[i].api != SIM_API_MESSAGES || server->dialect->messages != NULL)) {
            if (exchange->method == HTTP_METHOD_POST) {
                answer_post(exchange, posts[i].api);
            } else {
                answer_method(exchange, "POST");
            }
            return;
        }
    }
    fail(exchange, SIM_FAILURE_NO_ROUTE, NULL, 0);
}
