#include "endpoint/endpoint.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "endpoint/pick_view.h"

enum {
    AVOID_FIRST_MS = 1000,
    AVOID_MAX_MS = 30000,
    OVERLOADED_FIRST_MS = 250,
    OVERLOADED_MAX_MS = 2000,
    TOKEN_RATIO_ONE = 1024,   // bytes_per_token_q10 of one byte a token
    TOKEN_RATIO_MAX = 32,     // more bytes a token than this is not text (images, escapes)
    TOKEN_LEARN_MIN = 16,     // below, the chat template outweighs the text
    TOKEN_LEARN_FULL = 256,
};

// More requests or tokens than any pod will ever have.
#define SAMPLE_MAX 1e12

void endpoint_ref(struct endpoint *endpoint)
{
    // Relaxed: whoever takes a reference is protected already by what the contract asks for.
    atomic_fetch_add_explicit(&endpoint->refs, 1, memory_order_relaxed);
}

void endpoint_unref(struct endpoint_table *table, struct endpoint *endpoint)
{
    (void)table;
    if (endpoint != NULL) {
        // Release: our last uses come before. Partner: the acquire in endpoint_table_collect.
        uint32_t before = atomic_fetch_sub_explicit(&endpoint->refs, 1, memory_order_release);
        BUG_ON(before < 2); // the table's own is not ours to drop
    }
}

uint16_t endpoint_port(const struct endpoint *endpoint)
{
    struct sockaddr_storage address = endpoint->address;
    return ntohs(*endpoint_address_port(&address));
}

void endpoint_problem_set(struct endpoint_table *table, char problem[ENDPOINT_PROBLEM_MAX],
                          const char *text)
{
    char cut[ENDPOINT_PROBLEM_MAX];
    snprintf(cut, sizeof(cut), "%s", text);
    if (strcmp(problem, cut) != 0) { // only this thread writes
        pthread_mutex_lock(&table->lock);
        memcpy(problem, cut, sizeof(cut));
        pthread_mutex_unlock(&table->lock);
    }
}

void endpoint_sample_read(const struct endpoint *endpoint, struct endpoint_sample *ret_sample)
{
    uint64_t words[ENDPOINT_SAMPLE_WORDS];
    uint32_t begin;
    do {
        begin = endpoint_sample_begin(endpoint);
        for (size_t i = 0; i < ENDPOINT_SAMPLE_WORDS; i++) {
            words[i] = endpoint_sample_word(endpoint, i);
        }
    } while (UNLIKELY(!endpoint_sample_end(endpoint, begin)));
    memcpy(ret_sample, words, sizeof(words));
}

// Keeps what an earlier sample said where this one says nothing or nonsense. Bounded, so that no
// sum or product of them overflows: a cost that is not a number would compare as equal to every
// other.
static double sample_or(double value, double fallback)
{
    return isfinite(value) && value >= 0 ? MIN_OF(value, SAMPLE_MAX) : fallback;
}

// Who of those waiting is ours cannot be seen: all share the queue in proportion.
static void sample_others(struct endpoint_sample *sample, bool has_running, uint32_t ours)
{
    if (has_running) {
        double total = sample->waiting + sample->running;
        sample->others_requests = total > ours ? total - ours : 0;
        sample->others_waiting = total > 0 ? sample->others_requests * sample->waiting / total : 0;
        return;
    }
    // `running` is of another moment than `ours`: what others run stays as it was seen last, and
    // the queue beyond all of ours is theirs in any case.
    double running = MAX_OF(sample->others_requests - sample->others_waiting, 0.0);
    double share = running + ours > 0 ? running / (running + ours) : 1;
    double beyond = sample->waiting - ours;
    double waiting = MAX_OF(sample->waiting * share, beyond);
    sample->others_waiting = waiting;
    sample->others_requests = running + waiting;
}

void endpoint_sample_write(struct endpoint *endpoint, double waiting, double running,
                           double kv_utilisation, double kv_capacity_tokens, uint32_t ours,
                           uint64_t tokens_reserved, uint64_t now_ms)
{
    uint32_t seq = atomic_load_explicit(&endpoint->sample_seq, memory_order_relaxed);
    // Acquire: also orders us after the previous writer, whose words we merge with.
    if ((seq & 1) != 0 ||
        !atomic_compare_exchange_strong_explicit(&endpoint->sample_seq, &seq, seq + 1,
                                                 memory_order_acquire, memory_order_relaxed)) {
        return; // another writer is at it with data as fresh as ours
    }
    uint64_t words[ENDPOINT_SAMPLE_WORDS];
    for (size_t i = 0; i < ENDPOINT_SAMPLE_WORDS; i++) {
        words[i] = atomic_load_explicit(&endpoint->sample_words[i], memory_order_relaxed);
    }
    struct endpoint_sample sample;
    memcpy(&sample, words, sizeof(sample));

    bool first = sample.taken_ms == 0;
    sample.waiting = sample_or(waiting, sample.waiting);
    sample.running = sample_or(running, sample.running);
    if (first || !isnan(kv_utilisation)) {
        sample.kv_utilisation = sample_or(kv_utilisation, -1);
    }
    sample.kv_capacity_tokens = sample_or(kv_capacity_tokens, sample.kv_capacity_tokens);
    sample_others(&sample, !isnan(running), ours);
    sample.tokens_reserved = tokens_reserved;
    sample.taken_ms = now_ms > 0 ? now_ms : 1;
    pick_view_digest(&sample);

    memcpy(words, &sample, sizeof(sample));
    for (size_t i = 0; i < ENDPOINT_SAMPLE_WORDS; i++) {
        // Release: a reader that sees a new word sees the odd count (or a later one) as well.
        // Partner: the acquire loads of the words.
        atomic_store_explicit(&endpoint->sample_words[i], words[i], memory_order_release);
    }
    atomic_store_explicit(&endpoint->sample_seq, seq + 2, memory_order_release);
}

double backend_state_sample_share(const struct backend_state *backend, uint64_t taken_ms,
                                  uint64_t now_ms)
{
    struct sample_fading fading = sample_fading_of(backend);
    return sample_fading_share(&fading, taken_ms, now_ms);
}

// Raises *until_ms to now + first, doubled for each time in a row; reports inside the while that is
// running already belong to one burst and count once.
static void avoid_for(_Atomic uint64_t *until_ms, _Atomic uint32_t *in_row, uint64_t now_ms,
                      uint64_t first_ms, uint64_t max_ms)
{
    // Relaxed throughout: hints that pickers may see late; nothing else is published by them.
    uint64_t until = atomic_load_explicit(until_ms, memory_order_relaxed);
    uint32_t row = atomic_load_explicit(in_row, memory_order_relaxed);
    if (row > 0 && now_ms < until) {
        return;
    }
    uint64_t length = row < 16 ? first_ms << row : max_ms;
    length = MIN_OF(length, max_ms);
    // One of several reports at the same moment wins.
    if (atomic_compare_exchange_strong_explicit(until_ms, &until, now_ms + length,
                                                memory_order_relaxed, memory_order_relaxed)) {
        atomic_store_explicit(in_row, row + 1, memory_order_relaxed);
    }
}

void endpoint_report_failure(struct endpoint *endpoint, uint64_t now_ms)
{
    atomic_fetch_add_explicit(&endpoint->failures, 1, memory_order_relaxed);
    avoid_for(&endpoint->avoid_until_ms, &endpoint->failures_in_row, now_ms, AVOID_FIRST_MS,
              AVOID_MAX_MS);
}

void endpoint_report_overloaded(struct endpoint *endpoint, uint64_t now_ms)
{
    atomic_fetch_add_explicit(&endpoint->overloads, 1, memory_order_relaxed);
    avoid_for(&endpoint->overloaded_until_ms, &endpoint->health.overloads_in_row, now_ms,
              OVERLOADED_FIRST_MS, OVERLOADED_MAX_MS);
}

void endpoint_report_reached(struct endpoint *endpoint)
{
    // Looks before it writes: the line is shared by all workers and successes are the rule.
    if (atomic_load_explicit(&endpoint->failures_in_row, memory_order_relaxed) != 0) {
        atomic_store_explicit(&endpoint->failures_in_row, 0, memory_order_relaxed);
        atomic_store_explicit(&endpoint->avoid_until_ms, 0, memory_order_relaxed);
    }
}

void endpoint_report_success(struct endpoint *endpoint)
{
    endpoint_report_reached(endpoint);
    if (atomic_load_explicit(&endpoint->health.overloads_in_row, memory_order_relaxed) != 0) {
        atomic_store_explicit(&endpoint->health.overloads_in_row, 0, memory_order_relaxed);
        atomic_store_explicit(&endpoint->overloaded_until_ms, 0, memory_order_relaxed);
    }
}

void backend_state_learn_tokens(struct backend_state *backend, uint64_t prompt_bytes,
                                uint64_t prompt_tokens)
{
    if (prompt_tokens < TOKEN_LEARN_MIN || prompt_tokens > ENDPOINT_TOKENS_MAX ||
        prompt_bytes < prompt_tokens / 4 || prompt_bytes > prompt_tokens * TOKEN_RATIO_MAX) {
        return;
    }
    int64_t seen = (int64_t)(prompt_bytes * TOKEN_RATIO_ONE / prompt_tokens);
    // Relaxed, and an update may be lost to another worker's: it is a mean over thousands.
    int64_t mean = atomic_load_explicit(&backend->bytes_per_token_q10, memory_order_relaxed);
    int64_t share = prompt_tokens >= TOKEN_LEARN_FULL ? 16 : 64;
    mean += (seen - mean) / share;
    mean = MAX_OF(mean, (int64_t)TOKEN_RATIO_ONE / 4);
    atomic_store_explicit(&backend->bytes_per_token_q10, (uint32_t)mean, memory_order_relaxed);
}

void backend_state_learn_ttft(struct backend_state *backend, uint64_t ttft_ms)
{
    int64_t seen = (int64_t)MIN_OF(ttft_ms, (uint64_t)UINT32_MAX / 2);
    // Relaxed: for display; a lost update does not matter.
    int64_t mean = atomic_load_explicit(&backend->mean_ttft_ms, memory_order_relaxed);
    mean = mean == 0 ? seen : mean + (seen - mean) / 16;
    atomic_store_explicit(&backend->mean_ttft_ms, (uint32_t)mean, memory_order_relaxed);
}

uint64_t backend_state_estimate_tokens(const struct backend_state *backend, uint64_t prompt_bytes)
{
    uint64_t ratio = atomic_load_explicit(&backend->bytes_per_token_q10, memory_order_relaxed);
    uint64_t bytes = MIN_OF(prompt_bytes, (uint64_t)1 << 40);
    uint64_t tokens = bytes * TOKEN_RATIO_ONE / MAX_OF(ratio, (uint64_t)1);
    tokens = MAX_OF(tokens, (uint64_t)1);
    return MIN_OF(tokens, (uint64_t)ENDPOINT_TOKENS_MAX);
}
