// Growing pauses with jitter, as client-go's reflector makes them: 800 ms doubling to 30 s, each
// stretched by up to 100 %, starting over after two quiet minutes (and, here, when told to).
#pragma once

#include <stdint.h>

#include "base/rand.h"

struct kube_backoff {
    uint32_t base_ms;
    uint32_t cap_ms;
    uint32_t quiet_ms; // without a failure: start over
    uint32_t next_ms;  // before jitter; 0 = base
    uint64_t last_ms;  // time of the last failure
};

#define KUBE_BACKOFF_REFLECTOR \
    ((struct kube_backoff){.base_ms = 800, .cap_ms = 30000, .quiet_ms = 120000})

// The pause after a failure at now_ms.
static inline uint64_t kube_backoff_next(struct kube_backoff *b, uint64_t now_ms,
                                         struct rand_state *rng)
{
    if (b->next_ms == 0 || now_ms - b->last_ms > b->quiet_ms) {
        b->next_ms = b->base_ms;
    }
    uint64_t pause = b->next_ms + rand_below(rng, b->next_ms);
    b->next_ms = b->next_ms < b->cap_ms / 2 ? b->next_ms * 2 : b->cap_ms;
    b->last_ms = now_ms;
    return pause;
}

static inline void kube_backoff_reset(struct kube_backoff *b)
{
    b->next_ms = 0;
}
