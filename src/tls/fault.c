#include "tls/fault.h"

#include "base/macros.h"

static const struct {
    const char *label;
    const char *text;
} rows[] = {
#define X(name, label, text) {label, text},
    TLS_FAULT_TABLE(X)
#undef X
};
_Static_assert(ARRAY_LEN(rows) == TLS_FAULT_COUNT, "one row for each fault");

const char *tls_fault_label(enum tls_fault fault)
{
    return (size_t)fault < ARRAY_LEN(rows) ? rows[fault].label : "internal";
}

const char *tls_fault_text(enum tls_fault fault)
{
    return (size_t)fault < ARRAY_LEN(rows) ? rows[fault].text : "";
}
