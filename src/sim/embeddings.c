#include "sim/embeddings.h"

#include <endian.h>
#include <openssl/evp.h>
#include <string.h>

#include "json/write.h"
#include "sim/prompt.h"
#include "sim/words.h"

enum { EMBEDDING_DEFAULT = 64, EMBEDDING_MAX = 4096, EMBEDDING_INPUTS_MAX = 2048 };

static size_t count_inputs(struct json_object *body)
{
    struct json_object *input = NULL;
    json_object_object_get_ex(body, "input", &input);
    if (!json_object_is_type(input, json_type_array) || json_object_array_length(input) == 0) {
        return 1;
    }
    // One list of token numbers is one input.
    return json_object_is_type(json_object_array_get_idx(input, 0), json_type_int)
               ? 1
               : json_object_array_length(input);
}

// The OpenAI client asks for this form unless it is told otherwise: little-endian 32-bit floats.
static bool wants_base64(struct json_object *body)
{
    struct json_object *format = NULL;
    json_object_object_get_ex(body, "encoding_format", &format);
    return json_object_is_type(format, json_type_string) &&
           strcmp(json_object_get_string(format), "base64") == 0;
}

static void add_vector(struct strbuf *out, struct rand_state *rng, uint32_t dimensions, bool base64)
{
    // Three numbers are twelve bytes are sixteen characters: no padding before the last group.
    enum { GROUP = 3, GROUP_BYTES = GROUP * sizeof(float), GROUP_TEXT = GROUP_BYTES / 3 * 4 };
    for (uint32_t i = 0; i < dimensions; i += GROUP) {
        uint32_t n = MIN_OF(dimensions - i, (uint32_t)GROUP);
        unsigned char bytes[GROUP_BYTES];
        for (uint32_t k = 0; k < n; k++) {
            float value = (float)(2 * rand_unit(rng) - 1);
            if (!base64) {
                strbuf_printf(out, "%s%.6f", i + k > 0 ? "," : "", (double)value);
                continue;
            }
            uint32_t bits;
            memcpy(&bits, &value, sizeof(bits));
            bits = htole32(bits);
            memcpy(bytes + k * sizeof(bits), &bits, sizeof(bits));
        }
        if (base64) {
            unsigned char text[GROUP_TEXT + 1];
            int len = EVP_EncodeBlock(text, bytes, (int)(n * sizeof(float)));
            strbuf_add(out, (struct slice){.ptr = (const char *)text, .len = (size_t)len});
        }
    }
}

// Unit vectors drawn by the seed: the same text gets the same vector.
void sim_embeddings_prepare(struct sim_exchange *exchange, struct json_object *body)
{
    uint32_t dimensions = EMBEDDING_DEFAULT;
    if (sim_prompt_u32(body, "dimensions", &dimensions) != 0 || dimensions == 0) {
        dimensions = EMBEDDING_DEFAULT;
    }
    dimensions = MIN_OF(dimensions, (uint32_t)EMBEDDING_MAX);
    size_t inputs = MIN_OF(count_inputs(body), (size_t)EMBEDDING_INPUTS_MAX);
    bool base64 = wants_base64(body);
    struct strbuf out;
    strbuf_init(&out, 64u << 20);
    for (size_t n = 0; n < inputs; n++) {
        struct rand_state rng = {.state = sim_mix(exchange->first.seed, n)};
        strbuf_printf(&out, "%s{\"object\":\"embedding\",\"index\":%zu,\"embedding\":%s",
                      n > 0 ? "," : "", n, base64 ? "\"" : "[");
        add_vector(&out, &rng, dimensions, base64);
        strbuf_add_str(&out, base64 ? "\"}" : "]}");
    }
    // The text moves into the body buffer: it is not needed any more, and has the right lifetime.
    strbuf_fini(&exchange->body);
    exchange->body = out;
    exchange->embeddings = strbuf_slice(&exchange->body);
}

void sim_embeddings_write(struct sim_exchange *exchange, struct strbuf *out)
{
    strbuf_add_str(out, "{\"object\":\"list\",\"data\":[");
    strbuf_add(out, exchange->embeddings);
    strbuf_add_str(out, "],\"model\":");
    json_write_string(out, exchange->model);
    strbuf_printf(out, ",\"usage\":{\"prompt_tokens\":%u,\"total_tokens\":%u}}",
                  exchange->first.request.prompt_tokens, exchange->first.request.prompt_tokens);
}
