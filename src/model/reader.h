// Reading the kinds that are not ours: only what is needed, lenient as to the rest, for the API
// server has checked them.
#pragma once

#include <json-c/json.h>

#include "model/object.h"

// Members of an object, by type; NULL or 0 when absent, of another type, or `json` is no object.
struct json_object *reader_object(struct json_object *json, const char *name);
struct json_object *reader_array(struct json_object *json, const char *name);
const char *reader_text(struct json_object *json, const char *name);
int64_t reader_int(struct json_object *json, const char *name);

// Fill object->spec. 0 or -ENOMEM.
MUST_CHECK int reader_service(struct object *object, struct json_object *json);
MUST_CHECK int reader_endpointslice(struct object *object, struct json_object *json);
MUST_CHECK int reader_pod(struct object *object, struct json_object *json);
MUST_CHECK int reader_material(struct object *object, struct json_object *json);
