// Faults on request: what `x-sim-fault: delay=500ms, reset-after=3` asks for.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"
#include "base/slice.h"

enum sim_fault_action {
    SIM_FAULT_NONE,
    SIM_FAULT_RESET,       // reset: RST instead of an answer
    SIM_FAULT_CLOSE,       // close: FIN instead of an answer
    SIM_FAULT_FREEZE,      // freeze: no answer, the connection stays open
    SIM_FAULT_STATUS,      // status=500: an error in the engine's form
    SIM_FAULT_UNREADABLE,  // what was asked for is not known: 400
    SIM_FAULT_ERROR_EVENT, // error-event=503: 200, then an error event (after N tokens with :N)
};

enum { SIM_FAULT_NEVER = UINT32_MAX };

struct sim_fault {
    enum sim_fault_action action;
    unsigned status;
    uint32_t delay_ms;     // delay=500ms: before anything else
    uint32_t slow_head_ms; // slow-head=2s: from the arrival to the first byte
    uint32_t reset_after;  // reset-after=N, close-after=N: so many tokens, then RST or FIN
    uint32_t close_after;
    uint32_t stall_after; // stall-after=N[:500ms]: so many tokens, then silence (for ever)
    uint32_t stall_ms;    // 0 = for ever
    uint32_t error_after; // tokens before the error event
};

#define SIM_FAULT_INIT                                                                   \
    ((struct sim_fault){.reset_after = SIM_FAULT_NEVER, .close_after = SIM_FAULT_NEVER, \
                        .stall_after = SIM_FAULT_NEVER, .error_after = 0})

// Parses a list with commas; an empty text is no fault. 0 or -EINVAL.
MUST_CHECK int sim_fault_parse(struct slice text, struct sim_fault *ret_fault);

// "500ms", "2s", "1.5s", "3m"; a bare number is milliseconds. 0 or -EINVAL.
MUST_CHECK int sim_duration_parse(struct slice text, uint32_t *ret_ms);
