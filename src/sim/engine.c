#include "sim/engine.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"

// When the owner comes late (a busy machine), missed steps are made up for, but not more than this.
enum { CATCH_UP_NS = 100 * 1000 * 1000 };

static bool config_is_sane(const struct sim_engine_config *config)
{
    return config->max_num_seqs > 0 && config->prefill_chunk > 0 && config->prefill_rate > 0 &&
           config->decode_step_ms >= 0 && config->decode_slowdown >= 0 && config->jitter >= 0 &&
           config->jitter < 1 && config->time_scale > 0 && config->kv_blocks > 0 &&
           config->kv_blocks <= 1u << 28 && config->block_size > 0 &&
           config->block_size <= 1u << 16 && config->max_model_len > 0;
}

int sim_engine_init(struct sim_engine *engine, const struct sim_engine_config *config,
                    sim_engine_cb *cb, void *arg)
{
    if (!config_is_sane(config)) {
        return -EINVAL;
    }
    *engine = (struct sim_engine){.config = *config, .cb = cb, .cb_arg = arg};
    engine->rng.state = config->seed;
    engine->stats.started_wall_ns = clock_wall_ns();
    list_init(&engine->waiting);
    list_init(&engine->running);
    list_init(&engine->events);
    for (unsigned i = 0; i < SIM_HISTOGRAM_COUNT; i++) {
        histogram_init(&engine->stats.histograms[i]);
    }
    return sim_kv_init(&engine->kv, config->kv_blocks);
}

uint32_t sim_engine_context(const struct sim_engine *engine)
{
    uint64_t held = (uint64_t)engine->config.kv_blocks * engine->config.block_size;
    return (uint32_t)MIN_OF(held, (uint64_t)engine->config.max_model_len);
}

static void record(struct sim_engine *engine, enum sim_histogram which, uint64_t value)
{
    histogram_record(&engine->stats.histograms[which], value);
}

// ---- blocks of a request --------------------------------------------------------------------

static void release_blocks(struct sim_engine *engine, struct sim_request *request)
{
    // Last block first, so that the tail of a prompt is evicted before its beginning.
    while (request->block_count > 0) {
        sim_kv_release(&engine->kv, request->blocks[--request->block_count]);
    }
}

static void drop_blocks(struct sim_engine *engine, struct sim_request *request)
{
    release_blocks(engine, request);
    free(request->blocks);
    request->blocks = NULL;
    request->block_cap = 0;
}

static uint32_t blocks_for(const struct sim_engine *engine, uint32_t tokens)
{
    return (tokens + engine->config.block_size - 1) / engine->config.block_size;
}

static bool room_for_blocks(struct sim_request *request, uint32_t count)
{
    if (count <= request->block_cap) {
        return true;
    }
    uint32_t cap = MAX_OF(count, request->block_cap * 2);
    uint32_t *blocks = realloc(request->blocks, (size_t)cap * sizeof(blocks[0]));
    if (blocks == NULL) {
        return false;
    }
    request->blocks = blocks;
    request->block_cap = cap;
    return true;
}

// Blocks for the first `tokens` tokens; false when there are not enough (what was got stays).
static bool take_blocks(struct sim_engine *engine, struct sim_request *request, uint32_t tokens)
{
    uint32_t wanted = blocks_for(engine, tokens);
    if (!room_for_blocks(request, wanted)) {
        return false;
    }
    while (request->block_count < wanted) {
        uint32_t block = sim_kv_take(&engine->kv);
        if (block == SIM_KV_NONE) {
            return false;
        }
        request->blocks[request->block_count++] = block;
    }
    return true;
}

// As soon as they are scheduled, as vLLM does it (kv_cache_manager.py): requests that are admitted
// in the same step with the same prompt, such as the choices of one request, share it already.
static void publish_blocks(struct sim_engine *engine, struct sim_request *request, uint32_t tokens)
{
    uint32_t size = engine->config.block_size;
    uint32_t full = (request->computed + tokens) / size;
    for (uint32_t i = request->computed / size; i < full && i < request->hash_count; i++) {
        sim_kv_publish(&engine->kv, request->blocks[i], request->hashes[i]);
    }
}

// ---- leaving --------------------------------------------------------------------------------

static void leave(struct sim_engine *engine, struct sim_request *request)
{
    if (request->state == SIM_REQUEST_WAITING) {
        engine->waiting_count--;
    } else if (request->state == SIM_REQUEST_RUNNING) {
        engine->running_count--;
    }
    list_remove(&request->node);
    drop_blocks(engine, request);
    request->state = SIM_REQUEST_FINISHED;
}

void sim_engine_abort(struct sim_engine *engine, struct sim_request *request)
{
    if (request->state == SIM_REQUEST_IDLE) {
        return;
    }
    list_remove(&request->event_node);
    if (request->state == SIM_REQUEST_FINISHED) {
        return;
    }
    leave(engine, request);
    engine->stats.finished[SIM_FINISH_ABORT]++;
}

void sim_engine_fini(struct sim_engine *engine)
{
    if (engine->cb == NULL) {
        return;
    }
    struct list_node *lists[] = {&engine->running, &engine->waiting};
    for (unsigned i = 0; i < ARRAY_LEN(lists); i++) {
        while (!list_empty(lists[i])) {
            sim_engine_abort(engine, list_first(lists[i], struct sim_request, node));
        }
    }
    sim_kv_fini(&engine->kv);
    engine->cb = NULL;
}

// ---- arriving -------------------------------------------------------------------------------

static bool is_full(const struct sim_engine *engine, uint32_t load)
{
    return engine->config.max_queued != SIM_QUEUE_UNLIMITED &&
           load >= (uint64_t)engine->config.max_num_seqs + engine->config.max_queued;
}

bool sim_engine_known_full(const struct sim_engine *engine)
{
    return is_full(engine, engine->known_load);
}

int sim_engine_submit(struct sim_engine *engine, struct sim_request *request, uint64_t now_ns)
{
    uint32_t context = sim_engine_context(engine);
    if (request->prompt_tokens == 0 || request->prompt_tokens > context ||
        request->max_tokens > context - request->prompt_tokens) {
        return -E2BIG;
    }
    if (!request->sibling && is_full(engine, engine->running_count + engine->waiting_count)) {
        engine->stats.rejections++;
        return -EAGAIN;
    }
    request->state = SIM_REQUEST_WAITING;
    request->arrived_ns = now_ns;
    list_init(&request->event_node);
    list_push_back(&engine->waiting, &request->node);
    engine->waiting_count++;
    engine->stats.arrivals++;
    return 0;
}

// ---- scheduling a step ----------------------------------------------------------------------

// What one step will do.
struct step {
    uint32_t budget; // tokens left
    uint32_t decodes;
    uint32_t prefill_tokens;
};

static void preempt(struct sim_engine *engine, struct sim_request *request)
{
    list_remove(&request->node);
    list_push_front(&engine->waiting, &request->node);
    release_blocks(engine, request);
    request->state = SIM_REQUEST_WAITING;
    request->computed = 0;
    request->scheduled = 0;
    request->preemptions++;
    engine->running_count--;
    engine->waiting_count++;
    engine->stats.preemptions++;
}

static void plan(struct sim_engine *engine, struct step *step, struct sim_request *request,
                 uint32_t tokens)
{
    publish_blocks(engine, request, tokens);
    request->scheduled = tokens;
    step->budget -= tokens;
    if (request->output > 0 && tokens == 1) {
        step->decodes++;
    } else {
        step->prefill_tokens += tokens;
    }
}

// True when someone had to go.
static bool schedule_running(struct sim_engine *engine, struct step *step)
{
    bool preempted = false;
    for (struct list_node *at = engine->running.next; at != &engine->running; at = at->next) {
        struct sim_request *request = container_of(at, struct sim_request, node);
        uint32_t left = request->prompt_tokens + request->output - request->computed;
        uint32_t tokens = MIN_OF(left, step->budget);
        request->scheduled = 0;
        while (tokens > 0 && !take_blocks(engine, request, request->computed + tokens)) {
            struct sim_request *last = list_last(&engine->running, struct sim_request, node);
            preempted = true;
            if (last == request) {
                tokens = 0;
                at = at->prev;
            }
            preempt(engine, last);
        }
        if (tokens > 0) {
            plan(engine, step, request, tokens);
        }
    }
    return preempted;
}

// Blocks and cached tokens for a request at the head of the queue; false when it must wait.
static bool admit_blocks(struct sim_engine *engine, struct sim_request *request, uint32_t budget,
                         uint32_t *ret_tokens)
{
    uint32_t size = engine->config.block_size;
    uint32_t total = request->prompt_tokens + request->output;
    // At least one token must be computed, to have something to predict from.
    uint32_t matched = sim_kv_match(&engine->kv, request->hashes,
                                    MIN_OF(request->hash_count, (total - 1) / size));
    uint32_t tokens = MIN_OF(total - matched * size, budget);
    uint32_t wanted = blocks_for(engine, matched * size + tokens);
    if (sim_kv_available(&engine->kv, request->hashes, matched) < wanted - matched ||
        !room_for_blocks(request, wanted)) {
        return false;
    }
    for (uint32_t i = 0; i < matched; i++) {
        request->blocks[request->block_count++] = sim_kv_reuse(&engine->kv, request->hashes[i]);
    }
    request->computed = matched * size;
    BUG_ON(!take_blocks(engine, request, request->computed + tokens));
    *ret_tokens = tokens;
    return true;
}

static void account_admission(struct sim_engine *engine, struct sim_request *request,
                              uint64_t now_ns)
{
    if (request->admitted_ns != 0) {
        return; // it comes back after a preemption
    }
    request->admitted_ns = now_ns;
    request->cached = request->computed;
    engine->stats.prompt_tokens += request->prompt_tokens;
    engine->stats.cached_tokens += request->cached;
    record(engine, SIM_HISTOGRAM_queue, now_ns - request->arrived_ns);
    record(engine, SIM_HISTOGRAM_uncached_prompt_length, request->prompt_tokens - request->cached);
}

static void schedule_waiting(struct sim_engine *engine, struct step *step, uint64_t now_ns)
{
    while (!list_empty(&engine->waiting) && step->budget > 0 &&
           engine->running_count < engine->config.max_num_seqs) {
        struct sim_request *request = list_first(&engine->waiting, struct sim_request, node);
        uint32_t tokens;
        if (!admit_blocks(engine, request, step->budget, &tokens)) {
            return;
        }
        list_remove(&request->node);
        list_push_back(&engine->running, &request->node);
        request->state = SIM_REQUEST_RUNNING;
        engine->waiting_count--;
        engine->running_count++;
        account_admission(engine, request, now_ns);
        plan(engine, step, request, tokens);
    }
}

static uint64_t step_duration_ns(struct sim_engine *engine, const struct step *step)
{
    const struct sim_engine_config *config = &engine->config;
    double further = step->decodes > 1 ? (double)(step->decodes - 1) : 0;
    double decode_ns = config->decode_step_ms * 1e6 * (1 + config->decode_slowdown * further);
    double prefill_ns = (double)step->prefill_tokens / config->prefill_rate * 1e9;
    double factor = config->time_scale;
    if (config->jitter > 0) {
        factor *= 1 + config->jitter * (2 * rand_unit(&engine->rng) - 1);
    }
    engine->stats.decode_ns += (uint64_t)(decode_ns * factor);
    engine->stats.prefill_ns += (uint64_t)(prefill_ns * factor);
    double ns = (decode_ns + prefill_ns) * factor;
    return ns < 1 ? 1 : (uint64_t)ns;
}

static void start_step(struct sim_engine *engine, uint64_t now_ns)
{
    struct step step = {.budget = engine->config.prefill_chunk};
    // After a preemption nobody new is admitted: what was just freed would be taken at once.
    if (!schedule_running(engine, &step)) {
        schedule_waiting(engine, &step, now_ns);
    }
    engine->known_load = engine->running_count + engine->waiting_count;
    engine->step_running = engine->running_count > 0;
    if (!engine->step_running) {
        return;
    }
    engine->step_end_ns = now_ns + step_duration_ns(engine, &step);
    engine->stats.steps++;
    engine->stats.busy_slot_steps += engine->running_count;
    record(engine, SIM_HISTOGRAM_step_tokens, step.decodes + step.prefill_tokens);
}

// ---- completing a step ----------------------------------------------------------------------

static void account_token(struct sim_engine *engine, struct sim_request *request, uint64_t now_ns)
{
    engine->stats.generation_tokens++;
    if (request->first_token_ns == 0) {
        request->first_token_ns = now_ns;
        record(engine, SIM_HISTOGRAM_ttft, now_ns - request->arrived_ns);
        record(engine, SIM_HISTOGRAM_prefill, now_ns - request->admitted_ns);
    } else {
        record(engine, SIM_HISTOGRAM_inter_token, now_ns - request->last_token_ns);
    }
    request->last_token_ns = now_ns;
}

static void account_finish(struct sim_engine *engine, struct sim_request *request, uint64_t now_ns)
{
    uint64_t first = request->first_token_ns != 0 ? request->first_token_ns : now_ns;
    uint64_t tokens = (uint64_t)request->prompt_tokens + request->output;
    engine->stats.finished[request->finish]++;
    engine->stats.longest_sequence = MAX_OF(engine->stats.longest_sequence, tokens);
    record(engine, SIM_HISTOGRAM_end_to_end, now_ns - request->arrived_ns);
    record(engine, SIM_HISTOGRAM_inference, now_ns - request->admitted_ns);
    record(engine, SIM_HISTOGRAM_decode, now_ns - first);
    if (request->output > 1) {
        record(engine, SIM_HISTOGRAM_time_per_output_token, (now_ns - first) / (request->output - 1));
    }
    record(engine, SIM_HISTOGRAM_prompt_length, request->prompt_tokens);
    record(engine, SIM_HISTOGRAM_generation_length, request->output);
    record(engine, SIM_HISTOGRAM_max_tokens_asked, request->max_tokens);
    record(engine, SIM_HISTOGRAM_preemptions_each, request->preemptions);
    record(engine, SIM_HISTOGRAM_one, 1);
}

static void advance(struct sim_engine *engine, struct sim_request *request, uint64_t now_ns)
{
    uint32_t before = request->computed;
    request->computed += request->scheduled;
    request->scheduled = 0;
    if (before < request->prompt_tokens) {
        engine->stats.computed_prompt_tokens +=
            MIN_OF(request->computed, request->prompt_tokens) - before;
    }
    if (request->computed < request->prompt_tokens + request->output) {
        return; // prefill goes on
    }
    if (request->max_tokens > 0) {
        request->output++;
        account_token(engine, request, now_ns);
    }
    if (request->output >= request->max_tokens) {
        account_finish(engine, request, now_ns);
        leave(engine, request);
    }
    list_push_back(&engine->events, &request->event_node);
}

static void complete_step(struct sim_engine *engine, uint64_t now_ns)
{
    engine->step_running = false;
    list_for_each(&engine->running, at) {
        struct sim_request *request = container_of(at, struct sim_request, node);
        if (request->scheduled > 0) {
            advance(engine, request, now_ns);
        }
    }
    // The callbacks may abort anyone; whoever is aborted leaves this list.
    while (!list_empty(&engine->events)) {
        struct sim_request *request = list_first(&engine->events, struct sim_request, event_node);
        list_remove(&request->event_node);
        engine->cb(request, engine->cb_arg);
    }
}

uint64_t sim_engine_next_ns(const struct sim_engine *engine)
{
    if (engine->frozen) {
        return UINT64_MAX;
    }
    if (engine->step_running) {
        return engine->step_end_ns;
    }
    return list_empty(&engine->waiting) && list_empty(&engine->running) ? UINT64_MAX : 0;
}

void sim_engine_run(struct sim_engine *engine, uint64_t now_ns)
{
    if (engine->frozen) {
        return;
    }
    while (engine->step_running && engine->step_end_ns <= now_ns) {
        uint64_t ended_ns = engine->step_end_ns;
        complete_step(engine, ended_ns);
        uint64_t oldest = now_ns > CATCH_UP_NS ? now_ns - CATCH_UP_NS : 0;
        start_step(engine, MAX_OF(ended_ns, oldest));
    }
    if (!engine->step_running) {
        start_step(engine, now_ns);
    }
}

void sim_engine_freeze(struct sim_engine *engine, bool frozen, uint64_t now_ns)
{
    if (frozen && !engine->frozen) {
        engine->frozen_ns = now_ns;
    } else if (!frozen && engine->frozen && engine->step_running) {
        engine->step_end_ns += now_ns - engine->frozen_ns;
    }
    engine->frozen = frozen;
}
