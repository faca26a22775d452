// Time. Monotonic for everything that is measured or waited for; wall only for what people read.
#pragma once

#include <stddef.h>
#include <stdint.h>

uint64_t clock_mono_ns(void);
uint64_t clock_wall_ns(void);

static inline uint64_t clock_mono_ms(void)
{
    return clock_mono_ns() / 1000000u;
}

// RFC 3339 in UTC with milliseconds, "2026-01-02T03:04:05.678Z" (25 bytes with the NUL).
enum { CLOCK_RFC3339_SIZE = 32 };
void clock_format_rfc3339(uint64_t wall_ns, char *buf, size_t size);

// Tests: from now on the clocks read this until set again; 0 = the real clock. Not thread-safe.
void clock_fake_set_ns(uint64_t mono_ns);
