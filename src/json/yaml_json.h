// YAML text to json-c trees, for everything that the control half reads from files: manifests and
// kubeconfigs. Not for the request path.
//
// Scalars resolve as kubectl resolves them (YAML 1.1 with its yes/no/on/off), so that a manifest
// means the same whether it comes from a folder or through an API server. JSON text is YAML too.
#pragma once

#include <json-c/json.h>
#include <stddef.h>

#include "base/error.h"
#include "base/macros.h"
#include "base/slice.h"

// Bounds on hostile input. A zero field takes the default.
struct yaml_json_limits {
    size_t max_bytes;       // whole text; default 16 MiB
    unsigned int max_depth; // nesting of mappings and sequences; default 64, at most 256
    size_t max_nodes;       // nodes of all documents, aliases counted as expanded; default 1 Mi
};

struct yaml_json;

// A reader over text, which must stay alive until yaml_json_free. name (a file's name, may be NULL)
// begins every message; limits may be NULL. NULL when out of memory.
struct yaml_json *yaml_json_new(struct slice text, const char *name,
                                const struct yaml_json_limits *limits);

// Documents already handed out live on. NULL is fine.
void yaml_json_free(struct yaml_json *reader);

// Reads the next document: 1 with *ret_doc owned by the caller (NULL for a null or empty
// document), 0 at the end of the text, or a negative code with err "name:line: why": -EINVAL for
// bad YAML, -E2BIG over a limit, -ENOMEM. After a failure every call fails likewise: the rest of
// the text is not read.
MUST_CHECK int yaml_json_next(struct yaml_json *reader, struct json_object **ret_doc,
                              struct error *err);

// Line (from 1) on which the document that yaml_json_next gave last begins.
int yaml_json_doc_line(const struct yaml_json *reader);

// Reads text that may hold one document at most; *ret_doc is NULL when it holds none.
MUST_CHECK int yaml_json_one(struct slice text, const char *name,
                             const struct yaml_json_limits *limits, struct json_object **ret_doc,
                             struct error *err);

// Line (from 1) on which the node began; 0 when unknown: NULL (a YAML null), a fraction, or a tree
// from elsewhere. The mark lies in json-c's userdata, which json_object_deep_copy refuses to copy
// on its own: use yaml_json_copy.
int yaml_json_line(struct json_object *node);

// Deep copy that keeps the marks, of any tree up to depth 256. NULL when out of memory (or for
// NULL).
struct json_object *yaml_json_copy(struct json_object *node);
