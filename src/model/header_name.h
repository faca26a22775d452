// The header fields that a route cannot change.
#pragma once

#include <stdbool.h>

#include "base/slice.h"

// In any case: what frames a message or belongs to one connection, what Headrace writes anew for
// every request (Host, the forwarded fields, the trace, the request's id), and Accept-Encoding, for
// answers are read on their way.
bool header_name_is_ours(struct slice name);
