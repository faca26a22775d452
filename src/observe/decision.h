// The last decisions of each worker: which endpoint was picked for a request, among which, and why.
//
// A ring has one writer, its worker. Readers take consistent copies without a lock (a sequence
// number per entry, all data copied as words).
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/strbuf.h"
#include "endpoint/pick.h"

enum { DECISIONS_KEPT = 256, DECISION_TEXT_MAX = 512 };

enum decision_field {
    DECISION_REQUEST_ID,
    DECISION_ROUTE, // "namespace/name"
    DECISION_RULE,
    DECISION_MODEL,          // asked for
    DECISION_UPSTREAM_MODEL, // sent
    DECISION_BACKEND,        // "namespace/name"
    DECISION_AFTER,          // why the attempt before failed; empty for the first
    DECISION_FIELD_COUNT,
};

struct decision {
    uint64_t wall_ns;
    uint64_t prompt_tokens; // estimated
    uint32_t attempt;       // from 1
    bool fallback;
    bool failed; // no endpoint could be picked
    uint16_t text_len;
    uint16_t field_at[DECISION_FIELD_COUNT]; // where in `text`
    uint16_t field_len[DECISION_FIELD_COUNT];
    char text[DECISION_TEXT_MAX];
    struct pick_trace trace;
};

struct decisions;
struct decision_ring;

struct decisions *decisions_new(unsigned workers);
void decisions_free(struct decisions *decisions);
struct decision_ring *decisions_ring(struct decisions *decisions, unsigned worker);

// Writer: an emptied decision to be filled (its trace by pick_endpoint, texts by decision_set in
// any order but each at most once; what does not fit is cut), then committed.
struct decision *decision_begin(struct decision_ring *ring);
void decision_set(struct decision *decision, enum decision_field field, struct slice text);
void decision_commit(struct decision_ring *ring);

struct slice decision_get(const struct decision *decision, enum decision_field field);

// Any thread: copies of the newest decisions of all workers, newest first; with a request id
// (ptr not NULL) only those of this request, in the order of attempts. Returns how many.
size_t decisions_read(struct decisions *decisions, struct slice request_id, struct decision *out,
                      size_t max);

// As JSON.
void decision_write_json(const struct decision *decision, struct strbuf *out);
void pick_trace_write_json(const struct pick_trace *trace, struct strbuf *out);
