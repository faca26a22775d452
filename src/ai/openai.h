// The OpenAI wire format, as far as a gateway that passes it through must know it: error bodies,
// the model list, which path is which operation, and errors inside a stream.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macros.h"
#include "base/slice.h"
#include "base/strbuf.h"

enum openai_operation {
    OPENAI_OTHER = 0,
    OPENAI_CHAT_COMPLETIONS,
    OPENAI_COMPLETIONS,
    OPENAI_EMBEDDINGS,
    OPENAI_RESPONSES,
    OPENAI_MODELS,
};

// By the path's end, so that a prefix before /v1 does not matter.
enum openai_operation openai_operation_of(struct slice path);

// {"error":{"message":…,"type":…,"param":…,"code":…}}; an empty param or code is null. The status
// stands in for an empty type (400 invalid_request_error, 429 rate_limit_error …).
void openai_error_write(struct strbuf *out, unsigned status, struct slice type, struct slice code,
                        struct slice param, struct slice message);

// One model object of a model list ({"object":"list","data":[…]}).
void openai_model_write(struct strbuf *out, struct slice model);

// Names close to the one asked for: offer all that there are, then write what came of it.
enum { OPENAI_CLOSE_NAMES_MAX = 3, OPENAI_CLOSE_NAMES_LENGTH = 96 };
struct openai_close_names {
    struct slice asked;
    size_t count;
    unsigned scores[OPENAI_CLOSE_NAMES_MAX]; // smaller is closer; ascending
    struct slice names[OPENAI_CLOSE_NAMES_MAX];
};
void openai_close_names_init(struct openai_close_names *close, struct slice asked);
// `name` must live until the write. Longer names than OPENAI_CLOSE_NAMES_LENGTH are never close.
void openai_close_names_offer(struct openai_close_names *close, struct slice name);
// Appends "; did you mean "a" or "b"?", or nothing when nothing is close.
void openai_close_names_write(const struct openai_close_names *close, struct strbuf *out);

// The data of a stream's event: 0 when it is not an error, else the HTTP status that it stands for
// (what the error names, when that is 400..599; else by its type; else 500). Engines send
// {"error":{"code":503,…}}, {"object":"error","code":400,…},
// {"error":"…","error_type":"overloaded"}.
int openai_event_error_status(struct slice data);
