#include "observe/decision.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "json/write.h"

enum {
    DECISION_WORDS = (sizeof(struct decision) + sizeof(uint64_t) - 1) / sizeof(uint64_t),
    TRIES = 8, // of a reader against a writer
};

struct entry {
    _Atomic uint64_t seq; // odd while being written; 0 = never written
    _Atomic uint64_t words[DECISION_WORDS];
};

struct decision_ring {
    CACHE_ALIGNED struct decision staging; // the writer's
    uint64_t next;
    struct entry entries[DECISIONS_KEPT];
};

struct decisions {
    unsigned workers;
    struct decision_ring *rings[];
};

struct decisions *decisions_new(unsigned workers)
{
    struct decisions *decisions =
        calloc(1, sizeof(*decisions) + workers * sizeof(decisions->rings[0]));
    if (decisions == NULL) {
        return NULL;
    }
    for (; decisions->workers < workers; decisions->workers++) {
        struct decision_ring *ring = aligned_alloc(CACHE_LINE, sizeof(*ring));
        if (ring == NULL) {
            decisions_free(decisions);
            return NULL;
        }
        memset(ring, 0, sizeof(*ring));
        decisions->rings[decisions->workers] = ring;
    }
    return decisions;
}

void decisions_free(struct decisions *decisions)
{
    for (unsigned i = 0; decisions != NULL && i < decisions->workers; i++) {
        free(decisions->rings[i]);
    }
    free(decisions);
}

struct decision_ring *decisions_ring(struct decisions *decisions, unsigned worker)
{
    return decisions->rings[worker];
}

// ---- writing ------------------------------------------------------------------------------------

struct decision *decision_begin(struct decision_ring *ring)
{
    struct decision *decision = &ring->staging;
    decision->wall_ns = 0;
    decision->prompt_tokens = 0;
    decision->attempt = 0;
    decision->fallback = false;
    decision->failed = false;
    decision->text_len = 0;
    memset(decision->field_at, 0, sizeof(decision->field_at));
    memset(decision->field_len, 0, sizeof(decision->field_len));
    decision->trace.recorded = 0;
    decision->trace.candidate_count = 0;
    return decision;
}

void decision_set(struct decision *decision, enum decision_field field, struct slice text)
{
    size_t room = DECISION_TEXT_MAX - (size_t)decision->text_len;
    size_t len = text.len < room ? text.len : room;
    decision->field_at[field] = decision->text_len;
    decision->field_len[field] = (uint16_t)len;
    if (len != 0) {
        memcpy(decision->text + decision->text_len, text.ptr, len);
    }
    decision->text_len = (uint16_t)(decision->text_len + len);
}

struct slice decision_get(const struct decision *decision, enum decision_field field)
{
    return slice_of(decision->text + decision->field_at[field], decision->field_len[field]);
}

// Copies the bytes [from, to) of the staging area, widened to words.
static void store_words(struct decision_ring *ring, struct entry *entry, size_t from, size_t to)
{
    const char *bytes = (const char *)&ring->staging;
    for (size_t i = from / sizeof(uint64_t); i * sizeof(uint64_t) < to; i++) {
        uint64_t word;
        memcpy(&word, bytes + i * sizeof(word), sizeof(word));
        atomic_store_explicit(&entry->words[i], word, memory_order_relaxed);
    }
}

void decision_commit(struct decision_ring *ring)
{
    struct decision *decision = &ring->staging;
    struct entry *entry = &ring->entries[ring->next++ % DECISIONS_KEPT];
    if (decision->wall_ns == 0) {
        decision->wall_ns = clock_wall_ns();
    }
    // Odd, then the data, then even. The fence keeps the data behind the odd number; partner: the
    // fence in entry_read. The release keeps it before the even one; partner: the acquire there.
    uint64_t seq = atomic_load_explicit(&entry->seq, memory_order_relaxed);
    atomic_store_explicit(&entry->seq, seq + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    size_t trace_end = offsetof(struct decision, trace.candidates) +
                       decision->trace.recorded * sizeof(struct pick_candidate);
    // What is not in use is not copied: nobody looks beyond the lengths.
    store_words(ring, entry, 0, offsetof(struct decision, text) + decision->text_len);
    store_words(ring, entry, offsetof(struct decision, trace), trace_end);
    atomic_store_explicit(&entry->seq, seq + 2, memory_order_release);
}

// ---- reading ------------------------------------------------------------------------------------

// False: empty, or overwritten all the time.
static bool entry_read(struct entry *entry, struct decision *ret)
{
    uint64_t words[DECISION_WORDS];
    for (int i = 0; i < TRIES; i++) {
        uint64_t before = atomic_load_explicit(&entry->seq, memory_order_acquire);
        if (before == 0) {
            return false;
        }
        if (before % 2 != 0) {
            continue;
        }
        for (size_t k = 0; k < DECISION_WORDS; k++) {
            words[k] = atomic_load_explicit(&entry->words[k], memory_order_relaxed);
        }
        atomic_thread_fence(memory_order_acquire);
        if (atomic_load_explicit(&entry->seq, memory_order_relaxed) == before) {
            memcpy(ret, words, sizeof(*ret));
            return true;
        }
    }
    return false;
}

// Newest first, or (of one request) in the order of its attempts.
static bool comes_before(const struct decision *a, const struct decision *b, bool by_attempt)
{
    if (by_attempt) {
        return a->wall_ns < b->wall_ns || (a->wall_ns == b->wall_ns && a->attempt < b->attempt);
    }
    return a->wall_ns > b->wall_ns;
}

size_t decisions_read(struct decisions *decisions, struct slice request_id, struct decision *out,
                      size_t max)
{
    size_t count = 0;
    bool by_id = request_id.ptr != NULL;
    for (unsigned w = 0; w < decisions->workers; w++) {
        for (size_t i = 0; i < DECISIONS_KEPT; i++) {
            struct decision decision;
            if (!entry_read(&decisions->rings[w]->entries[i], &decision) ||
                (by_id && !slice_eq(decision_get(&decision, DECISION_REQUEST_ID), request_id))) {
                continue;
            }
            size_t at = count < max ? count++ : max;
            for (; at > 0 && comes_before(&decision, &out[at - 1], by_id); at--) {
                if (at < max) {
                    out[at] = out[at - 1];
                }
            }
            if (at < max) {
                out[at] = decision;
            }
        }
    }
    return count;
}

// ---- JSON ---------------------------------------------------------------------------------------

static void write_bool(struct strbuf *out, const char *key, bool value)
{
    strbuf_printf(out, ",\"%s\":%s", key, value ? "true" : "false");
}

static void write_number(struct strbuf *out, const char *key, double value)
{
    strbuf_printf(out, ",\"%s\":", key);
    json_write_double(out, value);
}

static void candidate_write_json(const struct pick_candidate *candidate, struct strbuf *out)
{
    strbuf_add(out, SLICE("{\"endpoint\":"));
    json_write_string(out,
                      slice_of(candidate->text, strnlen(candidate->text, sizeof(candidate->text))));
    write_number(out, "cost", (double)candidate->cost);
    write_number(out, "ours_tokens", (double)candidate->ours_tokens);
    write_number(out, "others_tokens", (double)candidate->others_tokens);
    write_number(out, "own_tokens", (double)candidate->own_tokens);
    write_number(out, "running", (double)candidate->running);
    write_number(out, "kv_pressure", (double)candidate->kv_pressure);
    write_number(out, "weight", candidate->weight);
    if (candidate->kv_utilisation >= 0) {
        write_number(out, "kv_utilisation", (double)candidate->kv_utilisation);
    }
    write_number(out, "ours_requests", candidate->ours_requests);
    if (candidate->age_ms != UINT32_MAX) {
        write_number(out, "age_ms", candidate->age_ms);
    }
    write_bool(out, "avoided", candidate->avoided);
    if (candidate->skip != PICK_SKIP_NONE && candidate->skip < PICK_SKIP_COUNT) {
        strbuf_printf(out, ",\"skip\":\"%s\"", pick_skip_name(candidate->skip));
    }
    write_bool(out, "tried", candidate->tried);
    write_bool(out, "kv_full", candidate->kv_full);
    write_bool(out, "overloaded", candidate->overloaded);
    strbuf_add_char(out, '}');
}

void pick_trace_write_json(const struct pick_trace *trace, struct strbuf *out)
{
    size_t recorded = MIN_OF(trace->recorded, (uint32_t)PICK_TRACE_MAX);
    strbuf_printf(out, "{\"policy\":\"%s\",%s\"endpoints\":%u,\"candidates\":[",
                  pick_policy_name(trace->policy), trace->held ? "\"session\":true," : "",
                  trace->candidate_count);
    for (size_t i = 0; i < recorded; i++) {
        if (i != 0) {
            strbuf_add_char(out, ',');
        }
        candidate_write_json(&trace->candidates[i], out);
    }
    strbuf_add(out, SLICE("]}"));
}

void decision_write_json(const struct decision *decision, struct strbuf *out)
{
    static const char *const keys[DECISION_FIELD_COUNT] = {
        [DECISION_REQUEST_ID] = "request_id", [DECISION_ROUTE] = "route",
        [DECISION_RULE] = "rule",             [DECISION_MODEL] = "model",
        [DECISION_UPSTREAM_MODEL] = "upstream_model",
        [DECISION_BACKEND] = "backend",       [DECISION_AFTER] = "after",
    };
    char when[CLOCK_RFC3339_SIZE];
    clock_format_rfc3339(decision->wall_ns, when, sizeof(when));
    strbuf_printf(out, "{\"time\":\"%s\",\"attempt\":%u", when, decision->attempt);
    for (int i = 0; i < DECISION_FIELD_COUNT; i++) {
        struct slice text = decision_get(decision, (enum decision_field)i);
        if (text.len != 0) {
            strbuf_add_char(out, ',');
            json_write_key(out, keys[i]);
            json_write_string(out, text);
        }
    }
    write_number(out, "prompt_tokens", (double)decision->prompt_tokens);
    write_bool(out, "fallback", decision->fallback);
    write_bool(out, "failed", decision->failed);
    strbuf_add(out, SLICE(",\"pick\":"));
    pick_trace_write_json(&decision->trace, out);
    strbuf_add_char(out, '}');
}
