#include "sim/fault.h"

#include <errno.h>

static int parse_count(struct slice text, uint32_t *ret_count)
{
    uint64_t value;
    int rc = slice_to_u64(text, &value);
    if (rc != 0 || value >= SIM_FAULT_NEVER) {
        return -EINVAL;
    }
    *ret_count = (uint32_t)value;
    return 0;
}

int sim_duration_parse(struct slice text, uint32_t *ret_ms)
{
    static const struct {
        struct slice unit;
        double ms;
    } units[] = {{SLICE("ms"), 1}, {SLICE("us"), 0.001}, {SLICE("s"), 1000}, {SLICE("m"), 60000}};
    double factor = 1;
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (slice_has_suffix(text, units[i].unit)) {
            text.len -= units[i].unit.len;
            factor = units[i].ms;
            break;
        }
    }
    double value;
    if (slice_to_double(text, &value) != 0 || !(value >= 0) || !(value * factor < 1e9)) {
        return -EINVAL;
    }
    *ret_ms = (uint32_t)(value * factor + 0.5);
    return 0;
}

static int parse_status(struct slice text, unsigned *ret_status)
{
    uint64_t value;
    if (slice_to_u64(text, &value) != 0 || value < 400 || value > 599) {
        return -EINVAL;
    }
    *ret_status = (unsigned)value;
    return 0;
}

// "3" or "3:500ms".
static int parse_stall(struct slice value, struct sim_fault *fault)
{
    struct slice count = value;
    ptrdiff_t colon = slice_find_byte(value, ':');
    if (colon >= 0) {
        count = slice_first(value, (size_t)colon);
        int rc = sim_duration_parse(slice_skip(value, (size_t)colon + 1), &fault->stall_ms);
        if (rc != 0) {
            return rc;
        }
    }
    return parse_count(count, &fault->stall_after);
}

// "503" or "503:3".
static int parse_error_event(struct slice value, struct sim_fault *fault)
{
    ptrdiff_t colon = slice_find_byte(value, ':');
    if (colon >= 0) {
        int rc = parse_count(slice_skip(value, (size_t)colon + 1), &fault->error_after);
        if (rc != 0) {
            return rc;
        }
        value = slice_first(value, (size_t)colon);
    }
    fault->action = SIM_FAULT_ERROR_EVENT;
    return parse_status(value, &fault->status);
}

static int parse_one(struct slice name, struct slice value, struct sim_fault *fault)
{
    static const struct {
        struct slice name;
        enum sim_fault_action action;
    } bare[] = {{SLICE("reset"), SIM_FAULT_RESET},
                {SLICE("close"), SIM_FAULT_CLOSE},
                {SLICE("freeze"), SIM_FAULT_FREEZE}};
    if (value.ptr == NULL) {
        for (size_t i = 0; i < ARRAY_LEN(bare); i++) {
            if (slice_ieq(name, bare[i].name)) {
                fault->action = bare[i].action;
                return 0;
            }
        }
        return -EINVAL;
    }
    if (slice_ieq(name, SLICE("delay"))) {
        return sim_duration_parse(value, &fault->delay_ms);
    }
    if (slice_ieq(name, SLICE("slow-head"))) {
        return sim_duration_parse(value, &fault->slow_head_ms);
    }
    if (slice_ieq(name, SLICE("reset-after"))) {
        return parse_count(value, &fault->reset_after);
    }
    if (slice_ieq(name, SLICE("close-after"))) {
        return parse_count(value, &fault->close_after);
    }
    if (slice_ieq(name, SLICE("stall-after"))) {
        return parse_stall(value, fault);
    }
    if (slice_ieq(name, SLICE("error-event"))) {
        return parse_error_event(value, fault);
    }
    if (slice_ieq(name, SLICE("status"))) {
        fault->action = SIM_FAULT_STATUS;
        return parse_status(value, &fault->status);
    }
    return -EINVAL;
}

int sim_fault_parse(struct slice text, struct sim_fault *ret_fault)
{
    struct sim_fault fault = SIM_FAULT_INIT;
    struct slice rest = text;
    struct slice part;
    while (rest.ptr != NULL && slice_split(&rest, ',', &part)) {
        part = slice_trim(part);
        if (part.len == 0) {
            continue;
        }
        ptrdiff_t equals = slice_find_byte(part, '=');
        struct slice name = equals < 0 ? part : slice_first(part, (size_t)equals);
        struct slice value = equals < 0 ? SLICE_NULL : slice_skip(part, (size_t)equals + 1);
        int rc = parse_one(slice_trim(name), value.ptr != NULL ? slice_trim(value) : value, &fault);
        if (rc != 0) {
            return rc;
        }
    }
    *ret_fault = fault;
    return 0;
}
