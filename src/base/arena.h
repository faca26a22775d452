// Memory that is freed all at once: the lifetime of a request, or of a snapshot.
#pragma once

#include <stdalign.h>
#include <stddef.h>

#include "base/macros.h"
#include "base/slice.h"

struct arena_chunk;

// Embedded in its owner; zero-initialised is empty and valid.
struct arena {
    struct arena_chunk *chunks;
    char *at;
    char *end;
    size_t used;  // bytes handed out
    size_t limit; // 0 = none; else alloc fails beyond it
    size_t chunk_size;
};

// chunk_size: what is asked of malloc at a time (0 = 4096); limit: bound on the sum (0 = none).
void arena_init(struct arena *arena, size_t chunk_size, size_t limit);
void arena_fini(struct arena *arena);

// Frees everything but one chunk, ready for reuse.
void arena_reset(struct arena *arena);

// Aligned to 16; uninitialised. NULL when out of memory or over the limit.
MUST_CHECK void *arena_alloc(struct arena *arena, size_t size);
MUST_CHECK void *arena_zalloc(struct arena *arena, size_t size);

// Unaligned bytes, for text.
MUST_CHECK char *arena_bytes(struct arena *arena, size_t size);

// Copies, NUL-terminated beyond the slice's end. On failure a slice with ptr NULL.
struct slice arena_dup(struct arena *arena, struct slice s);
struct slice arena_printf(struct arena *arena, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define ARENA_NEW(arena, type) ((type *)arena_zalloc((arena), sizeof(type)))
#define ARENA_ARRAY(arena, type, n) ((type *)arena_zalloc_array((arena), (n), sizeof(type)))
MUST_CHECK void *arena_zalloc_array(struct arena *arena, size_t n, size_t size);
