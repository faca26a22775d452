// Bucket bounds that several engines share (the shapes, not the code, of their histograms), and the
// families of Python's prometheus_client.
#pragma once

#include "base/macros.h"
#include "sim/family.h"

#define SIM_NS 1e-9

UNUSED static const double sim_bounds_ttft[] = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,
                                         0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
                                         20, 40, 80, 160, 640, 2560, 0};
UNUSED static const double sim_bounds_inter_token[] = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2,
                                                0.3, 0.4, 0.5, 0.75, 1, 2.5, 5,
                                                7.5, 10, 20, 40, 80, 0};
UNUSED static const double sim_bounds_request[] = {0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5,
                                            10, 15, 20, 30, 40, 50, 60, 120,
                                            240, 480, 960, 1920, 7680, 0};
UNUSED static const double sim_bounds_length[] = {1, 2, 5, 10, 20, 50, 100, 200, 500,
                                           1000, 2000, 5000, 10000, 20000, 50000, 100000, 0};
UNUSED static const double sim_bounds_step_tokens[] = {1, 8, 16, 32, 64, 128, 256,
                                                512, 1024, 2048, 4096, 8192, 16384, 0};
UNUSED static const double sim_bounds_few[] = {1, 2, 5, 10, 20, 0};

#define SIM_DISTRIBUTION(name_, help_, histogram_, bounds_, scale_)                               \
    {                                                                                             \
        .name = (name_), .help = (help_), .type = SIM_HISTOGRAM_TYPE, .bounds = (bounds_),        \
        .histogram = SIM_HISTOGRAM_##histogram_, .scale = (scale_)                                \
    }
#define SIM_SERIES(type_, name_, help_, labels_, value_)                                          \
    {                                                                                             \
        .name = (name_), .help = (help_), .type = (type_), .labels = (labels_),                   \
        .value = SIM_VALUE_##value_                                                               \
    }
#define SIM_FIXED(type_, name_, help_, labels_, number_)                                          \
    {                                                                                             \
        .name = (name_), .help = (help_), .type = (type_), .labels = (labels_),                   \
        .value = SIM_VALUE_CONSTANT, .constant = (number_)                                        \
    }

#define SIM_PYTHON_FAMILIES                                                                        \
    SIM_FIXED(SIM_COUNTER, "python_gc_objects_collected_total", "Objects found by the collector.", \
              "generation=\"0\"", 14011),                                                          \
    SIM_FIXED(SIM_COUNTER, "python_gc_objects_collected_total", "", "generation=\"1\"", 3719),     \
    SIM_FIXED(SIM_COUNTER, "python_gc_objects_collected_total", "", "generation=\"2\"", 721),      \
    SIM_FIXED(SIM_COUNTER, "python_gc_collections_total", "Runs of the collector.",                \
              "generation=\"0\"", 1619),                                                           \
    SIM_FIXED(SIM_COUNTER, "python_gc_collections_total", "", "generation=\"1\"", 147),            \
    SIM_FIXED(SIM_COUNTER, "python_gc_collections_total", "", "generation=\"2\"", 10),             \
    SIM_FIXED(SIM_GAUGE, "python_info", "Platform.",                                               \
              "implementation=\"CPython\",major=\"3\",minor=\"12\",patchlevel=\"3\","              \
              "version=\"3.12.3\"",                                                                \
              1),                                                                                  \
    SIM_SERIES(SIM_GAUGE, "process_resident_memory_bytes", "Resident memory.", "",                 \
               RESIDENT_BYTES),                                                                    \
    SIM_SERIES(SIM_GAUGE, "process_start_time_seconds", "Start of the process, Unix time.", "",    \
               STARTED_SECONDS),                                                                   \
    SIM_SERIES(SIM_COUNTER, "process_cpu_seconds_total", "CPU time of the process.", "",           \
               CPU_SECONDS),                                                                       \
    SIM_SERIES(SIM_GAUGE, "process_open_fds", "Open file descriptors.", "", OPEN_FDS),             \
    SIM_FIXED(SIM_GAUGE, "process_max_fds", "Limit of file descriptors.", "", 1048576)
