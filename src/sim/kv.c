#include "sim/kv.h"

#include <errno.h>
#include <stdlib.h>

struct sim_kv_block {
    uint64_t hash; // 0 = holds nothing that could be reused
    uint32_t refs;
    uint32_t next_in_bucket;
    uint32_t lru_prev;
    uint32_t lru_next;
};

static void lru_append(struct sim_kv *kv, uint32_t at)
{
    struct sim_kv_block *block = &kv->blocks[at];
    block->lru_prev = kv->lru_tail;
    block->lru_next = SIM_KV_NONE;
    if (kv->lru_tail != SIM_KV_NONE) {
        kv->blocks[kv->lru_tail].lru_next = at;
    } else {
        kv->lru_head = at;
    }
    kv->lru_tail = at;
    kv->free_count++;
}

static void lru_remove(struct sim_kv *kv, uint32_t at)
{
    struct sim_kv_block *block = &kv->blocks[at];
    if (block->lru_prev != SIM_KV_NONE) {
        kv->blocks[block->lru_prev].lru_next = block->lru_next;
    } else {
        kv->lru_head = block->lru_next;
    }
    if (block->lru_next != SIM_KV_NONE) {
        kv->blocks[block->lru_next].lru_prev = block->lru_prev;
    } else {
        kv->lru_tail = block->lru_prev;
    }
    kv->free_count--;
}

static uint32_t *bucket_of(const struct sim_kv *kv, uint64_t hash)
{
    return &kv->buckets[(uint32_t)(hash ^ (hash >> 32)) & kv->bucket_mask];
}

static uint32_t find(const struct sim_kv *kv, uint64_t hash)
{
    uint32_t at = *bucket_of(kv, hash);
    while (at != SIM_KV_NONE && kv->blocks[at].hash != hash) {
        at = kv->blocks[at].next_in_bucket;
    }
    return at;
}

static void unpublish(struct sim_kv *kv, uint32_t at)
{
    struct sim_kv_block *block = &kv->blocks[at];
    if (block->hash == 0) {
        return;
    }
    uint32_t *link = bucket_of(kv, block->hash);
    while (*link != at) {
        link = &kv->blocks[*link].next_in_bucket;
    }
    *link = block->next_in_bucket;
    block->hash = 0;
}

int sim_kv_init(struct sim_kv *kv, uint32_t count)
{
    uint32_t buckets = 1;
    while (buckets < count) {
        buckets *= 2;
    }
    *kv = (struct sim_kv){
        .blocks = calloc(count, sizeof(kv->blocks[0])),
        .buckets = malloc((size_t)buckets * sizeof(kv->buckets[0])),
        .bucket_mask = buckets - 1,
        .count = count,
        .lru_head = SIM_KV_NONE,
        .lru_tail = SIM_KV_NONE,
    };
    if (kv->blocks == NULL || kv->buckets == NULL) {
        sim_kv_fini(kv);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < buckets; i++) {
        kv->buckets[i] = SIM_KV_NONE;
    }
    for (uint32_t i = 0; i < count; i++) {
        lru_append(kv, i);
    }
    return 0;
}

void sim_kv_fini(struct sim_kv *kv)
{
    free(kv->blocks);
    free(kv->buckets);
    *kv = (struct sim_kv){0};
}

void sim_kv_forget(struct sim_kv *kv)
{
    for (uint32_t i = 0; i < kv->count; i++) {
        unpublish(kv, i);
    }
}

uint32_t sim_kv_match(const struct sim_kv *kv, const uint64_t *hashes, uint32_t n)
{
    uint32_t matched = 0;
    while (matched < n && find(kv, hashes[matched]) != SIM_KV_NONE) {
        matched++;
    }
    return matched;
}

uint32_t sim_kv_available(const struct sim_kv *kv, const uint64_t *hashes, uint32_t matched)
{
    uint32_t wanted = 0;
    for (uint32_t i = 0; i < matched; i++) {
        uint32_t at = find(kv, hashes[i]);
        wanted += at != SIM_KV_NONE && kv->blocks[at].refs == 0;
    }
    return kv->free_count - wanted;
}

uint32_t sim_kv_reuse(struct sim_kv *kv, uint64_t hash)
{
    uint32_t at = find(kv, hash);
    if (at != SIM_KV_NONE && kv->blocks[at].refs++ == 0) {
        lru_remove(kv, at);
    }
    return at;
}

uint32_t sim_kv_take(struct sim_kv *kv)
{
    uint32_t at = kv->lru_head;
    if (at == SIM_KV_NONE) {
        return at;
    }
    lru_remove(kv, at);
    kv->evictions += kv->blocks[at].hash != 0;
    unpublish(kv, at);
    kv->blocks[at].refs = 1;
    return at;
}

void sim_kv_publish(struct sim_kv *kv, uint32_t at, uint64_t hash)
{
    struct sim_kv_block *block = &kv->blocks[at];
    if (block->hash != 0 || hash == 0 || find(kv, hash) != SIM_KV_NONE) {
        return;
    }
    uint32_t *head = bucket_of(kv, hash);
    block->hash = hash;
    block->next_in_bucket = *head;
    *head = at;
}

void sim_kv_release(struct sim_kv *kv, uint32_t at)
{
    struct sim_kv_block *block = &kv->blocks[at];
    BUG_ON(block->refs == 0);
    if (--block->refs == 0) {
        lru_append(kv, at);
    }
}
