// The Open Inference Protocol (KServe's v2, Triton's): where its requests name a model.
#pragma once

#include <stdbool.h>

#include "base/macros.h"
#include "base/slice.h"

enum oip_operation {
    OIP_NONE = 0, // not of this protocol, or about no model
    OIP_INFER,    // …/infer; Triton's …/generate and …/generate_stream, too
    OIP_READY,    // …/ready
    OIP_METADATA, // the model itself, …/config, …/stats
};

struct oip_path {
    enum oip_operation operation;
    struct slice model;   // decoded
    struct slice version; // decoded; ptr NULL: none
    bool streams;         // generate_stream
    // The place of the model's segment in the path: a name is replaced by splicing it.
    size_t model_start;
    size_t model_end;
};

enum { OIP_NAME_MAX = 256, OIP_PATH_BUFFER = 2 * OIP_NAME_MAX };

// Reads /v2/models/{model}[/versions/{version}][/infer …] at the end of a normalised path, whatever
// stands before /v2. `buffer` has room for OIP_PATH_BUFFER: what was decoded lies there. 0, also
// when the path is none of the protocol's (OIP_NONE); -EINVAL: it is, and the model's or the
// version's name is none that we route on (see oip_name_is_sound).
MUST_CHECK int oip_path_parse(struct slice path, char *buffer, struct oip_path *ret_path);

// One to OIP_NAME_MAX bytes of UTF-8 without control characters, '/' and '\\', not "." or "..":
// a name that a server may take for a path within its store of models is not passed on.
bool oip_name_is_sound(struct slice name);

// The name as a path segment: what is not unreserved is percent-encoded. out has room for three
// bytes each. Returns the length.
size_t oip_segment_encode(struct slice name, char *out);
