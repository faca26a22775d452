// Text in columns.
#pragma once

#include <stdint.h>

#include "base/macros.h"
#include "base/strbuf.h"
#include "base/vec.h"

struct table {
    size_t columns;
    uint32_t right; // a bit for each column that is aligned to the right
    VEC(char *) cells;
};

// `headers`: names of the columns, divided by spaces; '>' before a name aligns it to the right.
void table_init(struct table *table, const char *headers);

// The next cell, row by row.
void table_cell(struct table *table, const char *fmt, ...) PRINTF_LIKE(2, 3);

// Appends all rows, each behind `indent` spaces, and frees the table.
void table_write(struct table *table, unsigned indent, struct strbuf *out);
