// Command line and environment of headrace-sim.
#pragma once

#include "base/error.h"
#include "base/slice.h"
#include "sim/engine.h"

enum { SIM_LIST_MAX = 64 };

struct sim_list {
    const char *items[SIM_LIST_MAX]; // borrowed from argv or the environment
    size_t len;
};

enum sim_shutdown {
    SIM_SHUTDOWN_GRACEFUL, // refuse connections, finish streams, exit
    SIM_SHUTDOWN_ABRUPT,   // exit at once
    SIM_SHUTDOWN_ENGINE,   // what the imitated engine does
    SIM_SHUTDOWN_DRAIN,    // vLLM with --shutdown-timeout: health 200, new requests 500
};

struct sim_options {
    struct sim_list listen;
    struct sim_list models;
    struct sim_list adapters;
    const char *engine;
    const char *name;
    const char *port_file;
    const char *shutdown;
    const char *max_queued;
    const char *fault;
    uint32_t pods;
    struct sim_engine_config config;
    uint32_t keep_alive_ms;
    bool request_id_headers;
    uint32_t http_threads; // connections served at a time; 0: all
    uint64_t max_body;
    bool instant;
    uint32_t reply_bytes;
    double sse_rate;
    uint32_t sse_events;
    uint32_t sse_bytes;
    bool help;
    bool version;
    enum sim_shutdown shutdown_manner; // parsed from `shutdown`
};

// Environment first (HEADRACE_SIM_ and the flag's name), then the command line; lists on the command
// line replace those of the environment. 0 or -EINVAL with a text for people.
MUST_CHECK int sim_options_parse(int argc, char **argv, struct sim_options *ret_options,
                                 struct error *err);

// The text of --help, to stdout.
void sim_options_help(void);
