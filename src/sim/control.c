// GET and POST /sim/config: what a pod is doing, and changing how it behaves while it runs.
#include <errno.h>
#include <stdio.h>

#include "base/clock.h"
#include "json/write.h"
#include "sim/prompt.h"

struct setting {
    const char *key;
    // 0 or -EINVAL.
    int (*apply)(struct sim_pod *pod, struct json_object *value);
};

static int take_double(struct json_object *value, double *ret_number)
{
    if (value == NULL) {
        *ret_number = 0;
        return 0;
    }
    if (!json_object_is_type(value, json_type_double) &&
        !json_object_is_type(value, json_type_int)) {
        return -EINVAL;
    }
    double number = json_object_get_double(value);
    if (!(number >= 0) || number > 1e15) {
        return -EINVAL;
    }
    *ret_number = number;
    return 0;
}

static int take_u32(struct json_object *value, uint32_t least, uint32_t *ret_number)
{
    double number;
    if (value == NULL || take_double(value, &number) != 0 || number < least ||
        number >= UINT32_MAX) {
        return -EINVAL;
    }
    *ret_number = (uint32_t)number;
    return 0;
}

static int take_positive(struct json_object *value, double *ret_number)
{
    double number;
    if (take_double(value, &number) != 0 || !(number > 0)) {
        return -EINVAL;
    }
    *ret_number = number;
    return 0;
}

static int take_bool(struct json_object *value, bool *ret_flag)
{
    if (!json_object_is_type(value, json_type_boolean)) {
        return -EINVAL;
    }
    *ret_flag = json_object_get_boolean(value);
    return 0;
}

static struct slice text_of(struct json_object *value)
{
    if (!json_object_is_type(value, json_type_string)) {
        return SLICE("");
    }
    return slice_of(json_object_get_string(value), (size_t)json_object_get_string_len(value));
}

static int take_fault(struct json_object *value, struct sim_fault *ret_fault)
{
    if (value != NULL && !json_object_is_type(value, json_type_string)) {
        return -EINVAL;
    }
    return sim_fault_parse(text_of(value), ret_fault);
}

// ---- settings -----------------------------------------------------------------------------------

static int set_fault(struct sim_pod *pod, struct json_object *value)
{
    int rc = take_fault(value, &pod->fault);
    if (rc == 0) {
        pod->fault_share = 1;
        pod->fault_count = text_of(value).len > 0 ? UINT32_MAX : 0;
    }
    return rc;
}

static int set_fault_share(struct sim_pod *pod, struct json_object *value)
{
    return take_double(value, &pod->fault_share);
}

static int set_fault_count(struct sim_pod *pod, struct json_object *value)
{
    return take_u32(value, 0, &pod->fault_count);
}

static int set_metrics_fault(struct sim_pod *pod, struct json_object *value)
{
    return take_fault(value, &pod->metrics_fault);
}

static int set_waiting(struct sim_pod *pod, struct json_object *value)
{
    return take_double(value, &pod->fake.waiting);
}

static int set_running(struct sim_pod *pod, struct json_object *value)
{
    return take_double(value, &pod->fake.running);
}

static int set_kv(struct sim_pod *pod, struct json_object *value)
{
    return take_double(value, &pod->fake.kv_usage);
}

static int set_health(struct sim_pod *pod, struct json_object *value)
{
    uint32_t status;
    if (take_u32(value, 0, &status) != 0 || (status != 0 && (status < 200 || status > 599))) {
        return -EINVAL;
    }
    pod->health_status = status;
    return 0;
}

static int set_freeze(struct sim_pod *pod, struct json_object *value)
{
    bool frozen;
    if (take_bool(value, &frozen) != 0) {
        return -EINVAL;
    }
    sim_engine_freeze(&pod->engine, frozen, clock_mono_ns());
    sim_pod_kick(pod);
    return 0;
}

static void end_hang(struct sim_pod *pod)
{
    pod->hang = false;
    list_for_each(&pod->conns, at) {
        struct sim_conn *conn = container_of(at, struct sim_conn, node);
        if (conn->exchange != NULL) {
            sim_exchange_pump(conn->exchange);
        }
        sim_conn_resume(conn);
    }
}

static void on_hang_over(struct timer *timer, void *arg)
{
    (void)timer;
    end_hang(arg);
}

static int set_hang(struct sim_pod *pod, struct json_object *value)
{
    bool hang;
    if (take_bool(value, &hang) != 0) {
        return -EINVAL;
    }
    loop_timer_cancel(pod->server->loop, &pod->hang_timer);
    if (hang) {
        pod->hang = true;
    } else if (pod->hang) {
        end_hang(pod);
    }
    return 0;
}

static int set_hang_for(struct sim_pod *pod, struct json_object *value)
{
    uint32_t ms;
    if (sim_duration_parse(text_of(value), &ms) != 0) {
        return -EINVAL;
    }
    pod->hang = true;
    loop_timer_set(pod->server->loop, &pod->hang_timer, ms, on_hang_over, pod);
    return 0;
}

static int refuse(struct sim_pod *pod, bool refusing)
{
    loop_timer_cancel(pod->server->loop, &pod->restore_timer);
    if (refusing) {
        sim_pod_close_listener(pod);
        return 0;
    }
    return sim_pod_open_listener(pod);
}

static int set_refuse(struct sim_pod *pod, struct json_object *value)
{
    bool refusing;
    return take_bool(value, &refusing) != 0 ? -EINVAL : refuse(pod, refusing);
}

static int set_down(struct sim_pod *pod, struct json_object *value)
{
    bool down;
    if (take_bool(value, &down) != 0) {
        return -EINVAL;
    }
    if (down) {
        sim_pod_kill(pod);
    }
    return refuse(pod, down);
}

static void on_restore(struct timer *timer, void *arg)
{
    struct sim_pod *pod = arg;
    if (sim_pod_open_listener(pod) != 0) {
        loop_timer_set(pod->server->loop, timer, 100, on_restore, pod); // somebody has the port
    }
}

static int restore_later(struct sim_pod *pod, struct json_object *value)
{
    uint32_t ms;
    if (sim_duration_parse(text_of(value), &ms) != 0) {
        return -EINVAL;
    }
    loop_timer_set(pod->server->loop, &pod->restore_timer, ms, on_restore, pod);
    return 0;
}

static int set_refuse_for(struct sim_pod *pod, struct json_object *value)
{
    int rc = restore_later(pod, value);
    if (rc == 0) {
        sim_pod_close_listener(pod);
    }
    return rc;
}

static int set_down_for(struct sim_pod *pod, struct json_object *value)
{
    int rc = restore_later(pod, value);
    if (rc == 0) {
        sim_pod_kill(pod);
        sim_pod_close_listener(pod);
    }
    return rc;
}

static int set_reset_connections(struct sim_pod *pod, struct json_object *value)
{
    bool yes;
    if (take_bool(value, &yes) != 0) {
        return -EINVAL;
    }
    if (yes) {
        sim_pod_kill(pod);
    }
    return 0;
}

static int set_forget_cache(struct sim_pod *pod, struct json_object *value)
{
    bool yes;
    if (take_bool(value, &yes) != 0) {
        return -EINVAL;
    }
    if (yes) {
        sim_kv_forget(&pod->engine.kv);
    }
    return 0;
}

static int set_max_num_seqs(struct sim_pod *pod, struct json_object *value)
{
    return take_u32(value, 1, &pod->engine.config.max_num_seqs);
}

static int set_max_queued(struct sim_pod *pod, struct json_object *value)
{
    if (value == NULL || slice_eq(text_of(value), SLICE("unlimited"))) {
        pod->engine.config.max_queued = SIM_QUEUE_UNLIMITED;
        return 0;
    }
    return take_u32(value, 0, &pod->engine.config.max_queued);
}

static int set_prefill_rate(struct sim_pod *pod, struct json_object *value)
{
    return take_positive(value, &pod->engine.config.prefill_rate);
}

static int set_decode_step(struct sim_pod *pod, struct json_object *value)
{
    return take_double(value, &pod->engine.config.decode_step_ms);
}

static int set_decode_slowdown(struct sim_pod *pod, struct json_object *value)
{
    return take_double(value, &pod->engine.config.decode_slowdown);
}

static int set_time_scale(struct sim_pod *pod, struct json_object *value)
{
    return take_positive(value, &pod->engine.config.time_scale);
}

// In the order in which they are applied.
static const struct setting settings[] = {
    {"fault", set_fault},
    {"fault-share", set_fault_share},
    {"fault-count", set_fault_count},
    {"metrics-fault", set_metrics_fault},
    {"waiting", set_waiting},
    {"running", set_running},
    {"kv", set_kv},
    {"health-status", set_health},
    {"max-num-seqs", set_max_num_seqs},
    {"max-queued", set_max_queued},
    {"prefill-rate", set_prefill_rate},
    {"decode-step", set_decode_step},
    {"decode-slowdown", set_decode_slowdown},
    {"time-scale", set_time_scale},
    {"forget-cache", set_forget_cache},
    {"freeze", set_freeze},
    {"hang", set_hang},
    {"hang-for", set_hang_for},
    {"reset-connections", set_reset_connections},
    {"refuse", set_refuse},
    {"refuse-for", set_refuse_for},
    {"down", set_down},
    {"down-for", set_down_for},
};

// ---- the endpoint -------------------------------------------------------------------------------

static void write_state(const struct sim_pod *pod, struct strbuf *out)
{
    const struct sim_engine *engine = &pod->engine;
    const struct sim_stats *stats = &engine->stats;
    strbuf_add_str(out, "{\"pod\":");
    json_write_string(out, slice_of_str(pod->name));
    strbuf_add_str(out, ",\"address\":");
    json_write_string(out, slice_of_str(pod->address));
    strbuf_add_str(out, ",\"engine\":");
    json_write_string(out, slice_of_str(pod->server->dialect->name));
    strbuf_printf(out,
                  ",\"running\":%u,\"waiting\":%u,\"kv-used-blocks\":%u,\"kv-blocks\":%u,"
                  "\"connections\":%u,\"connections-total\":%llu,\"requests\":%llu,"
                  "\"requests-open\":%u,\"aborted\":%llu,\"finished\":%llu,\"rejected\":%llu,"
                  "\"prompt-tokens\":%llu,\"cached-tokens\":%llu,\"generated-tokens\":%llu,"
                  "\"preemptions\":%llu,\"steps\":%llu,\"frozen\":%s,\"hang\":%s,\"refuse\":%s}",
                  engine->running_count, engine->waiting_count,
                  engine->kv.count - engine->kv.free_count, engine->kv.count, pod->conn_count,
                  (unsigned long long)pod->connections, (unsigned long long)pod->requests,
                  pod->exchange_count, (unsigned long long)pod->aborted,
                  (unsigned long long)(stats->finished[SIM_FINISH_STOP] +
                                       stats->finished[SIM_FINISH_LENGTH]),
                  (unsigned long long)stats->rejections, (unsigned long long)stats->prompt_tokens,
                  (unsigned long long)stats->cached_tokens,
                  (unsigned long long)stats->generation_tokens,
                  (unsigned long long)stats->preemptions, (unsigned long long)stats->steps,
                  engine->frozen ? "true" : "false", pod->hang ? "true" : "false",
                  pod->refusing ? "true" : "false");
}

static void answer(struct sim_exchange *exchange, struct sim_pod *pod, unsigned status,
                   const char *error)
{
    struct strbuf body;
    strbuf_init(&body, 65536);
    if (error != NULL) {
        strbuf_add_str(&body, "{\"error\":");
        json_write_string(&body, slice_of_str(error));
        strbuf_add_char(&body, '}');
    } else {
        write_state(pod, &body);
    }
    strbuf_add_char(&body, '\n');
    sim_exchange_reply(exchange, status, "application/json", strbuf_slice(&body));
    strbuf_fini(&body);
}

static const struct setting *find_setting(const char *key)
{
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        if (strcmp(settings[i].key, key) == 0) {
            return &settings[i];
        }
    }
    return NULL;
}

// The pod that "pod" names, or the one that was asked.
static struct sim_pod *pod_of(struct sim_exchange *exchange, struct json_object *body)
{
    struct json_object *name = NULL;
    if (!json_object_object_get_ex(body, "pod", &name)) {
        return exchange->pod;
    }
    return sim_server_find_pod(exchange->pod->server, text_of(name));
}

// Applies what is in the body. A text that says what is wrong, or NULL.
static const char *apply(struct sim_pod *pod, struct json_object *body, char *text, size_t size)
{
    json_object_object_foreach(body, key, unused)
    {
        (void)unused;
        if (strcmp(key, "pod") != 0 && find_setting(key) == NULL) {
            snprintf(text, size, "unknown setting \"%.64s\"", key);
            return text;
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        struct json_object *value = NULL;
        if (json_object_object_get_ex(body, settings[i].key, &value) &&
            settings[i].apply(pod, value) != 0) {
            snprintf(text, size, "\"%s\": cannot be set to that", settings[i].key);
            return text;
        }
    }
    return NULL;
}

static void answer_change(struct sim_exchange *exchange)
{
    struct json_object *body = NULL;
    size_t offset;
    char text[128];
    if (sim_prompt_parse(strbuf_slice(&exchange->body), &body, &offset) != 0 ||
        !json_object_is_type(body, json_type_object)) {
        json_object_put(body);
        answer(exchange, exchange->pod, 400, "the body must be a JSON object");
        return;
    }
    struct sim_pod *pod = pod_of(exchange, body);
    const char *error = pod != NULL ? NULL : "no such pod";
    struct sim_conn *conn = exchange->conn;
    if (error == NULL) {
        // The connection that asks survives what it asks for.
        list_remove(&conn->node);
        error = apply(pod, body, text, sizeof(text));
        list_push_back(&exchange->pod->conns, &conn->node);
    }
    json_object_put(body);
    answer(exchange, pod, error == NULL ? 200 : 400, error);
}

void sim_control_handle(struct sim_exchange *exchange)
{
    if (!slice_eq(exchange->path, SLICE("/sim/config"))) {
        answer(exchange, exchange->pod, 404, "only /sim/config is here");
    } else if (exchange->method == HTTP_METHOD_POST) {
        answer_change(exchange);
    } else if (exchange->method == HTTP_METHOD_GET) {
        answer(exchange, exchange->pod, 200, NULL);
    } else {
        answer(exchange, exchange->pod, 405, "GET or POST");
    }
}
