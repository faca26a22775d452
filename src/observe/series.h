// Pieces of the text exposition, and the cells that it is made of. Internal to observe.
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/strbuf.h"

// The two lines that begin a metric.
void series_head(struct strbuf *out, const char *name, const char *help, const char *type);

// A label value with what must be escaped in it.
void series_label(struct strbuf *out, struct slice value);

// Relaxed: each cell has one writer, and a reader may be a moment late.
static inline uint64_t cell_load(const _Atomic uint64_t *cell)
{
    return atomic_load_explicit(cell, memory_order_relaxed);
}

// Cells that hold the bits of a double.
double cell_load_double(const _Atomic uint64_t *cell);
void cell_store_double(_Atomic uint64_t *cell, double value);

// Of counts by fault: calls fn for each label with the sum of the faults that share it. `count` of
// them; fault_label gives NULL behind its last.
typedef const char *fault_label_fn(unsigned n);
typedef void fault_sum_fn(void *arg, const char *label, uint64_t sum);
void fault_sums_each(const uint64_t *sums, unsigned count, fault_label_fn *fault_label,
                     fault_sum_fn *fn, void *arg);
