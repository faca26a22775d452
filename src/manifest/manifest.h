// Manifest files: YAML or JSON, any number of documents, the kinds that Headrace knows.
#pragma once

#include "base/error.h"
#include "base/vec.h"
#include "model/object.h"

enum {
    MANIFEST_BYTES_MAX = 16 << 20,
    MANIFEST_OBJECTS_MAX = 100000, // of one file
};

// The objects of one file, in its order. Those with problems are among them (see model/object.h).
struct manifest {
    VEC(struct object *) objects; // one reference each
    size_t ignored;               // documents of kinds that are none of ours
};

void manifest_fini(struct manifest *manifest);

// Reads text. Error: it is no YAML, or a document is no usable object; err says "name:line: why".
MUST_CHECK int manifest_parse(struct slice text, const char *name, struct manifest *ret,
                              struct error *err);

// Reads a regular file of at most MANIFEST_BYTES_MAX bytes.
MUST_CHECK int manifest_read(const char *path, struct manifest *ret, struct error *err);

// Does any object have problems?
bool manifest_has_problems(const struct manifest *manifest);
