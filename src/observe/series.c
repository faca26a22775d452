#include "observe/series.h"

#include <stdbool.h>
#include <string.h>

void series_head(struct strbuf *out, const char *name, const char *help, const char *type)
{
    strbuf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void series_label(struct strbuf *out, struct slice value)
{
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];
        if (c == '\n') {
            strbuf_add(out, SLICE("\\n"));
            continue;
        }
        if (c == '"' || c == '\\') {
            strbuf_add_char(out, '\\');
        }
        strbuf_add_char(out, c);
    }
}

double cell_load_double(const _Atomic uint64_t *cell)
{
    uint64_t bits = cell_load(cell);
    double value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

void cell_store_double(_Atomic uint64_t *cell, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    atomic_store_explicit(cell, bits, memory_order_relaxed);
}

static bool seen_before(unsigned fault, fault_label_fn *fault_label)
{
    for (unsigned k = 0; k < fault; k++) {
        if (strcmp(fault_label(k), fault_label(fault)) == 0) {
            return true;
        }
    }
    return false;
}

void fault_sums_each(const uint64_t *sums, unsigned count, fault_label_fn *fault_label,
                     fault_sum_fn *fn, void *arg)
{
    for (unsigned f = 0; f < count && fault_label(f) != NULL; f++) {
        if (seen_before(f, fault_label)) {
            continue;
        }
        uint64_t sum = 0;
        for (unsigned k = f; k < count && fault_label(k) != NULL; k++) {
            sum += strcmp(fault_label(k), fault_label(f)) == 0 ? sums[k] : 0;
        }
        fn(arg, fault_label(f), sum);
    }
}
