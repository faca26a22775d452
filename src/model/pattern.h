// The fixed patterns of the schema, compiled once. They are written in the common part of RE2 (what
// the API server uses) and POSIX extended expressions (what is used here). Never for patterns that
// a user gives.
#pragma once

#include <stdbool.h>

#include "base/macros.h"
#include "base/slice.h"

// Any thread. `pattern` must live for ever. Aborts on a pattern that does not compile.
bool pattern_matches(const char *pattern, const char *text);

// The key of a label or an annotation: a name of at most 63 characters, perhaps behind a domain of
// at most 253 and a slash (k8s.io/apimachinery pkg/util/validation, IsQualifiedName).
bool pattern_is_label_key(struct slice key);
