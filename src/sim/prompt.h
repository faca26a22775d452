// The body of an OpenAI request as far as the simulator cares.
#pragma once

#include <json-c/json.h>

#include "sim/exchange.h"

// Parses the body. 0 (*ret_object may be NULL: a JSON null), or -EINVAL and *ret_offset says where.
MUST_CHECK int sim_prompt_parse(struct slice body, struct json_object **ret_object,
                                size_t *ret_offset);

// The text that stands for the prompt: role and content of each message, or the prompt, or the
// input, into `text`. 0, or -ENOENT when the field is missing (*ret_field names it), -EINVAL when it
// has a type that makes no sense. *ret_tokens is set when the prompt came as token numbers.
MUST_CHECK int sim_prompt_text(struct json_object *body, enum sim_api api, struct strbuf *text,
                               uint32_t *ret_tokens, const char **ret_field);

// An unsigned member; *ret_value untouched when absent or null. -EINVAL for anything else.
MUST_CHECK int sim_prompt_u32(struct json_object *body, const char *key, uint32_t *ret_value);

// A boolean member, false when absent.
bool sim_prompt_bool(struct json_object *body, const char *key);

// Hashes of the full blocks of a prompt, each covering all before it. `tokens` is how many tokens
// the text makes up; `context` goes into the first (an adapter has a cache of its own).
// The array is the caller's to free; NULL with *ret_count 0 when there is no full block.
MUST_CHECK int sim_prompt_hashes(struct slice text, uint32_t tokens, uint32_t block_size,
                                 uint64_t context, uint64_t **ret_hashes, uint32_t *ret_count);

// About four bytes are a token.
uint32_t sim_prompt_tokens(struct slice text);
