// Explanations as people read them, from the JSON of the admin pages.
#pragma once

#include <json-c/json.h>

#include "base/strbuf.h"

// Of /decisions: what was decided for request `id`. 0, or 1 and a word on stderr when nothing was.
int explain_text_decisions(struct json_object *json, const char *id, struct strbuf *out);

// Of /explain. 0, or 1 when no rule takes the request.
int explain_text_match(struct json_object *json, struct strbuf *out);
