#include "options.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/options.h"
#include "json/scan.h"
#include "json/write.h"

enum { DAY_MS = 86400000, TEXT_MAX = 65536, GROUPS_MAX = 1000000 };
static const char ENV_PREFIX[] = "HEADRACE_BENCH";

static int add_url(const char *value, void *target, struct error *err)
{
    struct raw_options *raw = target;
    if (raw->url_count == LOAD_TARGETS_MAX) {
        return error_set(err, -EINVAL, "at most %d URLs", LOAD_TARGETS_MAX);
    }
    int n = snprintf(raw->urls[raw->url_count], OPTIONS_URL_MAX, "%s", value);
    if (n < 0 || n >= OPTIONS_URL_MAX) {
        return error_set(err, -EINVAL, "the URL is too long");
    }
    raw->url_count++;
    return 0;
}

// "10" is seconds; "500ms" and "2m" are fine too.
static int set_seconds(const char *value, void *target, struct error *err)
{
    struct slice text = slice_of_str(value);
    double number;
    if (slice_to_double(text, &number) == 0 && number >= 0 && number <= 1e7) {
        *(uint64_t *)target = (uint64_t)(number * 1000);
        return 0;
    }
    if (options_duration_ms(text, target) != 0) {
        return error_set(err, -EINVAL, "\"%s\" is no time: seconds, or 500ms, 2m, 1h", value);
    }
    return 0;
}

static bool is_header_byte(char c)
{
    return (unsigned char)c >= ' ' && c != 0x7f;
}

static int add_header(const char *value, void *target, struct error *err)
{
    struct strbuf *headers = target;
    struct slice line = slice_of_str(value);
    ptrdiff_t colon = slice_find_byte(line, ':');
    for (size_t i = 0; i < line.len; i++) {
        bool in_name = colon > 0 && i < (size_t)colon;
        if (!is_header_byte(line.ptr[i]) || (in_name && line.ptr[i] == ' ')) {
            colon = -1;
            break;
        }
    }
    if (colon <= 0) {
        return error_set(err, -EINVAL, "a header is written \"Name: value\"");
    }
    strbuf_add(headers, line);
    strbuf_add_str(headers, "\r\n");
    return headers->failed ? error_set(err, -E2BIG, "too many headers") : 0;
}

// KEY=JSON, or KEY=text where that is no JSON.
static int add_field(const char *value, void *target, struct error *err)
{
    struct strbuf *body = target;
    struct slice text = slice_of_str(value), key;
    if (!slice_split(&text, '=', &key) || text.ptr == NULL || key.len == 0) {
        return error_set(err, -EINVAL, "a field of the body is written KEY=VALUE");
    }
    struct json_scan scan;
    json_scan_init(&scan, NULL, 0);
    bool is_json = json_scan_feed(&scan, SLICE("{\"v\":")) == JSON_OK &&
                   json_scan_feed(&scan, text) == JSON_OK && !scan.done &&
                   json_scan_feed(&scan, SLICE("}")) == JSON_OK &&
                   json_scan_finish(&scan) == JSON_OK && text.len > 0;
    strbuf_add_char(body, ',');
    json_write_string(body, key);
    strbuf_add_char(body, ':');
    if (is_json) {
        strbuf_add(body, text);
    } else {
        json_write_string(body, text);
    }
    return body->failed ? error_set(err, -E2BIG, "too many fields") : 0;
}

// "--rate", or the variable that it came from.
#define WHERE(name, text) \
    options_where(ENV_PREFIX, (name), (text), (char[OPTIONS_WHERE_MAX]){""})

static int to_number(const char *name, const char *text, double min, double max, double *ret_value,
                     struct error *err)
{
    double value;
    if (slice_to_double(slice_of_str(text), &value) != 0 || !(value >= min && value <= max)) {
        return error_set(err, -EINVAL, "%s: \"%s\" is no number from %g to %g", WHERE(name, text),
                         text, min, max);
    }
    *ret_value = value;
    return 0;
}

static int to_dist(const char *name, const char *text, struct load_dist *ret_dist,
                   struct error *err)
{
    int rc = load_dist_parse(slice_of_str(text), ret_dist, err);
    return rc != 0 ? error_prefix(err, rc, "%s", WHERE(name, text)) : 0;
}

// One of two words.
static int to_choice(const char *name, const char *text, const char *first, const char *second,
                     bool *ret_second, struct error *err)
{
    *ret_second = strcmp(text, second) == 0;
    if (!*ret_second && strcmp(text, first) != 0) {
        return error_set(err, -EINVAL, "%s: %s or %s, not \"%s\"", WHERE(name, text), first, second,
                         text);
    }
    return 0;
}

static int resolve_numbers(struct options *options, struct error *err)
{
    struct load_config *config = &options->config;
    const struct raw_options *raw = &options->raw;
    bool is_json = false, is_fixed = false;
    int rc = to_number("rate", raw->rate, 0, 1e6, &config->rate, err);
    rc = rc ? rc : to_number("time-scale", raw->time_scale, 1e-6, 1e6, &config->time_scale, err);
    rc = rc ? rc : to_number("prefix-skew", raw->prefix_skew, 0, 10, &config->prefix_skew, err);
    rc = rc ? rc : to_dist("prompt-tokens", raw->prompt_tokens, &config->prompt_tokens, err);
    rc = rc ? rc : to_dist("prefix-tokens", raw->prefix_tokens, &config->prefix_tokens, err);
    rc = rc ? rc : to_dist("output-tokens", raw->output_tokens, &config->output_tokens, err);
    rc = rc ? rc : to_choice("output", raw->output, "table", "json", &is_json, err);
    rc = rc ? rc : to_choice("arrivals", raw->arrivals, "poisson", "fixed", &is_fixed, err);
    if (rc != 0) {
        return rc;
    }
    options->output = is_json ? OUTPUT_JSON : OUTPUT_TABLE;
    config->arrivals = is_fixed ? LOAD_FIXED : LOAD_POISSON;
    config->duration_ns = raw->duration_ms * 1000000u;
    config->warmup_ns = raw->warmup_ms * 1000000u;
    config->drain_ns = raw->drain_ms * 1000000u;
    config->prompt_max = (uint32_t)raw->prompt_max;
    config->output_max = (uint32_t)raw->output_max;
    config->share_header = slice_of_str(raw->share_header);
    config->model = slice_of_str(raw->model);
    config->headers = strbuf_slice(&options->headers);
    config->body_extra = strbuf_slice(&options->body_extra);
    config->stream = !raw->no_stream && config->api != LOAD_API_EMBEDDINGS;
    return 0;
}

// What must fit together.
static int check(const struct raw_options *raw, struct load_config *config, struct error *err)
{
    if (raw->trace == NULL && config->rate <= 0 && config->concurrency == 0) {
        return error_set(err, -EINVAL,
                         "say how much load: --rate R (open loop), --concurrency N (closed loop) "
                         "or --trace FILE");
    }
    if (raw->trace == NULL && config->duration_ns == 0 && config->requests == 0) {
        config->duration_ns = UINT64_C(10000000000);
    }
    if (config->duration_ns > 0 && config->warmup_ns >= config->duration_ns) {
        return error_set(err, -EINVAL, "--warmup must be shorter than --duration");
    }
    if (config->prefix_groups > 0 && raw->trace != NULL) {
        return error_set(err, -EINVAL, "--prefix-groups and --trace exclude each other: a trace "
                                       "says itself what its prompts share");
    }
    return 0;
}

static int resolve(struct options *options, struct error *err)
{
    struct load_config *config = &options->config;
    const struct raw_options *raw = &options->raw;
    if (raw->url_count == 0 || raw->model == NULL) {
        return error_set(err, -EINVAL, "--url and --model are needed (see --help)");
    }
    if (load_api_parse(slice_of_str(raw->api), &config->api) != 0) {
        return error_set(err, -EINVAL, "%s: chat, completions or embeddings, not \"%s\"",
                         WHERE("api", raw->api), raw->api);
    }
    int rc = resolve_numbers(options, err);
    rc = rc ? rc : check(raw, config, err);
    for (size_t i = 0; rc == 0 && i < raw->url_count; i++) {
        struct load_target *target = &options->targets[i];
        rc = load_url_parse(slice_of_str(raw->urls[i]), config->api, &target->url, err);
        rc = rc ? rc : load_url_resolve(&target->url, &target->addresses, err);
    }
    config->target_count = raw->url_count;
    if (rc == 0 && raw->trace != NULL) {
        rc = load_trace_read(raw->trace, &options->trace, err);
        config->trace = &options->trace;
    }
    return rc;
}

static void print_help(const struct option_row *rows, size_t count)
{
    printf("headrace-bench %s: load for OpenAI-compatible inference servers and gateways\n\n"
           "Usage: headrace-bench --url URL --model NAME --rate R [--duration S] [OPTIONS]\n"
           "       headrace-bench --url URL --model NAME --trace FILE [OPTIONS]\n"
           "       headrace-bench --url URL --model NAME --concurrency N [OPTIONS]\n\n"
           "TOKENS is 128, uniform:64-256, exp:200, normal:200,50 or lognormal:200,0.8.\n\n",
           HEADRACE_VERSION);
    options_help(rows, count, ENV_PREFIX);
    printf("\nExit status: 0; 1 when nothing succeeded, or anything failed with --fail-on-error; "
           "2 for wrong options.\n");
}

static void set_defaults(struct options *options)
{
    *options = (struct options){.output = OUTPUT_TABLE,
                                .config = {.targets = options->targets,
                                           .seed = 1,
                                           .connect_timeout_ms = 5000,
                                           .first_timeout_ms = 300000,
                                           .between_timeout_ms = 60000}};
    strbuf_init(&options->headers, TEXT_MAX);
    strbuf_init(&options->body_extra, TEXT_MAX);
    options->raw = (struct raw_options){.api = "chat",
                                        .rate = "0",
                                        .arrivals = "poisson",
                                        .time_scale = "1",
                                        .prompt_tokens = "128",
                                        .prefix_tokens = "1024",
                                        .output_tokens = "64",
                                        .prefix_skew = "0",
                                        .share_header = "x-sim-pod",
                                        .output = "table",
                                        .drain_ms = 60000};
}

#define FIELD(member) OPTION_FIELD(struct options, member)
static const struct option_row rows[] = {
    {"url", "URL", "http://host:port[/path]; several are used in turn", OPTION_CALL, FIELD(raw), 0,
     0, add_url},
    {"model", "NAME", "model to ask for", OPTION_STRING, FIELD(raw.model), 0, 0, NULL},
    {"api", "API", "chat, completions or embeddings (default chat)", OPTION_STRING, FIELD(raw.api),
     0, 0, NULL},
    {"no-stream", "", "ask for whole answers instead of streams", OPTION_SWITCH,
     FIELD(raw.no_stream), 0, 0, NULL},
    {"rate", "R", "requests a second, open loop; with --trace: scale it to this mean rate",
     OPTION_STRING, FIELD(raw.rate), 0, 0, NULL},
    {"arrivals", "HOW", "poisson or fixed (default poisson)", OPTION_STRING, FIELD(raw.arrivals), 0,
     0, NULL},
    {"concurrency", "N",
     "requests in flight at most; without a rate: exactly, closed loop (default 0, no bound)",
     OPTION_NUMBER, FIELD(config.concurrency), 0, 1000000, NULL},
    {"duration", "S", "send for so long (default 10, with a trace all of it)", OPTION_CALL,
     FIELD(raw.duration_ms), 0, 0, set_seconds},
    {"requests", "N", "send so many at most", OPTION_NUMBER, FIELD(config.requests), 0, UINT64_MAX,
     NULL},
    {"warmup", "S", "do not count what is sent in the first S seconds (default 0)", OPTION_CALL,
     FIELD(raw.warmup_ms), 0, 0, set_seconds},
    {"drain", "S", "wait so long for the last answers (default 60)", OPTION_CALL,
     FIELD(raw.drain_ms), 0, 0, set_seconds},
    {"trace", "FILE", "replay a trace: Mooncake JSON lines or Azure CSV", OPTION_STRING,
     FIELD(raw.trace), 0, 0, NULL},
    {"time-scale", "F", "multiply the trace's times: 0.5 is twice as fast (default 1)",
     OPTION_STRING, FIELD(raw.time_scale), 0, 0, NULL},
    {"prompt-max", "N", "cut longer prompts to N tokens", OPTION_NUMBER, FIELD(raw.prompt_max), 0,
     LOAD_TOKENS_MAX, NULL},
    {"output-max", "N", "ask for N output tokens at most", OPTION_NUMBER, FIELD(raw.output_max), 0,
     LOAD_TOKENS_MAX, NULL},
    {"prompt-tokens", "TOKENS",
     "length of the prompt, or of the question after a prefix (default 128)", OPTION_STRING,
     FIELD(raw.prompt_tokens), 0, 0, NULL},
    {"question-tokens", "TOKENS", "the same", OPTION_STRING, FIELD(raw.prompt_tokens), 0, 0, NULL},
    {"output-tokens", "TOKENS", "max_tokens of each request (default 64)", OPTION_STRING,
     FIELD(raw.output_tokens), 0, 0, NULL},
    {"prefix-groups", "N", "requests fall into N groups that share a prefix (default 0, none)",
     OPTION_NUMBER, FIELD(config.prefix_groups), 0, GROUPS_MAX, NULL},
    {"prefix-tokens", "TOKENS", "length of the shared prefixes (default 1024)", OPTION_STRING,
     FIELD(raw.prefix_tokens), 0, 0, NULL},
    {"prefix-skew", "S", "popularity of group i is 1/i^S (default 0, all alike)", OPTION_STRING,
     FIELD(raw.prefix_skew), 0, 0, NULL},
    {"ignore-eos", "", "ask engines to go on to max_tokens", OPTION_SWITCH,
     FIELD(config.ignore_eos), 0, 0, NULL},
    {"set", "KEY=VALUE", "another field of the body; the value is JSON or text", OPTION_CALL,
     FIELD(body_extra), 0, 0, add_field},
    {"header", "LINE", "another header, \"Name: value\"", OPTION_CALL, FIELD(headers), 0, 0,
     add_header},
    {"connect-timeout", "TIME", "(default 5s)", OPTION_DURATION, FIELD(config.connect_timeout_ms),
     1, DAY_MS, NULL},
    {"first-timeout", "TIME",
     "to the first token, or the whole answer without streaming (default 5m)", OPTION_DURATION,
     FIELD(config.first_timeout_ms), 1, DAY_MS, NULL},
    {"between-timeout", "TIME", "between two pieces of a stream (default 60s)", OPTION_DURATION,
     FIELD(config.between_timeout_ms), 1, DAY_MS, NULL},
    {"timeout", "TIME", "for the whole request (default 0, none)", OPTION_DURATION,
     FIELD(config.total_timeout_ms), 0, DAY_MS, NULL},
    {"share-header", "NAME", "response header that names the endpoint (default x-sim-pod)",
     OPTION_STRING, FIELD(raw.share_header), 0, 0, NULL},
    {"seed", "N", "same seed, same requests at the same times (default 1)", OPTION_NUMBER,
     FIELD(config.seed), 0, UINT64_MAX, NULL},
    {"output", "FORMAT", "table or json (default table)", OPTION_STRING, FIELD(raw.output), 0, 0,
     NULL},
    {"fail-on-error", "", "exit 1 when any request failed", OPTION_SWITCH, FIELD(fail_on_error), 0,
     0, NULL},
    {"quiet", "", "no progress on stderr", OPTION_SWITCH, FIELD(quiet), 0, 0, NULL},
    {"version", "", "print the version", OPTION_SWITCH, FIELD(raw.version), 0, 0, NULL},
};

int options_read(struct options *options, int argc, char **argv, struct error *err)
{
    set_defaults(options);
    int words = 0;
    int rc = options_parse(rows, ARRAY_LEN(rows), ENV_PREFIX, options, argc, argv, &words, err);
    if (rc == -EAGAIN) {
        print_help(rows, ARRAY_LEN(rows));
        return rc;
    }
    if (rc == 0 && options->raw.version) {
        printf("headrace-bench %s\n", HEADRACE_VERSION);
        return -EAGAIN;
    }
    if (rc == 0 && words != 0) {
        return error_set(err, -EINVAL, "unexpected argument \"%s\" (see --help)", argv[0]);
    }
    return rc != 0 ? rc : resolve(options, err);
}

void options_fini(struct options *options)
{
    load_trace_fini(&options->trace);
    strbuf_fini(&options->headers);
    strbuf_fini(&options->body_extra);
}
