// What a snapshot would do with one request, as JSON: that of a running instance (the page
// /explain) or of manifests (headrace explain FILE...).
#pragma once

#include "base/rand.h"
#include "base/strbuf.h"
#include "snapshot/snapshot.h"

enum {
    EXPLAIN_TEXT_MAX = 1024,     // of each text of a question
    EXPLAIN_HEADERS_MAX = 32,
    EXPLAIN_PROMPT_BYTES = 4096, // where a question does not say
};

struct explain_question {
    struct slice host; // in any case, perhaps with a port
    struct slice path;
    struct slice method;
    struct slice model; // ptr NULL: the request names none
    struct http_header headers[EXPLAIN_HEADERS_MAX];
    size_t header_count;
    uint64_t prompt_bytes;
    bool from_files; // there is no instance that knows endpoints which the snapshot does not
};

// A question about POST /v1/chat/completions.
void explain_question_init(struct explain_question *question);

// Adds "Name: value", which must live as long as the question. NULL, or what is wrong with it.
const char *explain_add_header(struct explain_question *question, struct slice line);

// NULL, or what is wrong.
const char *explain_question_check(const struct explain_question *question);

// Appends an object: the question, the rule that takes it (or why none does), its backends and
// fallbacks with the endpoints that would be picked now. Reserves nothing. Call inside an epoch
// section.
void explain_write(const struct snapshot *snapshot, const struct explain_question *question,
                   struct rand_state *rng, struct strbuf *out);
