#include "observe/access_line.h"

#include <errno.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

// What one text may take in a line, escapes included. The sum of all fits ACCESS_LINE_MAX.
enum { TEXT_MAX = 336, ID_MAX = 160, WORD_MAX = 32, HEDGED_MAX = 8 };

// Where a line is being written.
struct writer {
    char *out;
    bool json;
};

int access_format_parse(const char *text, enum access_format *ret_format)
{
    bool json = strcmp(text, "json") == 0;
    if (!json && strcmp(text, "text") != 0) {
        return -EINVAL;
    }
    *ret_format = json ? ACCESS_JSON : ACCESS_TEXT;
    return 0;
}

void access_line_init(struct access_line *line, enum access_format format)
{
    *line = (struct access_line){.format = format, .second = UINT64_MAX};
}

static char *put(char *out, const char *text, size_t len)
{
    memcpy(out, text, len);
    return out + len;
}

static char *put_u64(char *out, uint64_t value)
{
    return out + slice_print_u64(value, out);
}

// Nanoseconds as milliseconds with three decimals.
static char *put_ms(char *out, uint64_t ns)
{
    uint64_t us = ns / 1000;
    out = put_u64(out, us / 1000);
    unsigned rest = (unsigned)(us % 1000);
    char decimals[4] = {'.', (char)('0' + rest / 100), (char)('0' + rest / 10 % 10),
                        (char)('0' + rest % 10)};
    return put(out, decimals, sizeof(decimals));
}

static bool is_plain(char c)
{
    return (unsigned char)c >= 0x20 && (unsigned char)c < 0x7f && c != '"' && c != '\\';
}

// How many bytes of the text from `at` on were copied because they are plain, 16 at a time.
static size_t put_plain(char *out, struct slice text, size_t at, size_t room)
{
    size_t done = 0;
#ifdef __SSE2__
    while (text.len - at - done >= 16 && room - done >= 16) {
        const __m128i block =
            _mm_loadu_si128((const __m128i *)(const void *)(text.ptr + at + done));
        // As signed bytes, non-ASCII ones are negative: below the space.
        __m128i bad = _mm_cmplt_epi8(block, _mm_set1_epi8(0x20));
        bad = _mm_or_si128(bad, _mm_cmpeq_epi8(block, _mm_set1_epi8(0x7f)));
        bad = _mm_or_si128(bad, _mm_cmpeq_epi8(block, _mm_set1_epi8('"')));
        bad = _mm_or_si128(bad, _mm_cmpeq_epi8(block, _mm_set1_epi8('\\')));
        if (_mm_movemask_epi8(bad) != 0) {
            break;
        }
        _mm_storeu_si128((__m128i *)(void *)(out + done), block);
        done += 16;
    }
#else
    (void)out, (void)text, (void)at, (void)room;
#endif
    return done;
}

// The inside of a JSON string, at most max bytes of it. Bytes that are not plain ASCII are escaped
// one by one, as their code points: the line is valid JSON whatever a client sent.
static char *put_text(char *out, struct slice text, size_t max)
{
    static const char hex[] = "0123456789abcdef";
    const char *limit = out + max;
    size_t i = put_plain(out, text, 0, max);
    out += i;
    for (; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (LIKELY(is_plain((char)c))) {
            if (out == limit) {
                return out;
            }
            *out++ = (char)c;
            continue;
        }
        char form[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
        size_t len = sizeof(form);
        if (c == '"' || c == '\\') {
            form[1] = (char)c;
            len = 2;
        }
        if ((size_t)(limit - out) < len) {
            return out;
        }
        out = put(out, form, len);
    }
    return out;
}

// In text lines quotes stand where a reader could not tell otherwise where a value ends.
static bool needs_quotes(struct slice text, size_t max)
{
    for (size_t i = 0; i < text.len && i < max; i++) {
        char c = text.ptr[i];
        if (!is_plain(c) || c == ' ' || c == '=') {
            return true;
        }
    }
    return false;
}

static void put_key(struct writer *w, const char *json_key, size_t len)
{
    if (w->json) {
        w->out = put(w->out, json_key, len);
    } else { // ,"key": as key=
        *w->out++ = ' ';
        w->out = put(w->out, json_key + 2, len - 4);
        *w->out++ = '=';
    }
}

static void put_field(struct writer *w, const char *json_key, size_t key_len, struct slice text,
                      size_t max)
{
    if (text.len == 0) {
        return;
    }
    put_key(w, json_key, key_len);
    bool quotes = w->json || needs_quotes(text, max);
    if (quotes) {
        *w->out++ = '"';
    }
    w->out = put_text(w->out, text, max);
    if (quotes) {
        *w->out++ = '"';
    }
}

#define JSON_KEY(key) ",\"" key "\":"
#define PUT_KEY(w, key) put_key((w), JSON_KEY(key), sizeof(JSON_KEY(key)) - 1)
#define PUT_FIELD(w, key, text, max) \
    put_field((w), JSON_KEY(key), sizeof(JSON_KEY(key)) - 1, (text), (max))
#define PUT_NUMBER(w, key, value) (PUT_KEY((w), key), (w)->out = put_u64((w)->out, (value)))
#define PUT_TIME(w, key, ns) (PUT_KEY((w), key), (w)->out = put_ms((w)->out, (ns)))
#define PUT_TRUE(w, key) (PUT_KEY((w), key), (w)->out = put((w)->out, "true", 4))

// The date changes once a second; the milliseconds are ours.
static void put_time(struct writer *w, struct access_line *line, uint64_t wall_ns)
{
    static const char key[] = "{\"time\":\"";
    uint64_t second = wall_ns / 1000000000u;
    if (line->second != second) {
        clock_format_rfc3339(second * 1000000000u, line->when, sizeof(line->when));
        line->second = second;
    }
    unsigned ms = (unsigned)(wall_ns / 1000000u % 1000u);
    line->when[20] = (char)('0' + ms / 100);
    line->when[21] = (char)('0' + ms / 10 % 10);
    line->when[22] = (char)('0' + ms % 10);
    if (w->json) {
        w->out = put(w->out, key, sizeof(key) - 1);
    }
    w->out = put(w->out, line->when, 24); // "2026-01-02T03:04:05.678Z"
    if (w->json) {
        *w->out++ = '"';
    }
}

static void put_numbers(struct writer *w, const struct access_record *r)
{
    if (r->attempts != 0) {
        PUT_NUMBER(w, "attempts", r->attempts);
    }
    if (r->fallback) {
        PUT_TRUE(w, "fallback");
    }
    PUT_FIELD(w, "hedged", r->hedged, HEDGED_MAX);
    if (r->stream) {
        PUT_TRUE(w, "stream");
    }
    if (r->ttft_ns != 0) {
        PUT_TIME(w, "ttft_ms", r->ttft_ns);
    }
    PUT_TIME(w, "duration_ms", r->duration_ns);
    PUT_NUMBER(w, "bytes_in", r->bytes_in);
    PUT_NUMBER(w, "bytes_out", r->bytes_out);
    if (r->has_usage) {
        PUT_NUMBER(w, "prompt_tokens", r->prompt_tokens);
        PUT_NUMBER(w, "completion_tokens", r->completion_tokens);
        PUT_NUMBER(w, "cached_tokens", r->cached_tokens);
    }
}

static void put_tls(struct writer *w, const struct access_tls *tls)
{
    PUT_FIELD(w, "tls", tls->version, WORD_MAX);
    PUT_FIELD(w, "tls_cipher", tls->cipher, WORD_MAX);
    PUT_FIELD(w, "tls_alpn", tls->alpn, WORD_MAX);
    PUT_FIELD(w, "tls_server_name", tls->server_name, TEXT_MAX);
    PUT_FIELD(w, "tls_client_subject", tls->subject, TEXT_MAX);
    PUT_FIELD(w, "tls_client_san", tls->san, TEXT_MAX);
}

// Nine texts of TEXT_MAX, eight of ID_MAX, six of WORD_MAX, one of HEDGED_MAX; then quotes and keys
// (about 500 bytes), and numbers (9 of 24 bytes).
_Static_assert(9 * TEXT_MAX + 8 * ID_MAX + 6 * WORD_MAX + HEDGED_MAX + 520 + 9 * 24 + 32 <=
                   ACCESS_LINE_MAX,
               "a line fits");

size_t access_line_write(struct access_line *line, const struct access_record *r, char *out)
{
    struct writer writer = {.out = out, .json = line->format == ACCESS_JSON};
    struct writer *w = &writer;
    put_time(w, line, r->wall_ns);
    PUT_FIELD(w, "request_id", r->request_id, ID_MAX);
    PUT_FIELD(w, "client", r->client, ID_MAX);
    PUT_FIELD(w, "consumer", r->consumer, ID_MAX);
    PUT_FIELD(w, "protocol", r->protocol, WORD_MAX);
    if (r->tls != NULL) {
        put_tls(w, r->tls);
    }
    PUT_FIELD(w, "method", r->method, ID_MAX);
    PUT_FIELD(w, "path", r->path, TEXT_MAX);
    PUT_FIELD(w, "host", r->host, TEXT_MAX);
    PUT_NUMBER(w, "status", r->status);
    PUT_FIELD(w, "outcome", slice_of_str(r->outcome), ID_MAX);
    PUT_FIELD(w, "finish", r->finish, WORD_MAX);
    PUT_FIELD(w, "reject", r->reject, WORD_MAX);
    PUT_FIELD(w, "model", r->model, TEXT_MAX);
    PUT_FIELD(w, "upstream_model", r->upstream_model, TEXT_MAX);
    PUT_FIELD(w, "route", r->route, TEXT_MAX);
    PUT_FIELD(w, "rule", r->rule, ID_MAX);
    PUT_FIELD(w, "backend", r->backend, TEXT_MAX);
    PUT_FIELD(w, "endpoint", r->endpoint, ID_MAX);
    put_numbers(w, r);
    PUT_FIELD(w, "user_agent", r->user_agent, ID_MAX);
    if (w->json) {
        *w->out++ = '}';
    }
    *w->out++ = '\n';
    return (size_t)(w->out - out);
}
