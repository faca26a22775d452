// The model of an inference engine: continuous batching of at most max_num_seqs requests, a waiting
// queue in order of arrival, prefill in chunks, one token a step for everyone who decodes, KV blocks
// with preemption by recomputation, and a prefix cache. The schedule is that of vLLM's V1 scheduler
// (running requests first, then admission, one token budget for both).
//
// Pure: no clock, no sockets. The owner says what time it is, and asks when the next step ends.
// One thread.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/macros.h"
#include "base/rand.h"
#include "sim/kv.h"
#include "sim/stats.h"

enum { SIM_QUEUE_UNLIMITED = UINT32_MAX };

struct sim_engine_config {
    uint32_t max_num_seqs;     // requests in the batch
    uint32_t max_queued;       // requests that may wait beyond the batch; or SIM_QUEUE_UNLIMITED
    uint32_t prefill_chunk;    // tokens that one step may process, decode and prefill together
    double prefill_rate;       // tokens a second
    double decode_step_ms;     // a step with one decoding request
    double decode_slowdown;    // each further one makes the step longer by this share of it
    double jitter;             // steps vary by up to this share, both ways
    double time_scale;         // all durations are multiplied by this
    uint32_t kv_blocks;
    uint32_t block_size;       // tokens
    uint32_t max_model_len;    // prompt and output together; lowered to what the KV blocks hold
    uint64_t seed;
};

enum sim_request_state {
    SIM_REQUEST_IDLE,
    SIM_REQUEST_WAITING,
    SIM_REQUEST_RUNNING,
    SIM_REQUEST_FINISHED,
};

// Embedded in its owner. Zero-initialise, then fill the first group.
struct sim_request {
    uint32_t prompt_tokens; // at least 1
    uint32_t max_tokens;    // output; 0 = only prefill (embeddings)
    enum sim_finish finish; // why it ends when max_tokens are there: stop or length
    uint64_t *hashes;       // of the full blocks of the prompt, each covering all before it; owner's
    uint32_t hash_count;
    bool sibling;           // a further choice of a request that is in: the queue limit let it pass
    // Set by the engine; the owner may read them.
    enum sim_request_state state;
    uint32_t output;      // tokens generated so far
    uint32_t cached;      // prompt tokens that the prefix cache had at first admission
    uint32_t preemptions;
    uint64_t arrived_ns;
    uint64_t admitted_ns; // 0 until then
    uint64_t first_token_ns;
    uint64_t last_token_ns;
    // Private.
    struct list_node node;       // in waiting or running
    struct list_node event_node; // progressed in the step that is being reported
    uint32_t computed;           // tokens whose KV is in blocks
    uint32_t scheduled;          // tokens of the step under way
    uint32_t *blocks;
    uint32_t block_count;
    uint32_t block_cap;
};

// A request generated a token or finished (state says). From inside, requests may be submitted and
// aborted, this one too.
typedef void sim_engine_cb(struct sim_request *request, void *arg);

struct sim_engine {
    struct sim_engine_config config;
    struct sim_kv kv;
    struct sim_stats stats;
    struct list_node waiting;
    struct list_node running;
    struct list_node events;
    uint32_t waiting_count;
    uint32_t running_count;
    uint32_t known_load; // running and waiting as of the last step: what a front end knows
    bool step_running;
    bool frozen;
    uint64_t frozen_ns;
    uint64_t step_end_ns;
    struct rand_state rng;
    sim_engine_cb *cb;
    void *cb_arg;
};

// 0, -EINVAL (a number that makes no sense) or -ENOMEM.
MUST_CHECK int sim_engine_init(struct sim_engine *engine, const struct sim_engine_config *config,
                               sim_engine_cb *cb, void *arg);

// Aborts what is left, without callbacks.
void sim_engine_fini(struct sim_engine *engine);

// Queues a request; it is looked at by the next sim_engine_run. 0, -EAGAIN (the queue is full),
// -E2BIG (longer than max_model_len).
MUST_CHECK int sim_engine_submit(struct sim_engine *engine, struct sim_request *request,
                                 uint64_t now_ns);

// What a front end would believe that has only seen the last step's figures: no room for one more.
bool sim_engine_known_full(const struct sim_engine *engine);

// Ends a request at once and frees its blocks. No callback. Harmless when it is not in the engine.
void sim_engine_abort(struct sim_engine *engine, struct sim_request *request);

// When sim_engine_run has something to do next: a time, 0 = now, UINT64_MAX = never as things are.
uint64_t sim_engine_next_ns(const struct sim_engine *engine);

// Completes the steps that ended until now, calling back, and starts the next.
void sim_engine_run(struct sim_engine *engine, uint64_t now_ns);

// While frozen nothing progresses: the step under way ends as much later as the freeze lasted.
void sim_engine_freeze(struct sim_engine *engine, bool frozen, uint64_t now_ns);

// The longest prompt plus output that is accepted.
uint32_t sim_engine_context(const struct sim_engine *engine);
