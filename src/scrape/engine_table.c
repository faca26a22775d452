#include "scrape/engine_table.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"

#define WAITING(n) {.field = FIELD_WAITING, .name = (n)}
#define RUNNING(n) {.field = FIELD_RUNNING, .name = (n)}
#define KV(n) {.field = FIELD_KV, .name = (n)}
#define WHERE(f, n, l, v) {.field = (f), .name = (n), .label = (l), .label_is = (v)}
#define FROM_LABEL(f, n, l) {.field = (f), .name = (n), .label = (l)}

// Sources: vLLM vllm/v1/metrics/loggers.py; SGLang srt/observability/metrics_collector.py; TGI
// docs/source/reference/metrics.md; TensorRT-LLM tensorrt_llm/metrics/collector.py; Triton
// tensorrtllm_backend (custom metrics) and docs/user_guide/metrics.md; llama.cpp tools/server;
// LMDeploy lmdeploy/metrics/loggers.py; NIM for LLMs, observability. vLLM, SGLang and llama.cpp
// were checked against running servers.
static const struct engine_row rows[] = {
    {
        .engine = ENGINE_VLLM,
        .metrics =
            {
                // Deferred requests wait for something else than room; only these mean congestion.
                WHERE(FIELD_WAITING, "vllm:num_requests_waiting_by_reason", "reason", "capacity"),
                WAITING("vllm:num_requests_waiting"),
                RUNNING("vllm:num_requests_running"),
                KV("vllm:kv_cache_usage_perc"),
                KV("vllm:gpu_cache_usage_perc"), // before 0.11
                FROM_LABEL(FIELD_KV_CAPACITY, "vllm:cache_config_info", "kv_cache_size_tokens"),
                FROM_LABEL(FIELD_KV_BLOCKS, "vllm:cache_config_info", "num_gpu_blocks"),
                FROM_LABEL(FIELD_BLOCK_TOKENS, "vllm:cache_config_info", "block_size"),
            },
        .paths = {"/metrics"},
    },
    {
        .engine = ENGINE_SGLANG,
        .metrics =
            {
                WAITING("sglang:num_queue_reqs"),
                RUNNING("sglang:num_running_reqs"),
                KV("sglang:token_usage"),
                {.field = FIELD_KV_CAPACITY, .name = "sglang:max_total_num_tokens"},
                FROM_LABEL(FIELD_KV_BLOCKS, "sglang:cache_config_info", "num_pages"),
                FROM_LABEL(FIELD_BLOCK_TOKENS, "sglang:cache_config_info", "page_size"),
            },
        .paths = {"/metrics"},
        .rank_labels = {"tp_rank", "pp_rank", "moe_ep_rank"},
        .kv_old_at_idle = true,
    },
    {
        .engine = ENGINE_TGI,
        .metrics = {WAITING("tgi_queue_size"), RUNNING("tgi_batch_current_size")},
        .paths = {"/metrics"},
    },
    {
        .engine = ENGINE_TENSORRT_LLM,
        .metrics =
            {
                WAITING("trtllm_num_requests_waiting"),
                RUNNING("trtllm_num_requests_running"),
                KV("trtllm_kv_cache_utilization"),
                {.field = FIELD_KV_BLOCKS, .name = "trtllm_kv_cache_max_blocks"},
                {.field = FIELD_KV_BLOCKS_USED, .name = "trtllm_kv_cache_used_blocks"},
                {.field = FIELD_BLOCK_TOKENS, .name = "trtllm_kv_cache_tokens_per_block"},
            },
        .paths = {"/prometheus/metrics", "/metrics"},
    },
    {
        .engine = ENGINE_TRITON_TRTLLM,
        .metrics =
            {
                WHERE(FIELD_WAITING, "nv_trt_llm_request_metrics", "request_type", "waiting"),
                WHERE(FIELD_RUNNING, "nv_trt_llm_request_metrics", "request_type", "scheduled"),
                WHERE(FIELD_ACTIVE, "nv_trt_llm_request_metrics", "request_type", "active"),
                WHERE(FIELD_KV, "nv_trt_llm_kv_cache_block_metrics", "kv_cache_block_type",
                      "fraction"),
                WHERE(FIELD_KV_BLOCKS, "nv_trt_llm_kv_cache_block_metrics", "kv_cache_block_type",
                      "max"),
                WHERE(FIELD_KV_BLOCKS_USED, "nv_trt_llm_kv_cache_block_metrics",
                      "kv_cache_block_type", "used"),
                WHERE(FIELD_BLOCK_TOKENS, "nv_trt_llm_kv_cache_block_metrics",
                      "kv_cache_block_type", "tokens_per"),
            },
        .paths = {"/metrics"},
        .port = 8002,
        .health = "/v2/health/ready",
    },
    {
        .engine = ENGINE_TRITON, // any other backend of Triton: it only says what is pending
        .metrics = {WAITING("nv_inference_pending_request_count")},
        .paths = {"/metrics"},
        .port = 8002,
        .health = "/v2/health/ready",
    },
    {
        .engine = ENGINE_LLAMACPP,
        .metrics =
            {
                WAITING("llamacpp:requests_deferred"),
                RUNNING("llamacpp:requests_processing"),
                KV("llamacpp:kv_cache_usage_ratio"), // gone since mid 2025
            },
        .paths = {"/metrics"},
    },
    {
        .engine = ENGINE_LMDEPLOY,
        .metrics =
            {
                WAITING("lmdeploy:num_requests_waiting"),
                RUNNING("lmdeploy:num_requests_running"),
                KV("lmdeploy:gpu_cache_usage_perc"),
            },
        .paths = {"/metrics"},
    },
    {
        .engine = ENGINE_NIM, // bare names; what NIM wraps may show its own instead
        .metrics =
            {
                WAITING("num_requests_waiting"),
                RUNNING("num_requests_running"),
                KV("gpu_cache_usage_perc"),
                WAITING("vllm:num_requests_waiting"),
                RUNNING("vllm:num_requests_running"),
                KV("vllm:kv_cache_usage_perc"),
                KV("vllm:gpu_cache_usage_perc"),
                FROM_LABEL(FIELD_KV_BLOCKS, "vllm:cache_config_info", "num_gpu_blocks"),
                FROM_LABEL(FIELD_BLOCK_TOKENS, "vllm:cache_config_info", "block_size"),
                WAITING("trtllm_num_requests_waiting"),
                RUNNING("trtllm_num_requests_running"),
                KV("trtllm_kv_cache_utilization"),
            },
        .paths = {"/v1/metrics", "/metrics"},
        .health = "/v1/health/ready",
    },
    {.engine = ENGINE_OLLAMA, .health = "/"},
};

// Engines whose KV utilisation is often not there: not worth a warning.
static bool kv_is_optional(enum engine engine)
{
    return engine == ENGINE_LLAMACPP || engine == ENGINE_GENERIC;
}

const struct engine_row *engine_row(enum engine engine)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (rows[i].engine == engine) {
            return &rows[i];
        }
    }
    return NULL;
}

const char *engine_scrape_path(const struct scrape_config *config, enum engine engine, size_t n)
{
    static const char *const any[] = {"/metrics", "/prometheus/metrics", "/v1/metrics"};
    if (engine == ENGINE_OLLAMA) {
        return NULL;
    }
    if (config->path[0] != '\0') {
        return n == 0 ? config->path : NULL;
    }
    const struct engine_row *row = engine_row(engine);
    if (row == NULL) {
        size_t count = engine == ENGINE_AUTO ? ARRAY_LEN(any) : 1;
        return n < count ? any[n] : NULL;
    }
    return n < ENGINE_PATHS_MAX ? row->paths[n] : NULL;
}

const char *engine_health_path(enum engine engine)
{
    const struct engine_row *row = engine_row(engine);
    return row != NULL && row->health != NULL ? row->health : "/health";
}

// ---- plans ----

// Building a plan: names come once, entries of the same name are chained.
struct plan_builder {
    struct metric_plan *plan;
    struct slice names[EXPOSITION_NAMES_MAX];
    size_t name_count;
    bool full;
};

static void plan_add(struct plan_builder *builder, enum engine engine,
                     const struct engine_metric *metric, size_t preference)
{
    struct metric_plan *plan = builder->plan;
    struct slice text = slice_of_str(metric->name);
    size_t name = 0;
    while (name < builder->name_count && !slice_eq(builder->names[name], text)) {
        name++;
    }
    if (plan->count == PLAN_METRICS_MAX || name == EXPOSITION_NAMES_MAX) {
        builder->full = true;
        return;
    }
    if (name == builder->name_count) {
        builder->names[builder->name_count++] = text;
        plan->first[name] = -1;
    }
    plan->entries[plan->count] = (struct plan_entry){
        .metric = *metric,
        .engine = engine,
        .preference = (uint8_t)preference,
        .next = plan->first[name],
    };
    plan->first[name] = (int)plan->count++;
}

static void plan_add_row(struct plan_builder *builder, const struct engine_row *row)
{
    for (size_t i = 0; i < ENGINE_METRICS_MAX && row->metrics[i].name != NULL; i++) {
        plan_add(builder, row->engine, &row->metrics[i], i);
    }
}

static void plan_add_generic(struct plan_builder *builder, const struct scrape_config *config)
{
    const struct engine_metric metrics[] = {
        {.field = FIELD_WAITING, .name = config->map_waiting},
        {.field = FIELD_RUNNING, .name = config->map_running},
        {.field = FIELD_KV, .name = config->map_kv},
    };
    for (size_t i = 0; i < ARRAY_LEN(metrics); i++) {
        if (metrics[i].name[0] != '\0') {
            plan_add(builder, ENGINE_GENERIC, &metrics[i], i);
        }
    }
}

int metric_plan_init(struct metric_plan *plan, enum engine engine,
                     const struct scrape_config *config)
{
    struct plan_builder builder = {.plan = plan};
    memset(plan, 0, sizeof(*plan));
    plan->engine = engine;
    if (engine == ENGINE_GENERIC) {
        if (config == NULL) {
            return -EINVAL;
        }
        plan_add_generic(&builder, config);
    } else {
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
            if (engine == ENGINE_AUTO || engine == rows[i].engine) {
                plan_add_row(&builder, &rows[i]);
            }
        }
    }
    if (builder.full) {
        return -EINVAL;
    }
    return exposition_names_init(&plan->names, builder.names, builder.name_count);
}

// ---- reading ----

static bool is_rank_label(const struct engine_row *row, struct slice name)
{
    for (size_t i = 0; i < ARRAY_LEN(row->rank_labels); i++) {
        if (row->rank_labels[i] != NULL && slice_eq_str(name, row->rank_labels[i])) {
            return true;
        }
    }
    return false;
}

// The same for all ranks of one engine, different for different engines behind one exposition.
static uint32_t group_of(enum engine engine, struct slice labels)
{
    const struct engine_row *row = engine_row(engine);
    if (row == NULL || row->rank_labels[0] == NULL) {
        return (uint32_t)hash_bytes(labels);
    }
    uint64_t group = 0;
    struct slice name, value;
    while (exposition_label_next(&labels, &name, &value)) {
        if (!is_rank_label(row, name)) {
            group += hash_bytes(name) * 31 + hash_bytes(value); // in whatever order they come
        }
    }
    return (uint32_t)group;
}

// What the sample says for this entry; false when the entry is not about it.
static bool entry_value(const struct engine_metric *metric, struct slice labels, double *value)
{
    if (metric->label == NULL) {
        return true;
    }
    char text[64];
    if (!exposition_label(labels, slice_of_str(metric->label), text, sizeof(text))) {
        return false;
    }
    if (metric->label_is != NULL) {
        return strcmp(text, metric->label_is) == 0;
    }
    return slice_to_double(slice_of_str(text), value) == 0;
}

static void reader_sample(void *arg, size_t name, struct slice labels, double value)
{
    struct metric_reader *reader = arg;
    const struct metric_plan *plan = reader->plan;
    for (int i = plan->first[name]; i >= 0; i = plan->entries[i].next) {
        double number = value;
        if (!entry_value(&plan->entries[i].metric, labels, &number) || !isfinite(number) ||
            number < 0) {
            continue;
        }
        if (reader->count == METRIC_VALUES_MAX) {
            reader->overflow = true;
            return;
        }
        reader->values[reader->count++] = (struct metric_value){
            .entry = i,
            .group = group_of(plan->entries[i].engine, labels),
            .value = number,
        };
    }
}

void metric_reader_init(struct metric_reader *reader, const struct metric_plan *plan)
{
    reader->plan = plan;
    reader->count = 0;
    reader->overflow = false;
    exposition_init(&reader->exposition, &plan->names, reader_sample, reader);
}

void metric_reader_feed(struct metric_reader *reader, struct slice bytes)
{
    exposition_feed(&reader->exposition, bytes);
}

static bool field_is_count(enum engine_field field)
{
    return field != FIELD_KV && field != FIELD_BLOCK_TOKENS;
}

// True for the highest value of its entry and group (the first of equals).
static bool is_group_top(const struct metric_reader *reader, size_t at)
{
    const struct metric_value *v = &reader->values[at];
    for (size_t i = 0; i < reader->count; i++) {
        const struct metric_value *o = &reader->values[i];
        if (i != at && o->entry == v->entry && o->group == v->group &&
            (o->value > v->value || (o->value >= v->value && i < at))) {
            return false;
        }
    }
    return true;
}

static double entry_reduce(const struct metric_reader *reader, int entry)
{
    bool sum = field_is_count(reader->plan->entries[entry].metric.field);
    double result = 0;
    for (size_t i = 0; i < reader->count; i++) {
        const struct metric_value *v = &reader->values[i];
        if (v->entry != entry) {
            continue;
        }
        if (!sum) {
            result = MAX_OF(result, v->value);
        } else if (is_group_top(reader, i)) {
            result += v->value;
        }
    }
    return result;
}

// The entry that speaks for a field of an engine, or -1.
static int field_entry(const struct metric_reader *reader, enum engine engine,
                       enum engine_field field)
{
    int best = -1;
    for (size_t i = 0; i < reader->count; i++) {
        int entry = reader->values[i].entry;
        const struct plan_entry *e = &reader->plan->entries[entry];
        if (e->engine == engine && e->metric.field == field &&
            (best < 0 || e->preference < reader->plan->entries[best].preference)) {
            best = entry;
        }
    }
    return best;
}

static double field_value(const struct metric_reader *reader, enum engine engine,
                          enum engine_field field)
{
    int entry = field_entry(reader, engine, field);
    return entry < 0 ? NAN : entry_reduce(reader, entry);
}

// The engine of which most fields are there; of equals the one that stands first in the table.
static enum engine detect(const struct metric_reader *reader)
{
    enum engine best = ENGINE_AUTO;
    int best_fields = 0;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int fields = 0;
        for (int field = 0; field < ENGINE_FIELD_COUNT; field++) {
            fields += field_entry(reader, rows[i].engine, (enum engine_field)field) >= 0;
        }
        if (fields > best_fields) {
            best = rows[i].engine;
            best_fields = fields;
        }
    }
    return best;
}

static void text_add(char *buf, size_t size, const char *name)
{
    size_t len = strlen(buf);
    size_t need = strlen(name) + (len > 0 ? 1 : 0);
    if (strstr(buf, name) != NULL && strlen(strstr(buf, name)) == strlen(name)) {
        return; // said just before: several fields from one name
    }
    if (len + need < size) {
        snprintf(buf + len, size - len, "%s%s", len > 0 ? "," : "", name);
    }
}

static void result_names(const struct metric_reader *reader, struct metric_result *result)
{
    bool has[ENGINE_FIELD_COUNT] = {false};
    for (int field = 0; field < ENGINE_FIELD_COUNT; field++) {
        int entry = field_entry(reader, result->engine, (enum engine_field)field);
        has[field] = entry >= 0;
        if (entry >= 0) {
            text_add(result->found, sizeof(result->found),
                     reader->plan->entries[entry].metric.name);
        }
    }
    has[FIELD_RUNNING] = has[FIELD_RUNNING] || has[FIELD_ACTIVE];
    has[FIELD_WAITING] = has[FIELD_WAITING] || has[FIELD_ACTIVE];
    has[FIELD_KV] = has[FIELD_KV] || (has[FIELD_KV_BLOCKS] && has[FIELD_KV_BLOCKS_USED]) ||
                    kv_is_optional(result->engine);
    for (size_t i = 0; i < reader->plan->count; i++) {
        const struct plan_entry *e = &reader->plan->entries[i];
        bool wanted = e->metric.field == FIELD_WAITING || e->metric.field == FIELD_RUNNING ||
                      e->metric.field == FIELD_KV;
        if (e->engine == result->engine && wanted && !has[e->metric.field]) {
            text_add(result->missing, sizeof(result->missing), e->metric.name);
            has[e->metric.field] = true;
        }
    }
}

static void result_requests(const struct metric_reader *reader, struct metric_result *result)
{
    double active = field_value(reader, result->engine, FIELD_ACTIVE);
    result->waiting = field_value(reader, result->engine, FIELD_WAITING);
    result->running = field_value(reader, result->engine, FIELD_RUNNING);
    if (isnan(result->running)) {
        result->running = active;
    } else if (isnan(result->waiting) && !isnan(active)) {
        result->waiting = MAX_OF(active - result->running, 0.0);
    }
}

static void result_kv(const struct metric_reader *reader, struct metric_result *result)
{
    double blocks = field_value(reader, result->engine, FIELD_KV_BLOCKS);
    double used = field_value(reader, result->engine, FIELD_KV_BLOCKS_USED);
    double capacity = field_value(reader, result->engine, FIELD_KV_CAPACITY);
    double kv = field_value(reader, result->engine, FIELD_KV);
    if (isnan(capacity)) {
        capacity = blocks * field_value(reader, result->engine, FIELD_BLOCK_TOKENS);
    }
    if (isnan(kv) && blocks > 0) {
        kv = used / blocks; // NAN when that is not there either
    }
    const struct engine_row *row = engine_row(result->engine);
    if (row != NULL && row->kv_old_at_idle && result->running <= 0 && result->waiting <= 0) {
        kv = isnan(kv) ? kv : 0;
    }
    if (result->engine == ENGINE_GENERIC && kv > 1) {
        kv /= 100; // a percentage, since no cache is fuller than full
    }
    result->kv_utilisation = isnan(kv) ? kv : MIN_OF(kv, 1.0);
    result->kv_capacity_tokens = capacity;
}

bool metric_reader_finish(struct metric_reader *reader, struct metric_result *ret)
{
    exposition_finish(&reader->exposition);
    enum engine engine =
        reader->plan->engine == ENGINE_AUTO ? detect(reader) : reader->plan->engine;
    if (reader->count == 0 || engine == ENGINE_AUTO) {
        return false;
    }
    memset(ret, 0, sizeof(*ret));
    ret->engine = engine;
    result_requests(reader, ret);
    result_kv(reader, ret);
    result_names(reader, ret);
    return true;
}
