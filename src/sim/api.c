// Which request gets which answer: the OpenAI-compatible API, health, models, metrics.
#include <endian.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/hash.h"
#include "json/write.h"
#include "sim/family.h"
#include "sim/prompt.h"
#include "sim/words.h"

enum { HEALTH_LATE_MS = 20000 }; // SGLang, as seen
enum { CHOICES_MAX = 128 }; // of `n`, as OpenAI has it
enum { EMBEDDING_DEFAULT = 64, EMBEDDING_MAX = 4096, EMBEDDING_INPUTS_MAX = 2048 };

// ---- GET --------------------------------------------------------------------------------------

static void write_models(struct sim_exchange *exchange, const char *text, struct strbuf *out)
{
    const struct sim_options *options = exchange->pod->server->options;
    const struct sim_list *lists[] = {&options->models, &options->adapters};
    struct sim_fill fill = sim_exchange_fill(exchange);
    fill.created = clock_wall_ns() / 1000000000u;
    for (size_t l = 0, n = 0; l < ARRAY_LEN(lists); l++) {
        for (size_t i = 0; i < lists[l]->len; i++, n++) {
            fill.model = slice_of_str(lists[l]->items[i]);
            strbuf_add_str(out, n > 0 ? "," : "");
            sim_fill_text(out, text, &fill);
        }
    }
}

static void answer_models(struct sim_exchange *exchange)
{
    const struct sim_dialect *dialect = exchange->pod->server->dialect;
    struct strbuf body;
    strbuf_init(&body, 1 << 20);
    if (dialect->models_names != NULL) {
        strbuf_add_str(&body, "{\"models\":[");
        write_models(exchange, dialect->models_names, &body);
    }
    strbuf_add_str(&body, dialect->models_head);
    write_models(exchange, dialect->models_entry, &body);
    strbuf_add_str(&body, "]}");
    sim_exchange_reply(exchange, 200, sim_exchange_json_type(exchange), strbuf_slice(&body));
    strbuf_fini(&body);
}

static void reply_health(struct sim_exchange *exchange, bool failing)
{
    struct sim_pod *pod = exchange->pod;
    const struct sim_dialect *dialect = pod->server->dialect;
    unsigned status = pod->health_status != 0 ? pod->health_status : failing ? 503 : 200;
    struct slice body = status == 200 ? slice_of_str(dialect->health) : SLICE("");
    bool is_json = body.len > 0 && body.ptr[0] == '{';
    const char *type = body.len > 0 ? "text/plain" : NULL;
    type = is_json ? sim_exchange_json_type(exchange) : type;
    sim_exchange_reply(exchange, status, type, body);
}

static void on_health_late(struct timer *timer, void *arg)
{
    (void)timer;
    struct sim_exchange *exchange = arg;
    reply_health(exchange, exchange->pod->engine.frozen);
}

static void answer_health(struct sim_exchange *exchange)
{
    struct sim_pod *pod = exchange->pod;
    const struct sim_dialect *dialect = pod->server->dialect;
    if (dialect->health_generates && pod->engine.frozen && pod->health_status == 0) {
        double ms = HEALTH_LATE_MS * pod->engine.config.time_scale;
        loop_timer_set(pod->server->loop, &exchange->timer, ms < 1 ? 1 : (uint64_t)ms,
                       on_health_late, exchange);
        return;
    }
    reply_health(exchange, pod->server->terminating && dialect->term == SIM_TERM_SERVE);
}

// Adapters of requests in a list, comma between.
static void list_adapters(const struct sim_pod *pod, bool running, struct strbuf *out)
{
    const struct sim_list *adapters = &pod->server->options->adapters;
    for (size_t i = 0; i < adapters->len; i++) {
        struct slice name = slice_of_str(adapters->items[i]);
        const struct list_node *head = running ? &pod->engine.running : &pod->engine.waiting;
        for (const struct list_node *at = head->next; at != head; at = at->next) {
            const struct sim_request *request = container_of(at, struct sim_request, node);
            const struct sim_choice *choice = container_of(request, struct sim_choice, request);
            if (slice_eq(choice->exchange->adapter, name)) {
                strbuf_add_str(out, out->len > 0 ? "," : "");
                strbuf_add(out, name);
                break;
            }
        }
    }
}

static void answer_metrics(struct sim_exchange *exchange)
{
    struct sim_pod *pod = exchange->pod;
    struct sim_server *server = pod->server;
    struct rusage usage = {0};
    getrusage(RUSAGE_SELF, &usage);
    struct strbuf running;
    struct strbuf waiting;
    struct strbuf body;
    strbuf_init(&running, 8192);
    strbuf_init(&waiting, 8192);
    strbuf_init(&body, 4 << 20);
    list_adapters(pod, true, &running);
    list_adapters(pod, false, &waiting);
    struct sim_figures figures = {
        .engine = &pod->engine,
        .dialect = server->dialect,
        .model = slice_of_str(server->options->models.items[0]),
        .running = sim_pod_running(pod),
        .waiting = sim_pod_waiting(pod),
        .kv_usage = sim_pod_kv_usage(pod),
        .last_kv_usage = MIN_OF(1.0, pod->last_kv_usage + pod->fake.kv_usage),
        .running_adapters = strbuf_slice(&running),
        .waiting_adapters = strbuf_slice(&waiting),
        .has_adapters = server->options->adapters.len > 0,
        .query = exchange->query,
        .cpu_seconds = (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec * 1e-6,
        .resident_bytes = (double)usage.ru_maxrss * 1024,
        .open_fds = (double)pod->conn_count + 16,
        .uptime_seconds =
            (double)(clock_wall_ns() - pod->engine.stats.started_wall_ns) * 1e-9,
    };
    sim_family_write(&body, &figures);
    sim_exchange_reply(exchange, 200, server->dialect->metrics_type, strbuf_slice(&body));
    strbuf_fini(&running);
    strbuf_fini(&waiting);
    strbuf_fini(&body);
}

// The pod's own fault for scrapes, once: the exchange comes back here without it.
static void begin_metrics(struct sim_exchange *exchange)
{
    const struct sim_fault *fault = &exchange->pod->metrics_fault;
    bool is_own = exchange->fault.action != SIM_FAULT_NONE || exchange->fault.delay_ms > 0;
    if (!is_own && (fault->action != SIM_FAULT_NONE || fault->delay_ms > 0)) {
        exchange->fault = *fault;
        sim_exchange_begin(exchange);
        return;
    }
    answer_metrics(exchange);
}

static bool is_health_path(const struct sim_dialect *dialect, struct slice path)
{
    struct slice rest = slice_of_str(dialect->health_paths);
    struct slice part;
    if (slice_eq(path, SLICE("/health"))) {
        return true;
    }
    while (slice_split(&rest, ' ', &part)) {
        if (part.len > 0 && slice_eq(part, path)) {
            return true;
        }
    }
    return false;
}

static void answer_plain_metrics(struct sim_exchange *exchange)
{
    sim_exchange_reply(exchange, 200, "application/json",
                       slice_of_str(exchange->pod->server->dialect->plain_metrics));
}

static void answer_version(struct sim_exchange *exchange)
{
    sim_exchange_reply(exchange, 200, "application/json",
                       slice_of_str(exchange->pod->server->dialect->version));
}

// The handler of a GET route, or NULL.
typedef void handler_fn(struct sim_exchange *exchange);

static handler_fn *find_get(const struct sim_exchange *exchange)
{
    const struct sim_dialect *dialect = exchange->pod->server->dialect;
    struct slice path = exchange->path;
    if (slice_eq(path, SLICE("/v1/models"))) {
        return answer_models;
    }
    if (dialect->metrics_path != NULL && slice_eq_str(path, dialect->metrics_path)) {
        return begin_metrics;
    }
    if (dialect->metrics_path != NULL && slice_eq(path, SLICE("/metrics"))) {
        return dialect->plain_metrics != NULL ? answer_plain_metrics : begin_metrics;
    }
    if (dialect->version != NULL && slice_eq(path, SLICE("/version"))) {
        return answer_version;
    }
    return is_health_path(dialect, path) ? answer_health : NULL;
}

// ---- embeddings -------------------------------------------------------------------------------

static size_t count_inputs(struct json_object *body)
{
    struct json_object *input = NULL;
    json_object_object_get_ex(body, "input", &input);
    if (!json_object_is_type(input, json_type_array) || json_object_array_length(input) == 0) {
        return 1;
    }
    // One list of token numbers is one input.
    return json_object_is_type(json_object_array_get_idx(input, 0), json_type_int)
               ? 1
               : json_object_array_length(input);
}

// The OpenAI client asks for this form unless it is told otherwise: little-endian 32-bit floats.
static bool wants_base64(struct json_object *body)
{
    struct json_object *format = NULL;
    json_object_object_get_ex(body, "encoding_format", &format);
    return json_object_is_type(format, json_type_string) &&
           strcmp(json_object_get_string(format), "base64") == 0;
}

static void add_vector(struct strbuf *out, struct rand_state *rng, uint32_t dimensions, bool base64)
{
    // Three numbers are twelve bytes are sixteen characters: no padding before the last group.
    enum { GROUP = 3, GROUP_BYTES = GROUP * sizeof(float), GROUP_TEXT = GROUP_BYTES / 3 * 4 };
    for (uint32_t i = 0; i < dimensions; i += GROUP) {
        uint32_t n = MIN_OF(dimensions - i, (uint32_t)GROUP);
        unsigned char bytes[GROUP_BYTES];
        for (uint32_t k = 0; k < n; k++) {
            float value = (float)(2 * rand_unit(rng) - 1);
            if (!base64) {
                strbuf_printf(out, "%s%.6f", i + k > 0 ? "," : "", (double)value);
                continue;
            }
            uint32_t bits;
            memcpy(&bits, &value, sizeof(bits));
            bits = htole32(bits);
            memcpy(bytes + k * sizeof(bits), &bits, sizeof(bits));
        }
        if (base64) {
            unsigned char text[GROUP_TEXT + 1];
            int len = EVP_EncodeBlock(text, bytes, (int)(n * sizeof(float)));
            strbuf_add(out, (struct slice){.ptr = (const char *)text, .len = (size_t)len});
        }
    }
}

// Unit vectors drawn by the seed: the same text gets the same vector.
static void prepare_embeddings(struct sim_exchange *exchange, struct json_object *body)
{
    uint32_t dimensions = EMBEDDING_DEFAULT;
    if (sim_prompt_u32(body, "dimensions", &dimensions) != 0 || dimensions == 0) {
        dimensions = EMBEDDING_DEFAULT;
    }
    dimensions = MIN_OF(dimensions, (uint32_t)EMBEDDING_MAX);
    size_t inputs = MIN_OF(count_inputs(body), (size_t)EMBEDDING_INPUTS_MAX);
    bool base64 = wants_base64(body);
    struct strbuf out;
    strbuf_init(&out, 64u << 20);
    for (size_t n = 0; n < inputs; n++) {
        struct rand_state rng = {.state = sim_mix(exchange->first.seed, n)};
        strbuf_printf(&out, "%s{\"object\":\"embedding\",\"index\":%zu,\"embedding\":%s",
                      n > 0 ? "," : "", n, base64 ? "\"" : "[");
        add_vector(&out, &rng, dimensions, base64);
        strbuf_add_str(&out, base64 ? "\"}" : "]}");
    }
    // The text moves into the body buffer: it is not needed any more, and has the right lifetime.
    strbuf_fini(&exchange->body);
    exchange->body = out;
    exchange->embeddings = strbuf_slice(&exchange->body);
}

void sim_api_write_embeddings(struct sim_exchange *exchange, struct strbuf *out)
{
    strbuf_add_str(out, "{\"object\":\"list\",\"data\":[");
    strbuf_add(out, exchange->embeddings);
    strbuf_add_str(out, "],\"model\":");
    json_write_string(out, exchange->model);
    strbuf_printf(out, ",\"usage\":{\"prompt_tokens\":%u,\"total_tokens\":%u}}",
                  exchange->first.request.prompt_tokens, exchange->first.request.prompt_tokens);
}

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
        prepare_embeddings(exchange, body);
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
    handler_fn *get = find_get(exchange);
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
