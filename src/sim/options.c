#include "sim/options.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim/dialect.h"
#include "sim/fault.h"

enum kind { KIND_LIST, KIND_TEXT, KIND_U32, KIND_U64, KIND_DOUBLE, KIND_MS, KIND_BOOL };

struct option_row {
    const char *flag;
    enum kind kind;
    size_t offset;
    const char *value; // what the help calls it
    const char *help;
};

#define AT(member) offsetof(struct sim_options, member)

static const struct option_row rows[] = {
    {"listen", KIND_LIST, AT(listen), "ADDR:PORT",
     "address of the first pod; may repeat; port 0: free ports (127.0.0.1:8000)"},
    {"pods", KIND_U32, AT(pods), "N", "pods for each --listen, on consecutive ports (1)"},
    {"name", KIND_TEXT, AT(name), "NAME", "pods are called NAME-0, NAME-1 …; one pod NAME (sim)"},
    {"engine", KIND_TEXT, AT(engine), "NAME", "the engine to imitate (vllm); see below"},
    {"model", KIND_LIST, AT(models), "NAME", "a model that is served; may repeat (tiny)"},
    {"adapter", KIND_LIST, AT(adapters), "NAME", "a LoRA adapter; may repeat"},
    {"seed", KIND_U64, AT(config.seed), "N", "of texts and timings (1)"},
    {"max-num-seqs", KIND_U32, AT(config.max_num_seqs), "N", "requests in the batch (64)"},
    {"max-queued", KIND_TEXT, AT(max_queued), "N",
     "requests that may wait beyond the batch, or `unlimited` (unlimited)"},
    {"prefill-rate", KIND_DOUBLE, AT(config.prefill_rate), "R", "prompt tokens a second (20000)"},
    {"prefill-chunk", KIND_U32, AT(config.prefill_chunk), "N", "tokens in one step (2048)"},
    {"decode-step", KIND_DOUBLE, AT(config.decode_step_ms), "MS",
     "time of a step with one decoding request (10)"},
    {"decode-slowdown", KIND_DOUBLE, AT(config.decode_slowdown), "X",
     "each further one adds this share of it (0.01)"},
    {"jitter", KIND_DOUBLE, AT(config.jitter), "X", "steps vary by this share, both ways (0.03)"},
    {"kv-blocks", KIND_U32, AT(config.kv_blocks), "N", "KV blocks (16384)"},
    {"block-size", KIND_U32, AT(config.block_size), "N", "tokens of a block (16)"},
    {"max-model-len", KIND_U32, AT(config.max_model_len), "N", "prompt and output (32768)"},
    {"time-scale", KIND_DOUBLE, AT(config.time_scale), "X", "multiplies all durations (1)"},
    {"keep-alive", KIND_MS, AT(keep_alive_ms), "TIME", "idle connections are closed after (5s)"},
    {"request-id-headers", KIND_BOOL, AT(request_id_headers), NULL,
     "vllm: answers carry x-request-id, as with its --enable-request-id-headers"},
    {"http-threads", KIND_U32, AT(http_threads), "N",
     "connections that are served at a time, others wait, as llama.cpp's (0: all)"},
    {"max-body", KIND_U64, AT(max_body), "BYTES", "of a request (67108864)"},
    {"fault", KIND_TEXT, AT(fault), "LIST", "a fault for every request, as in x-sim-fault"},
    {"shutdown", KIND_TEXT, AT(shutdown), "MANNER",
     "on SIGTERM: graceful, abrupt, engine or drain (graceful)"},
    {"port-file", KIND_TEXT, AT(port_file), "FILE", "write the `listening` lines here too"},
    {"instant", KIND_BOOL, AT(instant), NULL, "no engine: every answer at once, of a fixed size"},
    {"reply-bytes", KIND_U32, AT(reply_bytes), "N", "… of this size (1024)"},
    {"sse-events", KIND_U32, AT(sse_events), "N",
     "… and requests with \"stream\": true get N events (0: none do)"},
    {"sse-rate", KIND_DOUBLE, AT(sse_rate), "R", "… R a second (100)"},
    {"sse-bytes", KIND_U32, AT(sse_bytes), "N", "… of this size each (200)"},
    {"help", KIND_BOOL, AT(help), NULL, "this text"},
    {"version", KIND_BOOL, AT(version), NULL, "the version"},
};

// Numbers that may not be everything that their type holds.
static const struct {
    const char *flag;
    double min, max;
} ranges[] = {
    {"pods", 1, 4096},
    {"max-num-seqs", 1, UINT32_MAX},
    {"prefill-rate", 1e-3, 1e15},
    {"prefill-chunk", 1, UINT32_MAX},
    {"jitter", 0, 0.99},
    {"kv-blocks", 1, 1u << 28},
    {"block-size", 1, 1u << 16},
    {"max-model-len", 1, UINT32_MAX},
    {"time-scale", 1e-6, 1e6},
    {"sse-rate", 1e-3, 1e9},
};

static struct sim_options defaults(void)
{
    return (struct sim_options){
        .engine = "vllm",
        .pods = 1,
        .config = {.max_num_seqs = 64,
                   .max_queued = SIM_QUEUE_UNLIMITED,
                   .prefill_chunk = 2048,
                   .prefill_rate = 20000,
                   .decode_step_ms = 10,
                   .decode_slowdown = 0.01,
                   .jitter = 0.03,
                   .time_scale = 1,
                   .kv_blocks = 16384,
                   .block_size = 16,
                   .max_model_len = 32768,
                   .seed = 1},
        .keep_alive_ms = 5000,
        .max_body = 64u << 20,
        .reply_bytes = 1024,
        .sse_rate = 100,
        .sse_bytes = 200,
    };
}

static int store_number(void *at, enum kind kind, struct slice value)
{
    uint64_t number;
    double real;
    switch (kind) {
    case KIND_U32:
        if (slice_to_u64(value, &number) != 0 || number > UINT32_MAX) {
            return -EINVAL;
        }
        *(uint32_t *)at = (uint32_t)number;
        return 0;
    case KIND_U64: return slice_to_u64(value, (uint64_t *)at);
    case KIND_DOUBLE:
        if (slice_to_double(value, &real) != 0 || !(real >= 0) || real > 1e15) {
            return -EINVAL;
        }
        *(double *)at = real;
        return 0;
    case KIND_MS: return sim_duration_parse(value, (uint32_t *)at);
    default: return -EINVAL;
    }
}

static int check_range(const struct option_row *row, const void *at, struct error *err)
{
    double number = row->kind == KIND_DOUBLE ? *(const double *)at : *(const uint32_t *)at;
    for (size_t i = 0; i < ARRAY_LEN(ranges); i++) {
        if (strcmp(ranges[i].flag, row->flag) == 0 &&
            (number < ranges[i].min || number > ranges[i].max)) {
            return error_set(err, -EINVAL, "--%s: %.10g is not from %.10g to %.10g", row->flag,
                             number, ranges[i].min, ranges[i].max);
        }
    }
    return 0;
}

static int store(struct sim_options *options, const struct option_row *row, const char *value,
                 struct error *err)
{
    void *at = (char *)options + row->offset;
    struct slice text = slice_of_str(value);
    if (row->kind == KIND_TEXT) {
        *(const char **)at = value;
        return 0;
    }
    if (row->kind == KIND_LIST) {
        struct sim_list *list = at;
        if (list->len == SIM_LIST_MAX) {
            return error_set(err, -EINVAL, "--%s more than %d times", row->flag, SIM_LIST_MAX);
        }
        list->items[list->len++] = value;
        return 0;
    }
    if (row->kind == KIND_BOOL) {
        *(bool *)at = !slice_eq(text, SLICE("false")) && !slice_eq(text, SLICE("0"));
        return 0;
    }
    if (store_number(at, row->kind, text) != 0) {
        return error_set(err, -EINVAL, "--%s: \"%s\" is not a %s", row->flag, value,
                         row->kind == KIND_MS ? "duration" : "number in range");
    }
    return row->kind == KIND_U32 || row->kind == KIND_DOUBLE ? check_range(row, at, err) : 0;
}

static const struct option_row *find(struct slice flag)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (slice_eq_str(flag, rows[i].flag)) {
            return &rows[i];
        }
    }
    return NULL;
}

// HEADRACE_SIM_MAX_NUM_SEQS for --max-num-seqs; lists with commas.
static int from_environment(struct sim_options *options, struct error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char name[64];
        int len = snprintf(name, sizeof(name), "HEADRACE_SIM_%s", rows[i].flag);
        for (int at = 0; at < len; at++) {
            name[at] = name[at] == '-' ? '_' : (char)toupper((unsigned char)name[at]);
        }
        char *value = getenv(name);
        if (value == NULL || value[0] == '\0') {
            continue;
        }
        // The items of lists end up NUL-terminated in the environment itself, which is ours.
        while (value != NULL) {
            char *item = value;
            char *comma = rows[i].kind == KIND_LIST ? strchr(value, ',') : NULL;
            value = comma != NULL ? comma + 1 : NULL;
            if (comma != NULL) {
                *comma = '\0';
            }
            int rc = store(options, &rows[i], item, err);
            if (rc != 0) {
                return error_prefix(err, rc, "%s", name);
            }
        }
    }
    return 0;
}

static int from_arguments(struct sim_options *options, int argc, char **argv, struct error *err)
{
    bool list_seen[ARRAY_LEN(rows)] = {false};
    for (int i = 1; i < argc; i++) {
        struct slice arg = slice_of_str(argv[i]);
        if (slice_eq(arg, SLICE("-h"))) {
            arg = SLICE("--help");
        }
        if (!slice_has_prefix(arg, SLICE("--"))) {
            return error_set(err, -EINVAL, "unexpected argument \"%s\"", argv[i]);
        }
        arg = slice_skip(arg, 2);
        ptrdiff_t equals = slice_find_byte(arg, '=');
        const char *value = equals >= 0 ? arg.ptr + equals + 1 : NULL;
        const struct option_row *row = find(equals >= 0 ? slice_first(arg, (size_t)equals) : arg);
        if (row == NULL) {
            return error_set(err, -EINVAL, "unknown option \"%s\" (see --help)", argv[i]);
        }
        if (row->kind == KIND_BOOL && value == NULL) {
            value = "true";
        }
        if (value == NULL && ++i == argc) {
            return error_set(err, -EINVAL, "--%s needs a value", row->flag);
        }
        if (row->kind == KIND_LIST && !list_seen[row - rows]) {
            list_seen[row - rows] = true;
            ((struct sim_list *)(void *)((char *)options + row->offset))->len = 0;
        }
        int rc = store(options, row, value != NULL ? value : argv[i], err);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static int check_texts(struct sim_options *options, struct error *err)
{
    static const char *const manners[] = {"graceful", "abrupt", "engine", "drain"};
    if (sim_dialect_find(slice_of_str(options->engine)) == NULL) {
        return error_set(err, -EINVAL, "--engine: no engine called \"%s\" (see --help)",
                         options->engine);
    }
    bool found = options->shutdown == NULL;
    for (size_t i = 0; i < ARRAY_LEN(manners) && !found; i++) {
        if (strcmp(options->shutdown, manners[i]) == 0) {
            options->shutdown_manner = (enum sim_shutdown)i;
            found = true;
        }
    }
    if (!found) {
        return error_set(err, -EINVAL, "--shutdown: graceful, abrupt, engine or drain");
    }
    if (options->max_queued != NULL && strcmp(options->max_queued, "unlimited") != 0 &&
        store_number(&options->config.max_queued, KIND_U32, slice_of_str(options->max_queued)) !=
            0) {
        return error_set(err, -EINVAL, "--max-queued: a number or `unlimited`");
    }
    struct sim_fault fault;
    if (options->fault != NULL && sim_fault_parse(slice_of_str(options->fault), &fault) != 0) {
        return error_set(err, -EINVAL, "--fault: cannot read \"%s\"", options->fault);
    }
    return 0;
}

int sim_options_parse(int argc, char **argv, struct sim_options *ret_options, struct error *err)
{
    struct sim_options options = defaults();
    int rc = from_environment(&options, err);
    rc = rc != 0 ? rc : from_arguments(&options, argc, argv, err);
    rc = rc != 0 ? rc : check_texts(&options, err);
    if (rc != 0) {
        return rc;
    }
    if (options.listen.len == 0) {
        options.listen.items[options.listen.len++] = "127.0.0.1:8000";
    }
    if (options.models.len == 0) {
        options.models.items[options.models.len++] = "tiny";
    }
    *ret_options = options;
    return 0;
}

void sim_options_help(void)
{
    printf("Usage: headrace-sim [OPTION…]\n\n"
           "An inference server without a GPU, in the manners of a real one. Defaults in brackets; "
           "each\noption has an environment twin, --max-num-seqs HEADRACE_SIM_MAX_NUM_SEQS.\n\n");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char left[48];
        snprintf(left, sizeof(left), "--%s %s", rows[i].flag,
                 rows[i].value != NULL ? rows[i].value : "");
        printf("  %-26s %s\n", left, rows[i].help);
    }
    printf("\nEngines:");
    for (size_t i = 0; sim_dialect_at(i) != NULL; i++) {
        printf(" %s", sim_dialect_at(i)->name);
    }
    printf("\n\nFaults, in the request header x-sim-fault: delay=500ms | slow-head=2s | status=500 |\n"
           "  error-event=503[:N] | reset | reset-after=N | close | close-after=N | freeze |\n"
           "  stall-after=N[:500ms]; several with commas. Pods are changed while they run by\n"
           "  POST /sim/config. See docs/simulator.md.\n");
}
