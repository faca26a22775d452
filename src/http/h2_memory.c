#include "http/h2_memory.h"

#include <malloc.h>
#include <stdbool.h>
#include <stdlib.h>

static bool fits(const struct h2_memory *memory, size_t size)
{
    return memory->used <= memory->max && size <= memory->max - memory->used;
}

static void *counted(struct h2_memory *memory, void *ptr)
{
    memory->used += malloc_usable_size(ptr); // 0 for NULL
    return ptr;
}

static void *take(size_t size, void *arg)
{
    struct h2_memory *memory = arg;
    return fits(memory, size) ? counted(memory, malloc(size)) : NULL;
}

static void give_back(void *ptr, void *arg)
{
    struct h2_memory *memory = arg;
    memory->used -= malloc_usable_size(ptr);
    free(ptr);
}

static void *take_zeroed(size_t count, size_t size, void *arg)
{
    struct h2_memory *memory = arg;
    bool sane = size == 0 || count <= memory->max / size;
    return sane && fits(memory, count * size) ? counted(memory, calloc(count, size)) : NULL;
}

static void *resize(void *ptr, size_t size, void *arg)
{
    struct h2_memory *memory = arg;
    size_t before = malloc_usable_size(ptr);
    if (size > before && !fits(memory, size - before)) {
        return NULL;
    }
    void *moved = realloc(ptr, size);
    if (moved != NULL || size == 0) {
        memory->used -= before;
    }
    return counted(memory, moved);
}

nghttp2_mem h2_memory(struct h2_memory *memory)
{
    return (nghttp2_mem){.mem_user_data = memory,
                         .malloc = take,
                         .free = give_back,
                         .calloc = take_zeroed,
                         .realloc = resize};
}
