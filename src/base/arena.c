#include "base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_DEFAULT_CHUNK = 4096, ARENA_ALIGN = 16 };

struct arena_chunk {
    struct arena_chunk *next;
    size_t size; // of data
    alignas(ARENA_ALIGN) char data[];
};

void arena_init(struct arena *arena, size_t chunk_size, size_t limit)
{
    *arena = (struct arena){.chunk_size = chunk_size, .limit = limit};
}

void arena_fini(struct arena *arena)
{
    struct arena_chunk *chunk = arena->chunks;
    while (chunk != NULL) {
        struct arena_chunk *next = chunk->next;
        free(chunk);
        chunk = next;
    }
    arena->chunks = NULL;
    arena->at = NULL;
    arena->end = NULL;
    arena->used = 0;
}

static struct arena_chunk *chunk_new(size_t size)
{
    size_t total;
    if (__builtin_add_overflow(size, sizeof(struct arena_chunk), &total)) {
        return NULL;
    }
    struct arena_chunk *chunk = malloc(total);
    if (chunk != NULL) {
        chunk->size = size;
    }
    return chunk;
}

static size_t usual_size(const struct arena *arena)
{
    size_t chunk_size = arena->chunk_size != 0 ? arena->chunk_size : ARENA_DEFAULT_CHUNK;
    return chunk_size > 2 * sizeof(struct arena_chunk) ? chunk_size - sizeof(struct arena_chunk)
                                                       : sizeof(struct arena_chunk);
}

void arena_reset(struct arena *arena)
{
    struct arena_chunk *keep = arena->chunks;
    if (keep == NULL || keep->size > usual_size(arena)) {
        arena_fini(arena); // one big piece is not kept for ever
        return;
    }
    arena->chunks = keep->next;
    arena_fini(arena);
    keep->next = NULL;
    arena->chunks = keep;
    arena->at = keep->data;
    arena->end = keep->data + keep->size;
}

// `size` bytes from a new chunk.
static char *arena_grow(struct arena *arena, size_t size)
{
    size_t usual = usual_size(arena);
    bool big = size > usual / 2;
    struct arena_chunk *chunk = chunk_new(big ? size : usual);
    if (chunk == NULL) {
        return NULL;
    }
    if (big && arena->chunks != NULL) {
        // Behind the current chunk, whose rest stays in use.
        chunk->next = arena->chunks->next;
        arena->chunks->next = chunk;
        return chunk->data;
    }
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    arena->at = chunk->data + size;
    arena->end = chunk->data + chunk->size;
    return chunk->data;
}

static void *arena_take(struct arena *arena, size_t size, size_t align)
{
    if (arena->limit != 0 && (size > arena->limit || arena->used > arena->limit - size)) {
        return NULL;
    }
    char *ptr = NULL;
    size_t pad = (size_t)(-(uintptr_t)arena->at & (align - 1));
    size_t rest = (size_t)(arena->end - arena->at);
    if (arena->at != NULL && pad <= rest && size <= rest - pad) {
        ptr = arena->at + pad;
        arena->at = ptr + size;
    } else {
        ptr = arena_grow(arena, size);
    }
    if (ptr != NULL) {
        arena->used += size;
    }
    return ptr;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    return arena_take(arena, size != 0 ? size : 1, ARENA_ALIGN);
}

void *arena_zalloc(struct arena *arena, size_t size)
{
    void *ptr = arena_alloc(arena, size);
    if (ptr != NULL) {
        memset(ptr, 0, size);
    }
    return ptr;
}

void *arena_zalloc_array(struct arena *arena, size_t n, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(n, size, &total)) {
        return NULL;
    }
    return arena_zalloc(arena, total);
}

char *arena_bytes(struct arena *arena, size_t size)
{
    return arena_take(arena, size != 0 ? size : 1, 1);
}

struct slice arena_dup(struct arena *arena, struct slice s)
{
    char *copy = arena_bytes(arena, s.len + 1);
    if (copy == NULL) {
        return SLICE_NULL;
    }
    if (s.len != 0) {
        memcpy(copy, s.ptr, s.len);
    }
    copy[s.len] = '\0';
    return slice_of(copy, s.len);
}

struct slice arena_printf(struct arena *arena, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    struct slice out = SLICE_NULL;
    if (n >= 0) {
        char *text = arena_bytes(arena, (size_t)n + 1);
        if (text != NULL) {
            vsnprintf(text, (size_t)n + 1, fmt, again);
            out = slice_of(text, (size_t)n);
        }
    }
    va_end(again);
    return out;
}
