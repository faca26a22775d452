#include "sim/prompt.h"

#include <errno.h>
#include <stdlib.h>

#include "base/hash.h"
#include "sim/words.h"

enum { JSON_DEPTH = 256, BYTES_A_TOKEN = 4 };

int sim_prompt_parse(struct slice body, struct json_object **ret_object, size_t *ret_offset)
{
    *ret_offset = 0;
    struct json_tokener *tokener =
        body.len <= INT32_MAX ? json_tokener_new_ex(JSON_DEPTH) : NULL;
    if (tokener == NULL) {
        return -EINVAL;
    }
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_ALLOW_TRAILING_CHARS |
                                        JSON_TOKENER_VALIDATE_UTF8);
    struct json_object *object = json_tokener_parse_ex(tokener, body.ptr, (int)body.len);
    bool complete = json_tokener_get_error(tokener) == json_tokener_success;
    size_t end = MIN_OF(json_tokener_get_parse_end(tokener), body.len);
    json_tokener_free(tokener);
    if (!complete || slice_trim(slice_skip(body, end)).len > 0) {
        json_object_put(object);
        *ret_offset = end;
        return -EINVAL;
    }
    *ret_object = object;
    return 0;
}

static void add_string(struct strbuf *text, struct json_object *value)
{
    strbuf_add(text, slice_of(json_object_get_string(value),
                              (size_t)json_object_get_string_len(value)));
}

// A string, or an array of parts of which those with a text count.
static int add_content(struct strbuf *text, struct json_object *content)
{
    if (content == NULL) {
        return 0;
    }
    if (json_object_is_type(content, json_type_string)) {
        add_string(text, content);
        return 0;
    }
    if (!json_object_is_type(content, json_type_array)) {
        return -EINVAL;
    }
    for (size_t i = 0; i < json_object_array_length(content); i++) {
        struct json_object *part = json_object_array_get_idx(content, i);
        struct json_object *value;
        if (json_object_is_type(part, json_type_object) &&
            json_object_object_get_ex(part, "text", &value) &&
            json_object_is_type(value, json_type_string)) {
            add_string(text, value);
        }
    }
    return 0;
}

static int add_messages(struct strbuf *text, struct json_object *messages)
{
    if (!json_object_is_type(messages, json_type_array)) {
        return -EINVAL;
    }
    for (size_t i = 0; i < json_object_array_length(messages); i++) {
        struct json_object *message = json_object_array_get_idx(messages, i);
        struct json_object *value = NULL;
        if (!json_object_is_type(message, json_type_object)) {
            return -EINVAL;
        }
        strbuf_add_str(text, "<|");
        if (json_object_object_get_ex(message, "role", &value) &&
            json_object_is_type(value, json_type_string)) {
            add_string(text, value);
        }
        strbuf_add_str(text, "|>\n");
        value = NULL;
        json_object_object_get_ex(message, "content", &value);
        if (add_content(text, value) != 0) {
            return -EINVAL;
        }
        strbuf_add_str(text, "\n");
    }
    strbuf_add_str(text, "<|assistant|>\n");
    return 0;
}

// A string, strings, token numbers, or lists of these.
static int add_prompt(struct strbuf *text, struct json_object *prompt, uint32_t *ret_tokens)
{
    if (json_object_is_type(prompt, json_type_string)) {
        add_string(text, prompt);
        return 0;
    }
    if (!json_object_is_type(prompt, json_type_array)) {
        return -EINVAL;
    }
    uint32_t tokens = 0;
    for (size_t i = 0; i < json_object_array_length(prompt); i++) {
        struct json_object *item = json_object_array_get_idx(prompt, i);
        if (json_object_is_type(item, json_type_string)) {
            add_string(text, item);
        } else if (json_object_is_type(item, json_type_int)) {
            int32_t token = json_object_get_int(item);
            strbuf_add(text, slice_of((const char *)&token, sizeof(token)));
            tokens++;
        } else if (!json_object_is_type(item, json_type_array)) {
            return -EINVAL;
        }
    }
    *ret_tokens = tokens;
    return 0;
}

int sim_prompt_text(struct json_object *body, enum sim_api api, struct strbuf *text,
                    uint32_t *ret_tokens, const char **ret_field)
{
    static const char *const fields[] = {
        [SIM_API_CHAT] = "messages",
        [SIM_API_TEXT] = "prompt",
        [SIM_API_EMBEDDINGS] = "input",
        [SIM_API_RESPONSES] = "input",
        [SIM_API_MESSAGES] = "messages",
    };
    struct json_object *system = NULL;
    struct json_object *value = NULL;
    *ret_field = fields[api];
    *ret_tokens = 0;
    if (!json_object_object_get_ex(body, fields[api], &value) || value == NULL) {
        return -ENOENT;
    }
    bool is_text = json_object_is_type(value, json_type_string);
    if (api == SIM_API_MESSAGES && json_object_object_get_ex(body, "system", &system) &&
        add_content(text, system) != 0) {
        *ret_field = "system";
        return -EINVAL;
    }
    if (api == SIM_API_CHAT || api == SIM_API_MESSAGES || (api == SIM_API_RESPONSES && !is_text)) {
        return add_messages(text, value);
    }
    return add_prompt(text, value, ret_tokens);
}

int sim_prompt_u32(struct json_object *body, const char *key, uint32_t *ret_value)
{
    struct json_object *value = NULL;
    if (!json_object_object_get_ex(body, key, &value) || value == NULL) {
        return 0;
    }
    if (!json_object_is_type(value, json_type_int)) {
        return -EINVAL;
    }
    int64_t number = json_object_get_int64(value);
    if (number < 0) {
        return -EINVAL;
    }
    *ret_value = (uint32_t)MIN_OF(number, (int64_t)UINT32_MAX);
    return 0;
}

bool sim_prompt_bool(struct json_object *body, const char *key)
{
    struct json_object *value = NULL;
    return json_object_object_get_ex(body, key, &value) &&
           json_object_is_type(value, json_type_boolean) && json_object_get_boolean(value);
}

uint32_t sim_prompt_tokens(struct slice text)
{
    size_t tokens = (text.len + BYTES_A_TOKEN - 1) / BYTES_A_TOKEN;
    return tokens == 0 ? 1 : (uint32_t)MIN_OF(tokens, (size_t)UINT32_MAX / 4);
}

int sim_prompt_hashes(struct slice text, uint32_t tokens, uint32_t block_size, uint64_t context,
                      uint64_t **ret_hashes, uint32_t *ret_count)
{
    uint32_t count = tokens / block_size;
    *ret_hashes = NULL;
    *ret_count = 0;
    if (count == 0) {
        return 0;
    }
    uint64_t *hashes = malloc((size_t)count * sizeof(hashes[0]));
    if (hashes == NULL) {
        return -ENOMEM;
    }
    uint64_t chain = context;
    for (uint32_t i = 0; i < count; i++) {
        struct slice block = slice_first(slice_skip(text, (size_t)i * block_size * BYTES_A_TOKEN),
                                         (size_t)block_size * BYTES_A_TOKEN);
        chain = sim_mix(chain, hash_bytes(block)) | 1; // never 0
        hashes[i] = chain;
    }
    *ret_hashes = hashes;
    *ret_count = count;
    return 0;
}
