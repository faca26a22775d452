#include "endpoint/affinity.h"

#include <endian.h>
#include <math.h>

// Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam): a quarter beyond the
// fair share. Below a handful of requests shares say nothing, and a session is worth more.
#define BOUND_FACTOR 1.25
#define BOUND_FREE 8.0

static const struct siphash_key text_key = {{UINT64_C(0x6865616472616365), 0}};

uint64_t affinity_hash(struct slice text)
{
    return siphash(&text_key, text);
}

double affinity_draw(uint64_t hash, const struct endpoint *endpoint, uint32_t weight)
{
    uint64_t z = hash ^ endpoint->stable_id;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9); // the finish of splitmix64
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    // The first of exponential waits with rate `weight`: each wins by its share of all weights.
    double unit = ((double)((z ^ (z >> 31)) >> 11) + 0.5) * 0x1.0p-53;
    return weight / -log(unit);
}

double affinity_bound(uint64_t total, double share)
{
    return BOUND_FREE + BOUND_FACTOR * (double)(total + 1) * share;
}

static uint64_t tag_of(const struct siphash_key *key, const struct endpoint *endpoint)
{
    uint64_t id = htole64(endpoint->stable_id);
    return siphash(key, slice_of((const char *)&id, sizeof(id)));
}

void affinity_tag(const struct siphash_key *key, const struct endpoint *endpoint,
                  char out[AFFINITY_TAG_LEN])
{
    static const char digits[] = "0123456789abcdef";
    uint64_t tag = tag_of(key, endpoint);
    for (int i = 0; i < AFFINITY_TAG_LEN; i++) {
        out[i] = digits[(tag >> (60 - 4 * i)) & 15];
    }
}

static bool tag_read(struct slice text, uint64_t *ret)
{
    uint64_t tag = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        bool digit = c >= '0' && c <= '9';
        if (!digit && (c < 'a' || c > 'f')) {
            return false;
        }
        tag = tag << 4 | (uint64_t)(digit ? c - '0' : c - 'a' + 10);
    }
    *ret = tag;
    return text.len == AFFINITY_TAG_LEN;
}

struct endpoint *affinity_find(const struct endpoint_set *set, const struct siphash_key *key,
                               struct slice tag)
{
    uint64_t wanted;
    if (!tag_read(slice_first(tag, AFFINITY_TAG_LEN + 1), &wanted)) {
        return NULL;
    }
    for (size_t i = 0; i < set->count; i++) {
        if (tag_of(key, set->items[i]) == wanted) {
            return set->items[i];
        }
    }
    return NULL;
}
