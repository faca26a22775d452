// KV blocks of a simulated engine: a fixed number of them, counted references, and a prefix cache
// that keeps the content of free blocks until they are needed again (least recently used first), as
// vLLM's block pool does. Only identities (hashes) are kept, no tensors.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"

enum { SIM_KV_NONE = UINT32_MAX };

struct sim_kv_block;

struct sim_kv {
    struct sim_kv_block *blocks;
    uint32_t *buckets; // heads of hash chains; bucket_mask + 1 of them
    uint32_t bucket_mask;
    uint32_t count;
    uint32_t free_count; // blocks without references, cached or not
    uint32_t lru_head;   // free blocks, the next victim first
    uint32_t lru_tail;
    uint64_t evictions;
};

// count: 1 .. 2^28. 0 or -ENOMEM.
MUST_CHECK int sim_kv_init(struct sim_kv *kv, uint32_t count);
void sim_kv_fini(struct sim_kv *kv);

// Forgets the prefix cache. Blocks that are referenced keep their references.
void sim_kv_forget(struct sim_kv *kv);

// How many of hashes[0..n) are cached, counted from the front.
uint32_t sim_kv_match(const struct sim_kv *kv, const uint64_t *hashes, uint32_t n);

// How many blocks could be taken now beside the first `matched` of hashes (those that are free are
// about to be referenced, so they do not count as free).
uint32_t sim_kv_available(const struct sim_kv *kv, const uint64_t *hashes, uint32_t matched);

// References the cached block with this hash; SIM_KV_NONE when there is none.
uint32_t sim_kv_reuse(struct sim_kv *kv, uint64_t hash);

// Takes a free block (its old content is forgotten); SIM_KV_NONE when all are referenced.
uint32_t sim_kv_take(struct sim_kv *kv);

// The block now holds the content with this hash (not 0). Does nothing when another block holds the
// same content already, or the block has a hash.
void sim_kv_publish(struct sim_kv *kv, uint32_t block, uint64_t hash);

// Drops one reference. A block without any is free, and the last in line to be taken again.
void sim_kv_release(struct sim_kv *kv, uint32_t block);

// Share of blocks that are referenced, 0..1.
static inline double sim_kv_usage(const struct sim_kv *kv)
{
    return (double)(kv->count - kv->free_count) / (double)kv->count;
}
