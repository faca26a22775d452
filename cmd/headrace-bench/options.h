// Options of headrace-bench.
#pragma once

#include "base/error.h"
#include "base/strbuf.h"
#include "load/config.h"

enum output_format { OUTPUT_TABLE = 0, OUTPUT_JSON };

struct options {
    struct load_config config; // points into the rest
    struct load_target targets[LOAD_TARGETS_MAX];
    struct load_trace trace;
    struct strbuf headers;
    struct strbuf body_extra;
    enum output_format output;
    bool fail_on_error;
    bool quiet;
};

// 0; -EINVAL (or another negative code) with the text; -EAGAIN when --help has been printed.
MUST_CHECK int options_read(struct options *options, int argc, char **argv, struct error *err);
void options_fini(struct options *options);
