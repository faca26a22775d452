// A wanted status as the document that the API server takes, and whether the server has it already.
// Pure.
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"
#include "compile/status.h"

// The status member. A condition whose status is the one in current (the status member that the
// server has, may be NULL) keeps its lastTransitionTime; others get now_s. An engine that is not
// known yet, and the metrics of the same engine, stay as in current. NULL when out of memory.
struct json_object *status_document(const struct object_status *wanted, struct json_object *current,
                                    int64_t now_s);

// Does current say all that document says, and nothing of ours beyond it? Conditions of types that
// are not ours are others' and are not looked at, nor are times.
bool status_document_is_current(struct json_object *document, struct json_object *current);

// Does current say what we said, of the generation that wanted is for or an older one? Then nobody
// else has spoken of the object since.
bool status_document_is_ours(const struct object_status *wanted, struct json_object *current);

// The body of a server-side apply of the status: names the object, the version that the document
// was made for (a write to any other is a conflict: neither a successor of the same name nor a
// change that we did not see is written over; a uid would be ignored here), and the status. Takes
// the document over. NULL when out of memory, or for a NULL document.
struct json_object *status_document_apply(const struct object_status *wanted, struct slice version,
                                          struct json_object *document);

// The body of an apply of nothing: the server drops what the field manager had applied before, and
// leaves what is others'. NULL when out of memory.
struct json_object *status_document_withdraw(const struct object_status *wanted,
                                             struct slice version);
