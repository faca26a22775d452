// headrace validate: for pipelines and for people who edit manifests. One line a problem, as
// compilers print them.
#include <errno.h>
#include <stdio.h>

#include "base/options.h"
#include "commands.h"
#include "manifest/check.h"
#include "manifest_files.h"

static void print_problem(void *arg, const char *file, int line, const char *text)
{
    (void)arg;
    printf("%s:%d: %s\n", file, line, text);
}

int cmd_validate(int argc, char **argv)
{
    const char *ingress_class = "headrace";
    bool allow_missing = false;
    bool quiet = false;
    const struct option_row rows[] = {
        {.name = "ingress-class", .metavar = "NAME", .type = OPTION_STRING,
         .target = &ingress_class,
         .help = "routes of another class are checked by themselves only (headrace)"},
        {.name = "allow-missing", .metavar = "", .type = OPTION_SWITCH, .target = &allow_missing,
         .help = "ModelBackends that are in none of the files are no problem"},
        {.name = "quiet", .metavar = "", .type = OPTION_SWITCH, .target = &quiet,
         .help = "print problems only, no summary"},
    };
    struct error err = ERROR_INIT;
    int count = 0;
    int rc = options_parse(rows, ARRAY_LEN(rows), "HEADRACE", argc, argv, &count, &err);
    if (rc == -EAGAIN) {
        printf("Usage: headrace validate [OPTIONS] FILE...\n\nChecks manifests offline: FILE is a "
               "file, a folder of files, or - for stdin.\nPrints FILE:LINE: PROBLEM for each; exit "
               "status 1 when there is any, else 0.\n\n");
        options_help(rows, ARRAY_LEN(rows), "HEADRACE");
        return 0;
    }
    if (rc < 0 || count == 0) {
        fprintf(stderr, "headrace validate: %s\n", rc < 0 ? err.text : "which files? (--help)");
        return 2;
    }
    struct manifest_files files = {0};
    for (int i = 0; i < count && rc == 0; i++) {
        rc = manifest_files_add(&files, argv[i]);
    }
    if (rc == 0) {
        struct check_options options = {.ingress_class = slice_of_str(ingress_class),
                                        .allow_missing = allow_missing};
        size_t problems = 0;
        rc = check_manifests(files.manifests.items, files.manifests.len, &options,
                             print_problem, NULL, &problems);
        files.problems += problems;
    }
    if (rc < 0) {
        fprintf(stderr, "headrace validate: out of memory\n");
    } else if (!quiet) {
        fprintf(stderr, "%zu object%s, %zu problem%s\n", files.objects,
                files.objects == 1 ? "" : "s", files.problems,
                files.problems == 1 ? "" : "s");
    }
    manifest_files_fini(&files);
    return rc < 0 || files.problems > 0 ? 1 : 0;
}
