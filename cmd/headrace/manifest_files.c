#include "manifest_files.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "manifest/folder.h"

static int add_manifest(struct manifest_files *files, struct manifest *take)
{
    files->objects += take->objects.len;
    if (!VEC_PUSH(&files->manifests, *take)) {
        manifest_fini(take);
        return -ENOMEM;
    }
    return 0;
}

static int add_file(struct manifest_files *files, const char *path)
{
    struct manifest manifest;
    struct error err = ERROR_INIT;
    int rc = manifest_read(path, &manifest, &err);
    if (rc == -ENOMEM) {
        return rc;
    }
    if (rc < 0) { // begins with the file and, where there is one, the line
        printf("%s\n", err.text);
        files->problems++;
        return 0;
    }
    return add_manifest(files, &manifest);
}

static int is_manifest(const struct dirent *entry)
{
    return folder_is_manifest_name(entry->d_name);
}

static int add_folder(struct manifest_files *files, const char *path)
{
    struct dirent **entries;
    int n = scandir(path, &entries, is_manifest, alphasort);
    int rc = 0;
    if (n < 0) {
        printf("%s: %s\n", path, strerror(errno));
        files->problems++;
        return 0;
    }
    for (int i = 0; i < n; i++) {
        char file[4096];
        int len = snprintf(file, sizeof(file), "%s/%s", path, entries[i]->d_name);
        if (rc == 0 && len > 0 && (size_t)len < sizeof(file)) {
            rc = add_file(files, file);
        }
        free(entries[i]);
    }
    free(entries);
    return rc;
}

static int add_stdin(struct manifest_files *files)
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
    int rc = text.failed
                 ? error_set(&err, -EFBIG, "(stdin): larger than %d bytes", MANIFEST_BYTES_MAX)
                 : manifest_parse(strbuf_slice(&text), "(stdin)", &manifest, &err);
    strbuf_fini(&text);
    if (rc == 0) {
        return add_manifest(files, &manifest);
    }
    printf("%s\n", err.text);
    files->problems++;
    return rc == -ENOMEM ? rc : 0;
}

int manifest_files_add(struct manifest_files *files, const char *path)
{
    struct stat st;
    if (strcmp(path, "-") == 0) {
        return add_stdin(files);
    }
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        return add_folder(files, path);
    }
    return add_file(files, path);
}

void manifest_files_fini(struct manifest_files *files)
{
    for (size_t i = 0; i < files->manifests.len; i++) {
        manifest_fini(&files->manifests.items[i]);
    }
    VEC_FINI(&files->manifests);
}
