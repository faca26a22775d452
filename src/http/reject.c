#include "http/reject.h"

#include "base/macros.h"

struct reject_row {
    unsigned status;
    const char *label;
    const char *text;
};

static const struct reject_row rows[HTTP_REJECT_COUNT] = {
#define X(name, http_status, metric_label, message)                                                \
    [HTTP_REJECT_##name] = {.status = http_status, .label = metric_label, .text = message},
    HTTP_REJECT_TABLE(X)
#undef X
};

static const struct reject_row *row_of(enum http_reject reason)
{
    BUG_ON((unsigned)reason >= HTTP_REJECT_COUNT);
    return &rows[reason];
}

unsigned http_reject_status(enum http_reject reason)
{
    return row_of(reason)->status;
}

const char *http_reject_label(enum http_reject reason)
{
    return row_of(reason)->label;
}

const char *http_reject_text(enum http_reject reason)
{
    return row_of(reason)->text;
}
