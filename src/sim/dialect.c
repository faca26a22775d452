#include "sim/dialect.h"

#include "http/message.h"
#include "json/write.h"
#include "sim/dialects.h"

static const struct sim_dialect *const dialects[] = {
    &sim_dialect_vllm,    &sim_dialect_vllm_old,      &sim_dialect_sglang,
    &sim_dialect_tgi,     &sim_dialect_tensorrt_llm,  &sim_dialect_triton_trtllm,
    &sim_dialect_triton,  &sim_dialect_llamacpp,      &sim_dialect_lmdeploy,
    &sim_dialect_nim,     &sim_dialect_ollama,
};

const struct sim_dialect *sim_dialect_at(size_t index)
{
    return index < ARRAY_LEN(dialects) ? dialects[index] : NULL;
}

const struct sim_dialect *sim_dialect_find(struct slice name)
{
    for (size_t i = 0; i < ARRAY_LEN(dialects); i++) {
        if (slice_ieq(name, slice_of_str(dialects[i]->name))) {
            return dialects[i];
        }
    }
    return NULL;
}

static void add_u64(struct strbuf *out, uint64_t value)
{
    char digits[SLICE_U64_MAX];
    strbuf_add(out, slice_of(digits, slice_print_u64(value, digits)));
}

static void add_quoted(struct strbuf *out, struct slice plain)
{
    strbuf_add_char(out, '"');
    strbuf_add(out, plain);
    strbuf_add_char(out, '"');
}

// The inside of a JSON string.
static void add_escaped(struct strbuf *out, struct slice text)
{
    size_t start = out->len;
    json_write_string(out, text);
    if (!out->failed && out->len >= start + 2) {
        memmove(out->ptr + start, out->ptr + start + 1, out->len - start - 2);
        out->len -= 2;
    }
}

static double per(double part, double whole)
{
    return whole > 0 ? part / whole : 0;
}

// The "timings" of llama.cpp's server.
static void add_timings(struct strbuf *out, const struct sim_fill *fill)
{
    double prompt = fill->prompt_tokens - fill->cached_tokens;
    double output = fill->output_tokens;
    strbuf_printf(out,
                  "{\"cache_n\":%u,\"prompt_n\":%.0f,\"prompt_ms\":%.3f,"
                  "\"prompt_per_token_ms\":%.6g,\"prompt_per_second\":%.6g,\"predicted_n\":%.0f,"
                  "\"predicted_ms\":%.3f,\"predicted_per_token_ms\":%.6g,"
                  "\"predicted_per_second\":%.6g}",
                  fill->cached_tokens, prompt, fill->prompt_ms, per(fill->prompt_ms, prompt),
                  per(prompt * 1000, fill->prompt_ms), output, fill->output_ms,
                  per(fill->output_ms, output), per(output * 1000, fill->output_ms));
}

static uint64_t created_cache_tokens(const struct sim_fill *fill)
{
    uint32_t size = fill->block_size != 0 ? fill->block_size : 1;
    uint32_t full = fill->prompt_tokens / size * size;
    return full > fill->cached_tokens ? full - fill->cached_tokens : 0;
}

static bool is_cut(const struct sim_fill *fill)
{
    return fill->finish != NULL && strcmp(fill->finish, "length") == 0;
}

// Those of the responses and the messages API; false: not one of them.
static bool add_event_directive(struct strbuf *out, char directive, const struct sim_fill *fill)
{
    switch (directive) {
    case 'j': strbuf_add(out, fill->item_id); return true;
    case 'q': add_u64(out, fill->sequence); return true;
    case 'M': add_u64(out, fill->max_tokens); return true;
    case 'N': add_u64(out, fill->prompt_tokens - fill->cached_tokens); return true;
    case 'w': strbuf_add_str(out, is_cut(fill) ? "incomplete" : "completed"); return true;
    case 'D':
        strbuf_add_str(out, is_cut(fill) ? "{\"reason\":\"max_output_tokens\"}" : "null");
        return true;
    case 'S': strbuf_add_str(out, is_cut(fill) ? "max_tokens" : "end_turn"); return true;
    default: return false;
    }
}

static void add_directive(struct strbuf *out, char directive, const struct sim_fill *fill);

// Directives inside %u are expanded too; %u inside it is not.
static void add_every_usage(struct strbuf *out, const struct sim_fill *fill)
{
    if (!fill->every_usage || fill->dialect == NULL || fill->dialect->every_usage == NULL) {
        return;
    }
    for (const char *at = fill->dialect->every_usage; *at != '\0'; at++) {
        if (at[0] == '%' && at[1] != 'u' && at[1] != '\0') {
            add_directive(out, *++at, fill);
        } else {
            strbuf_add_char(out, *at);
        }
    }
}

static void add_directive(struct strbuf *out, char directive, const struct sim_fill *fill)
{
    switch (directive) {
    case 'i': strbuf_add(out, fill->id); break;
    case 'd': add_u64(out, fill->index); break;
    case 'C': strbuf_add(out, fill->choices); break;
    case 'c': add_u64(out, fill->created); break;
    case 'm': json_write_string(out, fill->model); break;
    case 'e': add_escaped(out, fill->model); break;
    case 't': add_quoted(out, fill->text); break;
    case 'f':
        if (fill->finish != NULL) {
            add_quoted(out, slice_of_str(fill->finish));
        } else {
            strbuf_add_str(out, "null");
        }
        break;
    case 'p': add_u64(out, fill->prompt_tokens); break;
    case 'o': add_u64(out, fill->output_tokens); break;
    case 'T': add_u64(out, (uint64_t)fill->prompt_tokens + fill->output_tokens); break;
    case 'k': add_u64(out, fill->cached_tokens); break;
    case 'K':
        if (fill->cached_tokens > 0) {
            strbuf_printf(out, "\"prompt_tokens_details\":{\"cached_tokens\":%u},",
                          fill->cached_tokens);
        }
        break;
    case 'n': add_u64(out, created_cache_tokens(fill)); break;
    case 'u': add_every_usage(out, fill); break;
    case 'x': add_timings(out, fill); break;
    case 's': add_u64(out, fill->status); break;
    case 'r': strbuf_add(out, http_reason_phrase(fill->status)); break;
    case 'P': strbuf_add_str(out, fill->field != NULL ? fill->field : ""); break;
    case 'v': add_u64(out, fill->value); break;
    case 'L': add_u64(out, fill->limit); break;
    case 'a': add_escaped(out, fill->all_models); break;
    default:
        if (!add_event_directive(out, directive, fill)) {
            strbuf_add_char(out, directive);
        }
        break;
    }
}

void sim_fill_text(struct strbuf *out, const char *text, const struct sim_fill *fill)
{
    const char *plain = text;
    const char *at = text;
    while ((at = strchrnul(at, '%'))[0] != '\0' && at[1] != '\0') {
        strbuf_add(out, slice_of(plain, (size_t)(at - plain)));
        add_directive(out, at[1], fill);
        at += 2;
        plain = at;
    }
    strbuf_add_str(out, plain);
}
