#include "model/duration.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

enum { MAX_PARTS = 4, MAX_DIGITS = 5 };

static const struct {
    struct slice suffix;
    int64_t ms;
} units[] = {
    {SLICE("ms"), 1}, // before "m"
    {SLICE("h"), 3600000},
    {SLICE("m"), 60000},
    {SLICE("s"), 1000},
};

// The unit at the front of *rest, which is moved behind it; 0 when there is none.
static int64_t take_unit(struct slice *rest)
{
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (slice_has_prefix(*rest, units[i].suffix)) {
            *rest = slice_skip(*rest, units[i].suffix.len);
            return units[i].ms;
        }
    }
    return 0;
}

int duration_parse(struct slice text, int64_t *ret_ms)
{
    int64_t sum = 0;
    int parts = 0;
    while (text.len > 0) {
        int64_t number = 0;
        int digits = 0;
        while (text.len > 0 && text.ptr[0] >= '0' && text.ptr[0] <= '9') {
            number = number * 10 + (text.ptr[0] - '0');
            text = slice_skip(text, 1);
            if (++digits > MAX_DIGITS) {
                return -EINVAL;
            }
        }
        int64_t unit = take_unit(&text);
        if (digits == 0 || unit == 0 || ++parts > MAX_PARTS) {
            return -EINVAL;
        }
        sum += number * unit;
    }
    if (parts == 0) {
        return -EINVAL;
    }
    *ret_ms = sum;
    return 0;
}

void duration_format(int64_t ms, char *out, size_t size)
{
    static const struct {
        const char *suffix;
        int64_t ms;
    } order[] = {{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
    size_t len = 0;
    if (size == 0) {
        return;
    }
    snprintf(out, size, "0s");
    for (size_t i = 0; i < ARRAY_LEN(order) && len < size; i++) {
        int64_t n = ms / order[i].ms;
        ms -= n * order[i].ms;
        if (n > 0) {
            int wrote = snprintf(out + len, size - len, "%" PRId64 "%s", n, order[i].suffix);
            len += wrote > 0 ? (size_t)wrote : 0;
        }
    }
}
