// Log-linear histogram: 64 buckets for every power of two, so a value is off by at most 1.6 %.
// Values are unsigned (the user picks the unit); recorded by one thread.
#pragma once

#include <stdint.h>

enum {
    HISTOGRAM_SUB_BITS = 6,
    HISTOGRAM_BUCKETS = (64 - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS,
};

struct histogram {
    uint64_t count;
    uint64_t sum;
    uint64_t min;
    uint64_t max;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_init(struct histogram *h);
void histogram_record(struct histogram *h, uint64_t value);

// The value below or at which `quantile` (0..1) of the records lie; 0 when empty. Exact at the
// ends.
uint64_t histogram_quantile(const struct histogram *h, double quantile);

// Index of a value's bucket, and the largest value that a bucket holds.
unsigned histogram_bucket_of(uint64_t value);
uint64_t histogram_bucket_top(unsigned bucket);
