// "did you mean …?"
#pragma once

// The name among `names` that a mistyped `name` most likely means, or NULL. names ends with NULL.
const char *closest_name(const char *name, const char *const *names);
