#include "admin/page.h"

#include "json/write.h"

struct slice page_argument(struct page_context *context, const char *name, const char *fallback)
{
    const char *value =
        MHD_lookup_connection_value(context->connection, MHD_GET_ARGUMENT_KIND, name);
    return slice_of_str(value != NULL ? value : fallback);
}

static void write_key(struct strbuf *out, const char *key)
{
    char last = out->len != 0 ? out->ptr[out->len - 1] : '[';
    if (last != '{' && last != '[' && last != ':') {
        strbuf_add_char(out, ',');
    }
    if (key[0] != '\0') {
        json_write_key(out, key);
    }
}

void page_open(struct strbuf *out, const char *key, char bracket)
{
    write_key(out, key);
    strbuf_add_char(out, bracket);
}

void page_close(struct strbuf *out, char bracket)
{
    strbuf_add_char(out, bracket);
}

void page_str(struct strbuf *out, const char *key, struct slice value)
{
    write_key(out, key);
    json_write_string(out, value);
}

void page_num(struct strbuf *out, const char *key, double value)
{
    write_key(out, key);
    json_write_double(out, value);
}

void page_bool(struct strbuf *out, const char *key, bool value)
{
    write_key(out, key);
    strbuf_add_str(out, value ? "true" : "false");
}

unsigned page_error(struct strbuf *out, unsigned status, const char *message)
{
    strbuf_reset(out);
    page_open(out, "", '{');
    page_str(out, "error", slice_of_str(message));
    page_close(out, '}');
    return status;
}
