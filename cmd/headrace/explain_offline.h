// What manifests, without a running instance, would do with a request.
#pragma once

#include <json-c/json.h>

#include "admin/explain.h"
#include "base/error.h"

// Reads the files (each a file, a folder of files, or - for stdin) and answers as the page /explain
// does. *ret_json is the caller's. 0; -EINVAL or -ENOMEM with a text. What is wrong with files and
// objects is said on stdout and stderr.
MUST_CHECK int explain_offline(struct explain_question *question, const char *ingress_class,
                               char **paths, int count, struct json_object **ret_json,
                               struct error *err);
