// The live state of an instance as one JSON document, for the page /debug/state and for SIGUSR1.
#pragma once

#include "admin/admin.h"
#include "base/strbuf.h"

// The instance, its limits, its workers with their `most` oldest connections and requests each, and
// the endpoint table. Inside an epoch section; waits for the workers as proxy/dump.h says.
void state_write(const struct admin_config *config, unsigned most, struct strbuf *out);
