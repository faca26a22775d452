// The manifests that a command line names.
#pragma once

#include "base/vec.h"
#include "manifest/manifest.h"

// Zero-initialised is empty and valid.
struct manifest_files {
    VEC(struct manifest) manifests;
    size_t objects;
    size_t problems; // files that cannot be read as manifests
};

// `path` is a file, a folder of files, or - for stdin. What cannot be read is said on stdout, as
// FILE:LINE: PROBLEM, and counted. 0 or -ENOMEM.
MUST_CHECK int manifest_files_add(struct manifest_files *files, const char *path);
void manifest_files_fini(struct manifest_files *files);
