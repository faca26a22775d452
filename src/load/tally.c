#include "load/tally.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void load_tally_init(struct load_tally *tally)
{
    *tally = (struct load_tally){.sent = 0};
    histogram_init(&tally->ttft);
    histogram_init(&tally->gap);
    histogram_init(&tally->tpot);
    histogram_init(&tally->e2e);
    histogram_init(&tally->lag);
}

void load_tally_fini(struct load_tally *tally)
{
    VEC_FINI(&tally->failures);
    VEC_FINI(&tally->shares);
}

static void count_failure(struct load_tally *tally, const struct load_reply *reply)
{
    unsigned code = reply->failure == LOAD_FAILURE_STATUS        ? reply->status
                    : reply->failure == LOAD_FAILURE_ERROR_EVENT ? reply->code
                                                                 : 0;
    for (size_t i = 0; i < tally->failures.len; i++) {
        struct load_failures *at = &tally->failures.items[i];
        if (at->failure == reply->failure && at->code == code) {
            at->count++;
            return;
        }
    }
    struct load_failures fresh = {.failure = reply->failure, .code = code, .count = 1};
    snprintf(fresh.sample, sizeof(fresh.sample), "%s", reply->sample);
    if (!VEC_PUSH(&tally->failures, fresh)) {
        oom_abort("failures");
    }
}

// A server may name as many endpoints as it likes: what is over the bound is counted together.
static struct load_share *share_of(struct load_tally *tally, const char *name)
{
    if (tally->shares.len >= LOAD_SHARES_MAX) {
        name = "(others)";
    }
    for (size_t i = 0; i < tally->shares.len; i++) {
        if (strcmp(tally->shares.items[i].name, name) == 0) {
            return &tally->shares.items[i];
        }
    }
    struct load_share fresh = {.requests = 0};
    snprintf(fresh.name, sizeof(fresh.name), "%s", name);
    if (!VEC_PUSH(&tally->shares, fresh)) {
        oom_abort("shares");
    }
    return &tally->shares.items[tally->shares.len - 1];
}

static void count_success(struct load_tally *tally, const struct load_outcome *outcome)
{
    const struct load_reply *reply = outcome->reply;
    histogram_record(&tally->e2e, outcome->end_ns - outcome->due_ns);
    tally->text_events += reply->text_events;
    if (!reply->usage.seen) {
        tally->without_usage++;
    }
    tally->prompt_tokens += reply->usage.prompt_tokens;
    tally->cached_tokens += reply->usage.cached_tokens;
    uint64_t tokens = reply->usage.seen ? reply->usage.completion_tokens : reply->text_events;
    tally->completion_tokens += tokens;
    if (reply->is_stream && outcome->first_ns != 0 && tokens > 1) {
        histogram_record(&tally->tpot, (outcome->last_ns - outcome->first_ns) / (tokens - 1));
    }
}

void load_tally_add(struct load_tally *tally, const struct load_outcome *outcome)
{
    const struct load_reply *reply = outcome->reply;
    struct load_share *share = share_of(tally, outcome->share);
    share->requests++;
    share->cached_tokens += reply->usage.cached_tokens;
    tally->sent++;
    histogram_record(&tally->lag,
                     outcome->sent_ns > outcome->due_ns ? outcome->sent_ns - outcome->due_ns : 0);
    if (reply->is_stream && outcome->first_ns != 0) {
        histogram_record(&tally->ttft, outcome->first_ns - outcome->due_ns);
        share->ttft_sum_ns += outcome->first_ns - outcome->due_ns;
        share->ttft_count++;
    }
    if (reply->failure == LOAD_FAILURE_NONE) {
        tally->succeeded++;
        count_success(tally, outcome);
    } else {
        tally->failed++;
        share->failed++;
        count_failure(tally, reply);
    }
}

static int compare_failures(const void *a, const void *b)
{
    const struct load_failures *x = a, *y = b;
    return (x->count < y->count) - (x->count > y->count);
}

// Numbers in names by value: pod-2 before pod-10.
static int compare_shares(const void *a, const void *b)
{
    return strverscmp(((const struct load_share *)a)->name, ((const struct load_share *)b)->name);
}

void load_tally_sort(struct load_tally *tally)
{
    if (tally->failures.len > 1) {
        qsort(tally->failures.items, tally->failures.len, sizeof(tally->failures.items[0]),
              compare_failures);
    }
    if (tally->shares.len > 1) {
        qsort(tally->shares.items, tally->shares.len, sizeof(tally->shares.items[0]),
              compare_shares);
    }
}
