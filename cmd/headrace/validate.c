// headrace validate: for pipelines and for people who edit manifests. One line a problem, as
// compilers print them.
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/options.h"
#include "commands.h"
#include "manifest/check.h"
#include "manifest/folder.h"

struct validation {
    VEC(struct manifest) manifests;
    size_t objects;
    size_t problems;
};

static void print_problem(void *arg, const char *file, int line, const char *text)
{
    (void)arg;
    printf("%s:%d: %s\n", file, line, text);
}

static int add_manifest(struct validation *validation, struct manifest *take)
{
    validation->objects += take->objects.len;
    if (!VEC_PUSH(&validation->manifests, *take)) {
        manifest_fini(take);
        return -ENOMEM;
    }
    return 0;
}

static int add_file(struct validation *validation, const char *path)
{
    struct manifest manifest;
    struct error err = ERROR_INIT;
    int rc = manifest_read(path, &manifest, &err);
    if (rc == -ENOMEM) {
        return rc;
    }
    if (rc < 0) { // begins with the file and, where there is one, the line
        printf("%s\n", err.text);
        validation->problems++;
        return 0;
    }
    return add_manifest(validation, &manifest);
}

static int is_manifest(const struct dirent *entry)
{
    return folder_is_manifest_name(entry->d_name);
}

static int add_folder(struct validation *validation, const char *path)
{
    struct dirent **entries;
    int n = scandir(path, &entries, is_manifest, alphasort);
    int rc = 0;
    if (n < 0) {
        printf("%s: %s\n", path, strerror(errno));
        validation->problems++;
        return 0;
    }
    for (int i = 0; i < n; i++) {
        char file[4096];
        int len = snprintf(file, sizeof(file), "%s/%s", path, entries[i]->d_name);
        if (rc == 0 && len > 0 && (size_t)len < sizeof(file)) {
            rc = add_file(validation, file);
        }
        free(entries[i]);
    }
    free(entries);
    return rc;
}

static int add_stdin(struct validation *validation)
{
    struct manifest manifest;
    struct error err = ERROR_INIT;
    struct strbuf text;
    char buf[65536];
    size_t n;
    strbuf_init(&text, MANIFEST_BYTES_MAX);
    while ((n = fread(buf, 1, sizeof(buf), stdin)) > 0) {
        strbuf_add(&text, slice_of(buf, n));
    }
    int rc = text.failed ? error_set(&err, -EFBIG, "(stdin): larger than %d bytes", MANIFEST_BYTES_MAX)
                         : manifest_parse(strbuf_slice(&text), "(stdin)", &manifest, &err);
    strbuf_fini(&text);
    if (rc == 0) {
        return add_manifest(validation, &manifest);
    }
    printf("%s\n", err.text);
    validation->problems++;
    return rc == -ENOMEM ? rc : 0;
}

static int add(struct validation *validation, const char *path)
{
    struct stat st;
    if (strcmp(path, "-") == 0) {
        return add_stdin(validation);
    }
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        return add_folder(validation, path);
    }
    return add_file(validation, path);
}

static void fini(struct validation *validation)
{
    for (size_t i = 0; i < validation->manifests.len; i++) {
        manifest_fini(&validation->manifests.items[i]);
    }
    VEC_FINI(&validation->manifests);
}

int cmd_validate(int argc, char **argv)
{
    const char *ingress_class = "headrace";
    bool allow_missing = false;
    bool quiet = false;
    const struct option_row rows[] = {
        {.name = "ingress-class", .metavar = "NAME", .type = OPTION_STRING, .target = &ingress_class,
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
    struct validation validation = {0};
    for (int i = 0; i < count && rc == 0; i++) {
        rc = add(&validation, argv[i]);
    }
    if (rc == 0) {
        struct check_options options = {.ingress_class = slice_of_str(ingress_class),
                                        .allow_missing = allow_missing};
        size_t problems = 0;
        rc = check_manifests(validation.manifests.items, validation.manifests.len, &options,
                             print_problem, NULL, &problems);
        validation.problems += problems;
    }
    if (rc < 0) {
        fprintf(stderr, "headrace validate: out of memory\n");
    } else if (!quiet) {
        fprintf(stderr, "%zu object%s, %zu problem%s\n", validation.objects,
                validation.objects == 1 ? "" : "s", validation.problems,
                validation.problems == 1 ? "" : "s");
    }
    fini(&validation);
    return rc < 0 || validation.problems > 0 ? 1 : 0;
}
