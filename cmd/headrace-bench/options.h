// Options of headrace-bench.
#pragma once

#include "base/error.h"
#include "base/strbuf.h"
#include "load/config.h"

enum output_format { OUTPUT_TABLE = 0, OUTPUT_JSON };

enum { OPTIONS_URL_MAX = 1536 };
// What the table fills, before it means anything.
struct raw_options {
    char urls[LOAD_TARGETS_MAX][OPTIONS_URL_MAX]; // copied: the environment gives pieces
    size_t url_count;
    const char *api;
    const char *model;
    const char *rate;
    const char *arrivals;
    const char *trace;
    const char *time_scale;
    const char *prompt_tokens;
    const char *prefix_tokens;
    const char *output_tokens;
    const char *prefix_skew;
    const char *share_header;
    const char *output;
    uint64_t duration_ms;
    uint64_t warmup_ms;
    uint64_t drain_ms;
    uint64_t prompt_max;
    uint64_t output_max;
    bool no_stream;
    bool version;
};

struct options {
    struct load_config config; // points into the rest
    struct load_target targets[LOAD_TARGETS_MAX];
    struct load_trace trace;
    struct strbuf headers;
    struct strbuf body_extra;
    enum output_format output;
    bool fail_on_error;
    bool quiet;
    struct raw_options raw;
};

// 0; -EINVAL (or another negative code) with the text; -EAGAIN when --help has been printed.
MUST_CHECK int options_read(struct options *options, int argc, char **argv, struct error *err);
void options_fini(struct options *options);
