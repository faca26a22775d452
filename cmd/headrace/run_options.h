// Options of `headrace run`.
#pragma once

#include "base/error.h"
#include "net/address_guard.h"
#include "proxy/proxy.h"

struct run_options {
    struct proxy_config proxy;
    struct address_guard guard; // of endpoints
    bool guard_set;             // by an option; else the mode decides
    const char *admin;           // ADDR:PORT
    const char *config_dir;      // standalone mode
    const char *kubeconfig;      // NULL: in-cluster, or the usual places
    const char *context;
    const char *watch_namespace; // "" = all
    const char *ingress_class;
    const char *access_log;      // "stdout", "off" or a file
    const char *access_log_format;
    const char *log_level;
    const char *log_format;
    uint64_t drain_grace_ms;
    uint64_t drain_timeout_ms;
    uint64_t drain_window_ms;
    uint64_t max_buffered_bytes; // of all workers together
    uint64_t memory_limit; // 0 = none
    bool memory_limit_auto;
    const char *proxy_protocol;  // off, optional or required
};

// 0; -EINVAL with the text; -EAGAIN when --help was asked for and has been printed.
MUST_CHECK int run_options_parse(struct run_options *options, int argc, char **argv,
                                 struct error *err);

// "127.0.0.1:8080", "[::1]:8080", ":8080" (every address of both families). 0 or -EINVAL.
MUST_CHECK int parse_listen_address(const char *text, struct proxy_address *ret, struct error *err);
