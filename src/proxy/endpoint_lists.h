// A list for each endpoint, by its id; grows as ids come. The nodes are their owners'.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

struct endpoint_lists {
    struct list_node *heads;
    size_t cap;
};

// Zero-initialised is empty. _fini: the lists must be empty.
void endpoint_lists_fini(struct endpoint_lists *lists);

// The list of this endpoint; NULL: nothing was ever put in.
struct list_node *endpoint_lists_at(const struct endpoint_lists *lists, uint32_t endpoint_id);

// The same, made where there is none; NULL: out of memory, and nothing was changed.
struct list_node *endpoint_lists_make(struct endpoint_lists *lists, uint32_t endpoint_id);
