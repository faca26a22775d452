#include "sim/family.h"

#include <math.h>

static double ratio(double part, double whole)
{
    return whole > 0 ? part / whole : 0;
}

static double kv_value(const struct sim_figures *figures, enum sim_value value)
{
    const struct sim_engine_config *config = &figures->engine->config;
    double blocks = config->kv_blocks;
    double used = round(blocks * figures->kv_usage);
    switch (value) {
    case SIM_VALUE_KV_USAGE: return figures->kv_usage;
    case SIM_VALUE_KV_USAGE_ROUNDED: return round(figures->last_kv_usage * 100) / 100;
    case SIM_VALUE_KV_BLOCKS: return blocks;
    case SIM_VALUE_KV_USED_BLOCKS: return used;
    case SIM_VALUE_KV_FREE_BLOCKS: return blocks - used;
    case SIM_VALUE_KV_TOKENS: return blocks * config->block_size;
    case SIM_VALUE_KV_USED_TOKENS: return used * config->block_size;
    case SIM_VALUE_KV_FREE_TOKENS: return (blocks - used) * config->block_size;
    default: return 0;
    }
}

static double counted_value(const struct sim_stats *stats, enum sim_value value)
{
    switch (value) {
    case SIM_VALUE_PROMPT_TOKENS: return (double)stats->prompt_tokens;
    case SIM_VALUE_CACHED_TOKENS: return (double)stats->cached_tokens;
    case SIM_VALUE_COMPUTED_TOKENS: return (double)stats->computed_prompt_tokens;
    case SIM_VALUE_GENERATION_TOKENS: return (double)stats->generation_tokens;
    case SIM_VALUE_HIT_RATE:
        return ratio((double)stats->cached_tokens, (double)stats->prompt_tokens);
    case SIM_VALUE_PREEMPTIONS: return (double)stats->preemptions;
    case SIM_VALUE_REJECTIONS: return (double)stats->rejections;
    case SIM_VALUE_ARRIVALS: return (double)stats->arrivals;
    case SIM_VALUE_FINISHED:
        return (double)(stats->finished[SIM_FINISH_STOP] + stats->finished[SIM_FINISH_LENGTH]);
    case SIM_VALUE_FINISHED_STOP: return (double)stats->finished[SIM_FINISH_STOP];
    case SIM_VALUE_FINISHED_LENGTH: return (double)stats->finished[SIM_FINISH_LENGTH];
    case SIM_VALUE_ABORTED: return (double)stats->finished[SIM_FINISH_ABORT];
    case SIM_VALUE_STEPS: return (double)stats->steps;
    case SIM_VALUE_BUSY_SLOTS: return ratio((double)stats->busy_slot_steps, (double)stats->steps);
    case SIM_VALUE_LONGEST: return (double)stats->longest_sequence;
    case SIM_VALUE_PROMPT_SECONDS: return (double)stats->prefill_ns * 1e-9;
    case SIM_VALUE_DECODE_SECONDS: return (double)stats->decode_ns * 1e-9;
    case SIM_VALUE_STARTED_SECONDS: return (double)stats->started_wall_ns * 1e-9;
    default: return 0;
    }
}

static double value_of(const struct sim_figures *figures, const struct sim_family *row)
{
    const struct sim_engine *engine = figures->engine;
    switch (row->value) {
    case SIM_VALUE_CONSTANT: return row->constant;
    case SIM_VALUE_RUNNING: return figures->running;
    case SIM_VALUE_WAITING: return figures->waiting;
    case SIM_VALUE_LOAD: return figures->running + figures->waiting;
    case SIM_VALUE_BLOCK_SIZE: return engine->config.block_size;
    case SIM_VALUE_MAX_NUM_SEQS: return engine->config.max_num_seqs;
    case SIM_VALUE_MAX_MODEL_LEN: return sim_engine_context(engine);
    case SIM_VALUE_CPU_SECONDS: return figures->cpu_seconds;
    case SIM_VALUE_RESIDENT_BYTES: return figures->resident_bytes;
    case SIM_VALUE_OPEN_FDS: return figures->open_fds;
    case SIM_VALUE_GENERATION_RATE:
        return ratio((double)engine->stats.generation_tokens, figures->uptime_seconds);
    case SIM_VALUE_LORA_INFO: return (double)engine->stats.started_wall_ns * 1e-9;
    default: break;
    }
    return row->value <= SIM_VALUE_KV_FREE_TOKENS ? kv_value(figures, row->value)
                                                  : counted_value(&engine->stats, row->value);
}

// As Python prints floats (repr, with an exponent only when large), or plain.
static void write_number(struct strbuf *out, const struct sim_dialect *dialect, double value)
{
    if (isnan(value)) {
        strbuf_add_str(out, "NaN");
    } else if (isinf(value)) {
        strbuf_add_str(out, value > 0 ? "+Inf" : "-Inf");
    } else if (value == floor(value) && fabs(value) < 1e6) {
        strbuf_printf(out, dialect->float_values ? "%.1f" : "%.0f", value);
    } else if (!dialect->float_values && value == floor(value) && fabs(value) < 1e15) {
        strbuf_printf(out, "%.0f", value);
    } else {
        strbuf_printf(out, "%.12g", value);
    }
}

static void write_directive(struct strbuf *out, const struct sim_figures *figures, char directive)
{
    const struct sim_engine_config *config = &figures->engine->config;
    switch (directive) {
    case 'm':
        for (size_t i = 0; i < figures->model.len; i++) {
            char c = figures->model.ptr[i];
            if (c == '"' || c == '\\') {
                strbuf_add_char(out, '\\');
            }
            strbuf_add_char(out, c == '\n' ? ' ' : c);
        }
        break;
    case 'B': strbuf_printf(out, "%u", config->kv_blocks); break;
    case 'S': strbuf_printf(out, "%u", config->block_size); break;
    case 'T':
        strbuf_printf(out, "%llu", (unsigned long long)config->kv_blocks * config->block_size);
        break;
    case 'R': strbuf_add(out, figures->running_adapters); break;
    case 'W': strbuf_add(out, figures->waiting_adapters); break;
    default: break;
    }
}

// Labels with braces. %l becomes le="bound", or vanishes with its comma when there is no bound.
static void write_labels(struct strbuf *out, const struct sim_figures *figures, const char *labels,
                         const double *bound)
{
    size_t start = out->len;
    strbuf_add_char(out, '{');
    for (const char *at = labels; *at != '\0'; at++) {
        if (at[0] == ',' && at[1] == '%' && at[2] == 'l' && bound == NULL) {
            at += 2;
        } else if (at[0] == '%' && at[1] == 'l') {
            at++;
            if (bound != NULL) {
                strbuf_add_str(out, "le=\"");
                write_number(out, figures->dialect, *bound);
                strbuf_add_char(out, '"');
            } else if (at[1] == ',') {
                at++;
            }
        } else if (at[0] == '%' && at[1] != '\0') {
            write_directive(out, figures, *++at);
        } else {
            strbuf_add_char(out, *at);
        }
    }
    if (!out->failed && out->len == start + 1) {
        out->len = start; // no labels: no braces
        return;
    }
    strbuf_add_char(out, '}');
}

static int hex_value(char c)
{
    int lower = c | 0x20;
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// The next byte of percent-encoded text; -1 at the end.
static int next_decoded(struct slice *text)
{
    if (text->len == 0) {
        return -1;
    }
    int c = (unsigned char)text->ptr[0];
    if (c == '%' && text->len >= 3 && hex_value(text->ptr[1]) >= 0 && hex_value(text->ptr[2]) >= 0) {
        c = hex_value(text->ptr[1]) * 16 + hex_value(text->ptr[2]);
        *text = slice_skip(*text, 2);
    }
    *text = slice_skip(*text, 1);
    return c;
}

// Takes `plain` off the front of encoded text.
static bool take_plain(struct slice *encoded, struct slice plain)
{
    struct slice rest = *encoded;
    for (size_t i = 0; i < plain.len; i++) {
        if (next_decoded(&rest) != (unsigned char)plain.ptr[i]) {
            return false;
        }
    }
    *encoded = rest;
    return true;
}

// False when the query names other samples. RestrictedRegistry of prometheus_client works so: by
// exact sample name, suffixes and all.
static bool is_wanted(const struct sim_figures *figures, const char *name, const char *suffix)
{
    bool any = false;
    struct slice rest = figures->query;
    struct slice part;
    while (figures->dialect->name_filter != SIM_NAMES_IGNORED && slice_split(&rest, '&', &part)) {
        if (!take_plain(&part, SLICE("name[]="))) {
            continue;
        }
        any = true;
        if (figures->dialect->name_filter == SIM_NAMES_CHOSEN &&
            take_plain(&part, slice_of_str(name)) && take_plain(&part, slice_of_str(suffix)) &&
            part.len == 0) {
            return true;
        }
    }
    return !any;
}

static void write_sample(struct strbuf *out, const struct sim_figures *figures, const char *name,
                         const char *suffix, const char *labels, const double *bound, double value)
{
    if (!is_wanted(figures, name, suffix)) {
        return;
    }
    strbuf_add_str(out, name);
    strbuf_add_str(out, suffix);
    write_labels(out, figures, labels, bound);
    strbuf_add_char(out, ' ');
    write_number(out, figures->dialect, value);
    strbuf_add_char(out, '\n');
}

static void write_histogram(struct strbuf *out, const struct sim_figures *figures,
                            const struct sim_family *row, const char *labels)
{
    const struct histogram *histogram = &figures->engine->stats.histograms[row->histogram];
    uint64_t below = 0;
    unsigned bucket = 0;
    for (const double *bound = row->bounds; *bound != 0; bound++) {
        while (bucket < HISTOGRAM_BUCKETS &&
               (double)histogram_bucket_top(bucket) * row->scale <= *bound) {
            below += histogram->buckets[bucket++];
        }
        write_sample(out, figures, row->name, "_bucket", labels, bound, (double)below);
    }
    double infinity = INFINITY;
    double count = (double)histogram->count;
    write_sample(out, figures, row->name, "_bucket", labels, &infinity, count);
    write_sample(out, figures, row->name, "_count", labels, NULL, count);
    write_sample(out, figures, row->name, "_sum", labels, NULL,
                 (double)histogram->sum * row->scale);
}

static void write_head(struct strbuf *out, const char *name, const char *suffix, const char *help,
                       const char *type)
{
    strbuf_printf(out, "# HELP %s%s %s\n# TYPE %s%s %s\n", name, suffix, help, name, suffix, type);
}

// prometheus_client's creation times: a gauge family after each counter and histogram.
static void write_created(struct strbuf *out, const struct sim_figures *figures,
                          const struct sim_family *row, const struct sim_family *last)
{
    char base[128];
    struct slice name = slice_of_str(row->name);
    if (row->type == SIM_COUNTER && slice_has_suffix(name, SLICE("_total"))) {
        name.len -= strlen("_total");
    }
    name = slice_first(name, sizeof(base) - 1);
    memcpy(base, name.ptr, name.len);
    base[name.len] = '\0';
    if (!is_wanted(figures, base, "_created")) {
        return;
    }
    write_head(out, base, "_created", row->help, "gauge");
    for (; row <= last; row++) {
        const char *labels = row->labels != NULL                ? row->labels
                             : row->type == SIM_HISTOGRAM_TYPE ? figures->dialect->histogram_labels
                                                                : figures->dialect->labels;
        write_sample(out, figures, base, "_created", labels, NULL,
                     (double)figures->engine->stats.started_wall_ns * 1e-9);
    }
}

// Not for the process and platform collectors.
static bool has_created(const struct sim_dialect *dialect, const struct sim_family *row)
{
    struct slice name = slice_of_str(row->name);
    return dialect->created_series && row->type != SIM_GAUGE &&
           !slice_has_prefix(name, SLICE("python_")) && !slice_has_prefix(name, SLICE("process_"));
}

// Rows [first, last] are one family. A head without samples is taken back.
static void write_family(struct strbuf *out, const struct sim_figures *figures,
                         const struct sim_family *first, const struct sim_family *last)
{
    static const char *const types[] = {"gauge", "counter", "histogram", "summary"};
    const struct sim_dialect *dialect = figures->dialect;
    size_t start = out->len;
    write_head(out, first->name, "", first->help, types[first->type]);
    size_t headed = out->len;
    for (const struct sim_family *row = first; row <= last; row++) {
        if (row->type == SIM_HISTOGRAM_TYPE) {
            write_histogram(out, figures, row,
                            row->labels != NULL ? row->labels : dialect->histogram_labels);
        } else {
            write_sample(out, figures, row->name, "",
                         row->labels != NULL ? row->labels : dialect->labels, NULL,
                         value_of(figures, row));
        }
    }
    if (!out->failed && out->len == headed) {
        out->len = start;
    }
    if (has_created(dialect, first)) {
        write_created(out, figures, first, last);
    }
}

void sim_family_write(struct strbuf *out, const struct sim_figures *figures)
{
    const struct sim_family *row = figures->dialect->families;
    const struct sim_family *end = row + figures->dialect->family_count;
    while (row < end) {
        const struct sim_family *last = row;
        while (last + 1 < end && strcmp(last[1].name, row->name) == 0) {
            last++;
        }
        if (row->value != SIM_VALUE_LORA_INFO || figures->has_adapters) {
            write_family(out, figures, row, last);
        }
        row = last + 1;
    }
}
