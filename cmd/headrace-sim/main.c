// headrace-sim: an inference server without a GPU. See docs/simulator.md.
#include <stdio.h>

#include "sim/options.h"
#include "sim/server.h"

int main(int argc, char **argv)
{
    struct sim_options options;
    struct error err = ERROR_INIT;
    if (sim_options_parse(argc, argv, &options, &err) != 0) {
        fprintf(stderr, "headrace-sim: %s\n", err.text);
        return 2;
    }
    if (options.help) {
        sim_options_help();
        return 0;
    }
    if (options.version) {
        printf("headrace-sim %s\n", HEADRACE_VERSION);
        return 0;
    }
    struct sim_server *server = NULL;
    if (sim_server_new(&options, &server, &err) != 0) {
        fprintf(stderr, "headrace-sim: %s\n", err.text);
        return 1;
    }
    sim_server_run(server);
    sim_server_free(server);
    return 0;
}
