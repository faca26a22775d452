#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/macros.h"
#include "commands.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"run", cmd_run, "serve: the controller and the data plane"},
    {"validate", cmd_validate, "check manifests offline"},
    {"explain", cmd_explain, "which rule, backend and endpoint a request takes, and why"},
    {"top", cmd_top, "live table of backends and endpoints"},
    {"dump", cmd_dump, "live state of an instance: connections, requests, pools, limits"},
    {"log-level", cmd_log_level, "show or change how much an instance logs"},
};

static void print_help(FILE *out)
{
    fprintf(out, "headrace %s: Ingress controller and gateway for inference services\n\n"
                 "Usage: headrace COMMAND [OPTIONS]\n\nCommands:\n",
            HEADRACE_VERSION);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].help);
    }
    fprintf(out, "  %-10s %s\n\nheadrace COMMAND --help tells the options.\n", "version",
            "print the version");
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return 2;
    }
    const char *name = argv[1];
    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        print_help(stdout);
        return 0;
    }
    if (strcmp(name, "version") == 0 || strcmp(name, "--version") == 0) {
        printf("headrace %s\n", HEADRACE_VERSION);
        return 0;
    }
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(name, commands[i].name) == 0) {
            hash_seed_random();
            curl_global_init(CURL_GLOBAL_DEFAULT); // before any thread, as libcurl asks
            int rc = commands[i].run(argc - 2, argv + 2);
            curl_global_cleanup();
            return rc;
        }
    }
    fprintf(stderr, "headrace: unknown command \"%s\" (headrace help lists them)\n", name);
    return 2;
}
