// SIGUSR1: the live state goes to standard error, as one line of JSON, from a thread of its own, so
// that neither a worker that does not answer nor a slow reader holds up the control thread.
#pragma once

#include "admin/admin.h"
#include "base/error.h"

struct state_dump;

// What the config points to must outlive it.
MUST_CHECK int state_dump_new(const struct admin_config *config, struct state_dump **ret_dump,
                              struct error *err);

// Waits for what is being written, some seconds at most. NULL is fine.
void state_dump_free(struct state_dump *dump);

// Starts one, unless the last one still runs.
void state_dump_start(struct state_dump *dump);
