#include "load/plan.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "json/write.h"

// Independent streams of random numbers out of one seed.
enum stream_id {
    STREAM_PLAN = 1,
    STREAM_BLOCK,
    STREAM_GROUP,
    STREAM_GROUP_LENGTH,
    STREAM_QUESTION,
};

static uint64_t mix(uint64_t seed, enum stream_id stream, uint64_t n)
{
    struct rand_state rng = {.state = seed ^ ((uint64_t)stream << 56)};
    rng.state = rand_u64(&rng) ^ n;
    return rand_u64(&rng);
}

// 64 words of three letters.
static const char words[64][4] = {
    "the", "and", "for", "are", "but", "not", "you", "all", "any", "can", "had", "her", "was",
    "one", "our", "out", "day", "get", "has", "him", "his", "how", "man", "new", "now", "old",
    "see", "two", "way", "who", "boy", "did", "its", "let", "put", "say", "she", "too", "use",
    "dad", "mom", "car", "dog", "cat", "run", "big", "red", "sun", "hot", "sit", "top", "ten",
    "six", "yes", "sea", "sky", "air", "ice", "oil", "map", "key", "box", "bus", "end",
};

void load_plan_words(struct strbuf *out, uint64_t seed, uint64_t tokens)
{
    if (!strbuf_reserve(out, tokens * LOAD_BYTES_PER_TOKEN)) {
        return;
    }
    struct rand_state rng = {.state = seed};
    uint64_t bits = 0;
    char *at = out->ptr + out->len;
    for (uint64_t i = 0; i < tokens; i++, bits >>= 6) {
        if (i % 10 == 0) {
            bits = rand_u64(&rng);
        }
        memcpy(at, words[bits & 63], 3);
        at[3] = ' ';
        at += 4;
    }
    out->len += tokens * LOAD_BYTES_PER_TOKEN;
}

static int init_groups(struct load_plan *plan)
{
    const struct load_config *config = plan->config;
    size_t n = config->prefix_groups;
    plan->group_weights = calloc(n, sizeof(*plan->group_weights));
    plan->group_tokens = calloc(n, sizeof(*plan->group_tokens));
    if (plan->group_weights == NULL || plan->group_tokens == NULL) {
        return -ENOMEM;
    }
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += pow((double)(i + 1), -config->prefix_skew);
        plan->group_weights[i] = sum;
        struct rand_state rng = {.state = mix(config->seed, STREAM_GROUP_LENGTH, i)};
        plan->group_tokens[i] = load_dist_draw(&config->prefix_tokens, &rng);
    }
    for (size_t i = 0; i < n; i++) {
        plan->group_weights[i] /= sum;
    }
    return 0;
}

int load_plan_init(struct load_plan *plan, const struct load_config *config)
{
    *plan = (struct load_plan){.config = config,
                               .rng.state = mix(config->seed, STREAM_PLAN, 0),
                               .trace_factor = config->time_scale};
    const struct load_trace *trace = config->trace;
    if (trace != NULL && config->rate > 0 && trace->items[trace->len - 1].at_ns > 0) {
        double seconds = (double)trace->items[trace->len - 1].at_ns / 1e9;
        plan->trace_factor = (double)trace->len / seconds / config->rate;
    }
    if (config->prefix_groups > 0) {
        int rc = init_groups(plan);
        if (rc != 0) {
            load_plan_fini(plan);
            return rc;
        }
    }
    return 0;
}

void load_plan_fini(struct load_plan *plan)
{
    free(plan->group_weights);
    free(plan->group_tokens);
    plan->group_weights = NULL;
    plan->group_tokens = NULL;
}

static uint64_t draw_group(struct load_plan *plan)
{
    double at = rand_unit(&plan->rng);
    size_t low = 0, high = plan->config->prefix_groups - 1;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (plan->group_weights[middle] > at) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

static uint32_t cut(uint32_t tokens, uint32_t max)
{
    return max != 0 && tokens > max ? max : tokens;
}

static bool next_of_trace(struct load_plan *plan, struct load_spec *spec)
{
    const struct load_trace *trace = plan->config->trace;
    if (plan->index >= trace->len) {
        return false;
    }
    const struct load_trace_item *item = &trace->items[plan->index];
    spec->at_ns = (uint64_t)((double)item->at_ns * plan->trace_factor);
    spec->prompt_tokens = item->prompt_tokens;
    spec->output_tokens = item->output_tokens;
    spec->block_count = item->block_count;
    spec->first_block = item->first_block;
    return true;
}

static void next_drawn(struct load_plan *plan, struct load_spec *spec)
{
    const struct load_config *config = plan->config;
    if (config->rate > 0) {
        plan->at_s = config->arrivals == LOAD_FIXED
                         ? (double)plan->index / config->rate
                         : plan->at_s + load_draw_exp(&plan->rng) / config->rate;
        spec->at_ns = (uint64_t)(plan->at_s * 1e9);
    }
    if (config->prefix_groups > 0) {
        spec->group = draw_group(plan);
        spec->prefix_tokens = plan->group_tokens[spec->group];
    }
    spec->prompt_tokens = load_dist_draw(&config->prompt_tokens, &plan->rng);
    spec->output_tokens = load_dist_draw(&config->output_tokens, &plan->rng);
}

bool load_plan_next(struct load_plan *plan, struct load_spec *ret_spec)
{
    const struct load_config *config = plan->config;
    struct load_spec spec = {.index = plan->index};
    if (config->requests > 0 && plan->index >= config->requests) {
        return false;
    }
    if (config->trace == NULL) {
        next_drawn(plan, &spec);
    } else if (!next_of_trace(plan, &spec)) {
        return false;
    }
    if (config->duration_ns > 0 && spec.at_ns >= config->duration_ns) {
        return false;
    }
    spec.prompt_tokens = cut(spec.prompt_tokens, config->prompt_max);
    spec.output_tokens = cut(spec.output_tokens, config->output_max);
    plan->index++;
    *ret_spec = spec;
    return true;
}

// The prompt of its own, or the blocks of a trace and then what they do not cover.
static void add_question(const struct load_plan *plan, const struct load_spec *spec,
                         struct strbuf *out)
{
    uint64_t seed = plan->config->seed, left = spec->prompt_tokens;
    for (uint32_t i = 0; i < spec->block_count && left > 0; i++) {
        uint64_t id = plan->config->trace->blocks[spec->first_block + i];
        uint64_t n = left < LOAD_TRACE_BLOCK_TOKENS ? left : LOAD_TRACE_BLOCK_TOKENS;
        load_plan_words(out, mix(seed, STREAM_BLOCK, id), n);
        left -= n;
    }
    load_plan_words(out, mix(seed, STREAM_QUESTION, spec->index), left);
}

static void add_prefix(const struct load_plan *plan, const struct load_spec *spec,
                       struct strbuf *out)
{
    load_plan_words(out, mix(plan->config->seed, STREAM_GROUP, spec->group), spec->prefix_tokens);
}

static void add_prompt(const struct load_plan *plan, const struct load_spec *spec,
                       struct strbuf *out)
{
    if (plan->config->api != LOAD_API_CHAT) {
        strbuf_add_str(out, plan->config->api == LOAD_API_EMBEDDINGS ? ",\"input\":\""
                                                                     : ",\"prompt\":\"");
        add_prefix(plan, spec, out);
        add_question(plan, spec, out);
        strbuf_add_char(out, '"');
        return;
    }
    strbuf_add_str(out, ",\"messages\":[");
    if (spec->prefix_tokens > 0) {
        strbuf_add_str(out, "{\"role\":\"system\",\"content\":\"");
        add_prefix(plan, spec, out);
        strbuf_add_str(out, "\"},");
    }
    strbuf_add_str(out, "{\"role\":\"user\",\"content\":\"");
    add_question(plan, spec, out);
    strbuf_add_str(out, "\"}]");
}

void load_plan_body(const struct load_plan *plan, const struct load_spec *spec, struct strbuf *out)
{
    const struct load_config *config = plan->config;
    strbuf_add_str(out, "{\"model\":");
    json_write_string(out, config->model);
    add_prompt(plan, spec, out);
    if (config->api != LOAD_API_EMBEDDINGS) {
        strbuf_printf(out, ",\"max_tokens\":%u", spec->output_tokens > 0 ? spec->output_tokens : 1);
        if (config->ignore_eos) {
            strbuf_add_str(out, ",\"ignore_eos\":true");
        }
        if (config->stream) {
            strbuf_add_str(out, ",\"stream\":true,\"stream_options\":{\"include_usage\":true}");
        }
    }
    strbuf_add(out, config->body_extra);
    strbuf_add_char(out, '}');
}
