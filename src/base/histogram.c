#include "base/histogram.h"

#include <string.h>

void histogram_init(struct histogram *h)
{
    memset(h, 0, sizeof(*h));
    h->min = UINT64_MAX;
}

unsigned histogram_bucket_of(uint64_t value)
{
    if (value < (UINT64_C(1) << HISTOGRAM_SUB_BITS)) {
        return (unsigned)value;
    }
    unsigned top_bit = 63u - (unsigned)__builtin_clzll(value);
    unsigned shift = top_bit - HISTOGRAM_SUB_BITS;
    unsigned sub = (unsigned)(value >> shift) & ((1u << HISTOGRAM_SUB_BITS) - 1u);
    return ((shift + 1u) << HISTOGRAM_SUB_BITS) + sub;
}

uint64_t histogram_bucket_top(unsigned bucket)
{
    unsigned group = bucket >> HISTOGRAM_SUB_BITS;
    uint64_t sub = bucket & ((1u << HISTOGRAM_SUB_BITS) - 1u);
    if (group == 0) {
        return sub;
    }
    unsigned shift = group - 1u;
    uint64_t base = (sub | (UINT64_C(1) << HISTOGRAM_SUB_BITS)) << shift;
    return base + ((UINT64_C(1) << shift) - 1u);
}

void histogram_record(struct histogram *h, uint64_t value)
{
    h->count++;
    h->sum += value;
    h->min = value < h->min ? value : h->min;
    h->max = value > h->max ? value : h->max;
    h->buckets[histogram_bucket_of(value)]++;
}

uint64_t histogram_quantile(const struct histogram *h, double quantile)
{
    if (h->count == 0) {
        return 0;
    }
    if (quantile <= 0) {
        return h->min;
    }
    if (quantile >= 1) {
        return h->max;
    }
    uint64_t rank = (uint64_t)((double)h->count * quantile);
    uint64_t seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen > rank) {
            uint64_t top = histogram_bucket_top(i);
            return top < h->max ? top : h->max;
        }
    }
    return h->max;
}
