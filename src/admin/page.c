#include "admin/page.h"

struct slice page_argument(struct page_context *context, const char *name, const char *fallback)
{
    const char *value =
        MHD_lookup_connection_value(context->connection, MHD_GET_ARGUMENT_KIND, name);
    return slice_of_str(value != NULL ? value : fallback);
}

unsigned page_error(struct strbuf *out, unsigned status, const char *message)
{
    strbuf_reset(out);
    member_open(out, "", '{');
    member_str(out, "error", slice_of_str(message));
    member_close(out, '}');
    return status;
}
