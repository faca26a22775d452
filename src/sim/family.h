// Tables of Prometheus families, and writing them. One row is one series (or one histogram); rows
// with the same name follow each other and share the HELP and TYPE lines.
#pragma once

#include "sim/dialect.h"
#include "sim/engine.h"

enum sim_family_type { SIM_GAUGE, SIM_COUNTER, SIM_HISTOGRAM_TYPE, SIM_SUMMARY };

// X(name): where a value comes from.
#define SIM_VALUES(X)                                                                              \
    X(CONSTANT)                                                                                    \
    X(RUNNING)                                                                                     \
    X(WAITING)                                                                                     \
    X(LOAD)                                                                                        \
    X(KV_USAGE)                                                                                    \
    X(KV_USAGE_ROUNDED)                                                                            \
    X(KV_BLOCKS)                                                                                   \
    X(KV_USED_BLOCKS)                                                                              \
    X(KV_FREE_BLOCKS)                                                                              \
    X(KV_TOKENS)                                                                                   \
    X(KV_USED_TOKENS)                                                                              \
    X(KV_FREE_TOKENS)                                                                              \
    X(BLOCK_SIZE)                                                                                  \
    X(MAX_NUM_SEQS)                                                                                \
    X(MAX_MODEL_LEN)                                                                               \
    X(PROMPT_TOKENS)                                                                               \
    X(CACHED_TOKENS)                                                                               \
    X(COMPUTED_TOKENS)                                                                             \
    X(GENERATION_TOKENS)                                                                           \
    X(HIT_RATE)                                                                                    \
    X(PREEMPTIONS)                                                                                 \
    X(REJECTIONS)                                                                                  \
    X(ARRIVALS)                                                                                    \
    X(FINISHED)                                                                                    \
    X(FINISHED_STOP)                                                                               \
    X(FINISHED_LENGTH)                                                                             \
    X(ABORTED)                                                                                     \
    X(STEPS)                                                                                       \
    X(BUSY_SLOTS)                                                                                  \
    X(LONGEST)                                                                                     \
    X(PROMPT_SECONDS)                                                                              \
    X(DECODE_SECONDS)                                                                              \
    X(STARTED_SECONDS)                                                                             \
    X(CPU_SECONDS)                                                                                 \
    X(RESIDENT_BYTES)                                                                              \
    X(OPEN_FDS)                                                                                    \
    X(GENERATION_RATE)                                                                             \
    X(LORA_INFO)

enum sim_value {
#define X(name) SIM_VALUE_##name,
    SIM_VALUES(X)
#undef X
};

struct sim_family {
    const char *name;
    const char *help;
    enum sim_family_type type;
    const char *labels;       // NULL: the dialect's. %m model, %B %S %T KV blocks, block size, tokens
    enum sim_value value;
    double constant;
    const double *bounds;     // histograms: upper bounds, 0 after the last
    enum sim_histogram histogram;
    double scale;             // multiplies what the histogram recorded (1e-9: ns to s)
};

// Figures that the engine does not know itself.
struct sim_figures {
    const struct sim_engine *engine;
    const struct sim_dialect *dialect;
    struct slice model;
    double running; // what is shown, with the load that was made up
    double waiting;
    double kv_usage;
    double last_kv_usage; // as of the last step
    struct slice running_adapters;
    struct slice waiting_adapters;
    bool has_adapters;
    double cpu_seconds;
    double resident_bytes;
    double open_fds;
    double uptime_seconds;
    struct slice query; // of the request: name[] chooses samples, where the dialect knows it
};

// Appends the whole exposition in the text format 0.0.4.
void sim_family_write(struct strbuf *out, const struct sim_figures *figures);
