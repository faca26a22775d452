// Reading an answer: what of it is text, when the text came, how many tokens it says it was, and
// whether it is whole. Takes the decoded body in pieces of any size; does no I/O, so that tests can
// throw hostile answers at it.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"
#include "base/strbuf.h"
#include "http/sse.h"

// What went wrong with a request. X(name, text)
#define LOAD_FAILURE_TABLE(X)                                                                     \
    X(NONE, "")                                                                                   \
    X(CONNECT, "connect")               /* no connection; the sample says why */                  \
    X(RESET, "reset")                   /* closed or reset before the answer began */             \
    X(TIMEOUT_CONNECT, "timeout connect")                                                         \
    X(TIMEOUT_FIRST, "timeout first token")                                                       \
    X(TIMEOUT_BETWEEN, "timeout between tokens")                                                  \
    X(TIMEOUT_TOTAL, "timeout total")                                                             \
    X(STATUS, "status")                 /* not 2xx; counted by status */                          \
    X(ERROR_EVENT, "error event")       /* in a stream that began well; counted by its code */    \
    X(TRUNCATED, "truncated")           /* cut in the middle, or no [DONE] */                     \
    X(BAD_JSON, "invalid JSON")                                                                   \
    X(BAD_HTTP, "invalid HTTP")                                                                   \
    X(TOO_LARGE, "too large")                                                                     \
    X(EMPTY, "no text")                 /* ended well, but without any output */                  \
    X(UNFINISHED, "unfinished")         /* still running when the run ended */                    \
    X(LOCAL, "local")                   /* this program ran out of something */

enum load_failure {
#define X(name, text) LOAD_FAILURE_##name,
    LOAD_FAILURE_TABLE(X)
#undef X
    LOAD_FAILURE_COUNT,
};
const char *load_failure_text(enum load_failure failure);

struct load_usage {
    bool seen;
    uint64_t prompt_tokens;
    uint64_t cached_tokens;
    uint64_t completion_tokens;
};

// Called for each event with text in it (and once for a whole answer that is not a stream).
typedef void load_text_cb(void *arg);

enum { LOAD_SAMPLE_MAX = 200, LOAD_EVENT_MAX = 1 << 20, LOAD_BODY_MAX = 32 << 20 };

struct load_reply {
    bool is_stream;
    unsigned status;
    bool done; // [DONE] was seen
    bool has_text;
    enum load_failure failure;
    unsigned code;                // of an error event; 0 = it told none
    char sample[LOAD_SAMPLE_MAX]; // how it failed, for people; "" = nothing to tell
    struct load_usage usage;
    uint64_t text_events;
    struct strbuf held; // an incomplete event, or the whole body
    struct sse_scan scan;
    load_text_cb *on_text;
    void *arg;
};

// is_stream: the content type is text/event-stream and the status 2xx.
void load_reply_init(struct load_reply *reply, unsigned status, bool is_stream,
                     load_text_cb *on_text, void *arg);
void load_reply_fini(struct load_reply *reply);

// The next piece of the body. After a failure the rest is ignored.
void load_reply_feed(struct load_reply *reply, struct slice data);

// The body is complete. Sets the last failures (truncated, status, invalid JSON, no text). Without
// text_wanted (embeddings) an answer needs none.
void load_reply_end(struct load_reply *reply, bool text_wanted);

// Sets the failure, unless there is one already, with printable text for people.
void load_reply_fail(struct load_reply *reply, enum load_failure failure, struct slice sample);
