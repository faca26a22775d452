#include "base/clock.h"

#include <stdio.h>
#include <time.h>

static uint64_t fake_ns;

void clock_fake_set_ns(uint64_t mono_ns)
{
    fake_ns = mono_ns;
}

static uint64_t read_clock(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

uint64_t clock_mono_ns(void)
{
    return fake_ns != 0 ? fake_ns : read_clock(CLOCK_MONOTONIC);
}

uint64_t clock_wall_ns(void)
{
    return fake_ns != 0 ? fake_ns : read_clock(CLOCK_REALTIME);
}

void clock_format_rfc3339(uint64_t wall_ns, char *buf, size_t size)
{
    time_t seconds = (time_t)(wall_ns / UINT64_C(1000000000));
    unsigned millis = (unsigned)(wall_ns / UINT64_C(1000000) % 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    char date[24];
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(buf, size, "%s.%03uZ", date, millis);
}
