#include "load/report.h"

#include <stdio.h>

#include "json/write.h"

static double ms(uint64_t ns)
{
    return (double)ns / 1e6;
}

static double seconds(uint64_t ns)
{
    return (double)ns / 1e9;
}

static double per_second(uint64_t n, const struct load_tally *tally)
{
    return tally->measured_ns > 0 ? (double)n / seconds(tally->measured_ns) : 0;
}

static double mean_ms(const struct histogram *h)
{
    return h->count > 0 ? ms(h->sum) / (double)h->count : 0;
}

static const struct {
    const char *name;
    double q;
} quantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p95", 0.95}, {"p99", 0.99}};

static const struct row {
    const char *key;
    const char *title;
    size_t offset;
} rows[] = {
    {"ttft", "time to first token", offsetof(struct load_tally, ttft)},
    {"itl", "between tokens", offsetof(struct load_tally, gap)},
    {"tpot", "time per output token", offsetof(struct load_tally, tpot)},
    {"e2e", "end to end", offsetof(struct load_tally, e2e)},
    {"lag", "sent late by", offsetof(struct load_tally, lag)},
};

static const struct histogram *row_of(const struct load_tally *tally, const struct row *row)
{
    return (const struct histogram *)(const void *)((const char *)tally + row->offset);
}

static void failure_label(const struct load_failures *failures, char *buf, size_t size)
{
    if (failures->code != 0) {
        snprintf(buf, size, "%s %u", load_failure_text(failures->failure), failures->code);
    } else {
        snprintf(buf, size, "%s", load_failure_text(failures->failure));
    }
}

// ---- table ----------------------------------------------------------------------------------

static void table_times(const struct load_tally *tally, struct strbuf *out)
{
    strbuf_printf(out, "\n%-22s %9s %9s %9s %9s %9s %9s %9s\n", "milliseconds", "count", "mean",
                  "p50", "p90", "p95", "p99", "max");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct histogram *h = row_of(tally, &rows[i]);
        if (h->count == 0) {
            continue;
        }
        strbuf_printf(out, "%-22s %9llu %9.2f", rows[i].title, (unsigned long long)h->count,
                      mean_ms(h));
        for (size_t q = 0; q < ARRAY_LEN(quantiles); q++) {
            strbuf_printf(out, " %9.2f", ms(histogram_quantile(h, quantiles[q].q)));
        }
        strbuf_printf(out, " %9.2f\n", ms(h->max));
    }
}

static void table_failures(const struct load_tally *tally, struct strbuf *out)
{
    if (tally->failures.len == 0) {
        return;
    }
    strbuf_add_str(out, "\nerrors\n");
    for (size_t i = 0; i < tally->failures.len; i++) {
        const struct load_failures *failures = &tally->failures.items[i];
        char label[64];
        failure_label(failures, label, sizeof(label));
        strbuf_printf(out, "  %8llu  %-22s %s\n", (unsigned long long)failures->count, label,
                      failures->sample);
    }
}

static bool has_shares(const struct load_tally *tally)
{
    return tally->shares.len > 1 || (tally->shares.len == 1 && tally->shares.items[0].name[0] != 0);
}

static double share_ttft_ms(const struct load_share *share)
{
    return share->ttft_count > 0 ? ms(share->ttft_sum_ns) / (double)share->ttft_count : 0;
}

static void table_shares(const struct load_config *config, const struct load_tally *tally,
                         struct strbuf *out)
{
    if (!has_shares(tally)) {
        return;
    }
    strbuf_printf(out, "\n%-28.*s %9s %7s %7s %10s %12s\n", SLICE_FMT(config->share_header),
                  "requests", "share", "errors", "TTFT mean", "cached tokens");
    for (size_t i = 0; i < tally->shares.len; i++) {
        const struct load_share *share = &tally->shares.items[i];
        strbuf_printf(out, "%-28s %9llu %6.1f%% %7llu %10.2f %12llu\n",
                      share->name[0] != 0 ? share->name : "(not told)",
                      (unsigned long long)share->requests,
                      100.0 * (double)share->requests / (double)MAX_OF(tally->sent, 1u),
                      (unsigned long long)share->failed, share_ttft_ms(share),
                      (unsigned long long)share->cached_tokens);
    }
}

void load_report_table(const struct load_config *config, const struct load_tally *tally,
                       struct strbuf *out)
{
    strbuf_printf(out, "%llu requests in %.2f s: %llu succeeded, %llu failed; %.2f requests/s\n",
                  (unsigned long long)tally->sent, seconds(tally->measured_ns),
                  (unsigned long long)tally->succeeded, (unsigned long long)tally->failed,
                  per_second(tally->succeeded, tally));
    strbuf_printf(out,
                  "tokens: %llu in prompts (%llu from caches), %llu out; %.1f in/s, %.1f out/s%s\n",
                  (unsigned long long)tally->prompt_tokens,
                  (unsigned long long)tally->cached_tokens,
                  (unsigned long long)tally->completion_tokens,
                  per_second(tally->prompt_tokens, tally),
                  per_second(tally->completion_tokens, tally),
                  tally->without_usage > 0 ? " (answers without usage: events counted)" : "");
    table_times(tally, out);
    table_failures(tally, out);
    table_shares(config, tally, out);
}

// ---- JSON -----------------------------------------------------------------------------------

static void json_u64(struct strbuf *out, const char *key, uint64_t value)
{
    json_write_key(out, key);
    strbuf_printf(out, "%llu,", (unsigned long long)value);
}

static void json_f64(struct strbuf *out, const char *key, double value)
{
    json_write_key(out, key);
    json_write_double(out, value);
    strbuf_add_char(out, ',');
}

static void json_str(struct strbuf *out, const char *key, const char *value)
{
    json_write_key(out, key);
    json_write_string(out, slice_of_str(value));
    strbuf_add_char(out, ',');
}

// Takes the comma after the last member back and closes.
static void json_close(struct strbuf *out, char bracket)
{
    if (!out->failed && out->len > 0 && out->ptr[out->len - 1] == ',') {
        out->len--;
    }
    strbuf_add_char(out, bracket);
    strbuf_add_char(out, ',');
}

static void json_times(const struct load_tally *tally, struct strbuf *out)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct histogram *h = row_of(tally, &rows[i]);
        char key[32];
        snprintf(key, sizeof(key), "%s_ms", rows[i].key);
        json_write_key(out, key);
        strbuf_add_char(out, '{');
        json_u64(out, "count", h->count);
        if (h->count > 0) {
            json_f64(out, "mean", mean_ms(h));
            json_f64(out, "min", ms(h->min));
            for (size_t q = 0; q < ARRAY_LEN(quantiles); q++) {
                json_f64(out, quantiles[q].name, ms(histogram_quantile(h, quantiles[q].q)));
            }
            json_f64(out, "max", ms(h->max));
        }
        json_close(out, '}');
    }
}

static void json_failures(const struct load_tally *tally, struct strbuf *out)
{
    strbuf_add_str(out, "\"errors\":[");
    for (size_t i = 0; i < tally->failures.len; i++) {
        const struct load_failures *failures = &tally->failures.items[i];
        char label[64];
        failure_label(failures, label, sizeof(label));
        strbuf_add_char(out, '{');
        json_str(out, "kind", label);
        json_u64(out, "count", failures->count);
        json_str(out, "sample", failures->sample);
        json_close(out, '}');
    }
    json_close(out, ']');
}

static void json_shares(const struct load_tally *tally, struct strbuf *out)
{
    strbuf_add_str(out, "\"endpoints\":[");
    for (size_t i = 0; has_shares(tally) && i < tally->shares.len; i++) {
        const struct load_share *share = &tally->shares.items[i];
        strbuf_add_char(out, '{');
        json_str(out, "name", share->name);
        json_u64(out, "requests", share->requests);
        json_f64(out, "share", (double)share->requests / (double)MAX_OF(tally->sent, 1u));
        json_u64(out, "errors", share->failed);
        json_f64(out, "ttft_mean_ms", share_ttft_ms(share));
        json_u64(out, "cached_tokens", share->cached_tokens);
        json_close(out, '}');
    }
    json_close(out, ']');
}

static void json_config(const struct load_config *config, struct strbuf *out)
{
    strbuf_add_str(out, "\"config\":{");
    json_str(out, "api", load_api_text(config->api));
    json_write_key(out, "stream");
    strbuf_add_str(out, config->stream ? "true," : "false,");
    json_str(out, "arrivals",
             config->trace != NULL             ? "trace"
             : config->rate <= 0               ? "closed"
             : config->arrivals == LOAD_FIXED ? "fixed"
                                               : "poisson");
    json_f64(out, "rate", config->rate);
    json_f64(out, "time_scale", config->time_scale);
    json_f64(out, "duration_s", seconds(config->duration_ns));
    json_f64(out, "warmup_s", seconds(config->warmup_ns));
    json_u64(out, "concurrency", config->concurrency);
    json_u64(out, "prefix_groups", config->prefix_groups);
    json_u64(out, "seed", config->seed);
    json_close(out, '}');
}

void load_report_json(const struct load_config *config, const struct load_tally *tally,
                      struct strbuf *out)
{
    strbuf_add_char(out, '{');
    json_config(config, out);
    json_u64(out, "requests", tally->sent);
    json_u64(out, "succeeded", tally->succeeded);
    json_u64(out, "failed", tally->failed);
    json_u64(out, "resent", tally->resent);
    json_f64(out, "measured_s", seconds(tally->measured_ns));
    json_f64(out, "requests_per_s", per_second(tally->succeeded, tally));
    strbuf_add_str(out, "\"tokens\":{");
    json_u64(out, "prompt", tally->prompt_tokens);
    json_u64(out, "cached", tally->cached_tokens);
    json_u64(out, "completion", tally->completion_tokens);
    json_f64(out, "prompt_per_s", per_second(tally->prompt_tokens, tally));
    json_f64(out, "completion_per_s", per_second(tally->completion_tokens, tally));
    json_u64(out, "answers_without_usage", tally->without_usage);
    json_close(out, '}');
    json_times(tally, out);
    json_failures(tally, out);
    json_shares(tally, out);
    json_close(out, '}');
    if (!out->failed) {
        out->ptr[out->len - 1] = '\n'; // the comma after the whole
    }
}
