#include "table.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS_MAX = 32, GAP = 2 };

static void add(struct table *table, char *cell)
{
    if (cell == NULL || !VEC_PUSH(&table->cells, cell)) {
        oom_abort("table");
    }
}

void table_init(struct table *table, const char *headers)
{
    *table = (struct table){.columns = 0};
    struct slice rest = slice_of_str(headers);
    struct slice name;
    while (table->columns < COLUMNS_MAX && slice_split(&rest, ' ', &name)) {
        if (name.len != 0 && name.ptr[0] == '>') {
            table->right |= UINT32_C(1) << table->columns;
            name = slice_skip(name, 1);
        }
        add(table, slice_dup(name));
        table->columns++;
    }
}

void table_cell(struct table *table, const char *fmt, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, fmt);
    int len = vasprintf(&text, fmt, args);
    va_end(args);
    add(table, len < 0 ? NULL : text);
}

static void write_cell(const struct table *table, size_t column, const char *text, size_t width,
                       struct strbuf *out)
{
    bool right = (table->right >> column & 1) != 0;
    bool last = column + 1 == table->columns;
    int pad = (int)(width - strlen(text));
    strbuf_printf(out, "%*s%s%*s", right ? pad : 0, "", text, last ? 0 : (right ? 0 : pad) + GAP,
                  "");
}

void table_write(struct table *table, unsigned indent, struct strbuf *out)
{
    size_t widths[COLUMNS_MAX] = {0};
    for (size_t i = 0; i < table->cells.len; i++) {
        size_t len = strlen(table->cells.items[i]);
        size_t column = i % table->columns;
        widths[column] = len > widths[column] ? len : widths[column];
    }
    for (size_t i = 0; i < table->cells.len; i++) {
        size_t column = i % table->columns;
        if (column == 0) {
            strbuf_printf(out, "%*s", (int)indent, "");
        }
        write_cell(table, column, table->cells.items[i], widths[column], out);
        if (column + 1 == table->columns) {
            while (out->len != 0 && out->ptr[out->len - 1] == ' ') {
                out->len--;
            }
            strbuf_add_char(out, '\n');
        }
        free(table->cells.items[i]);
    }
    VEC_FINI(&table->cells);
}
