#include "proxy/fault.h"

static const struct {
    unsigned status;
    const char *label;
    const char *type;
    const char *text;
} faults[FAULT_COUNT] = {
#define X(name, status_, label_, type_, text_) \
    [FAULT_##name] = {.status = status_, .label = label_, .type = type_, .text = text_},
    FAULT_TABLE(X)
#undef X
};

enum fault fault_of_answer(unsigned status)
{
    if (status < 500) {
        return FAULT_NONE;
    }
    return status == 503 ? FAULT_OVERLOADED : FAULT_UPSTREAM_ERROR;
}

unsigned fault_status(enum fault fault)
{
    return faults[fault].status;
}

const char *fault_label(enum fault fault)
{
    return faults[fault].label;
}

const char *fault_type(enum fault fault)
{
    return faults[fault].type;
}

const char *fault_text(enum fault fault)
{
    return faults[fault].text;
}
