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

struct validate_options {
    const char *ingress_class;
    bool allow_missing;
    bool quiet;
};

#define FIELD(member) OPTION_FIELD(struct validate_options, member)
static const struct option_row rows[] = {
    {"ingress-class", "NAME", "routes of another class are checked by themselves only (headrace)",
     OPTION_STRING, FIELD(ingress_class), 0, 0, NULL},
    {"allow-missing", "", "ModelBackends that are in none of the files are no problem",
     OPTION_SWITCH, FIELD(allow_missing), 0, 0, NULL},
    {"quiet", "", "print problems only, no summary", OPTION_SWITCH, FIELD(quiet), 0, 0, NULL},
};

int cmd_validate(int argc, char **argv)
{
    struct validate_options o = {.ingress_class = "headrace"};
    struct error err = ERROR_INIT;
    int count = 0;
    int rc = options_parse(rows, ARRAY_LEN(rows), "HEADRACE", &o, argc, argv, &count, &err);
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
        struct check_options options = {.ingress_class = slice_of_str(o.ingress_class),
                                        .allow_missing = o.allow_missing};
        size_t problems = 0;
        rc = check_manifests(files.manifests.items, files.manifests.len, &options,
                             print_problem, NULL, &problems);
        files.problems += problems;
    }
    if (rc < 0) {
        fprintf(stderr, "headrace validate: out of memory\n");
    } else if (!o.quiet) {
        fprintf(stderr, "%zu object%s, %zu problem%s\n", files.objects,
                files.objects == 1 ? "" : "s", files.problems,
                files.problems == 1 ? "" : "s");
    }
    manifest_files_fini(&files);
    return rc < 0 || files.problems > 0 ? 1 : 0;
}
