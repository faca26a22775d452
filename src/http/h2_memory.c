#include "http/h2_memory.h"

#include <stdlib.h>

static void *take(size_t size, void *arg)
{
    (void)arg;
    return malloc(size);
}

static void give_back(void *ptr, void *arg)
{
    (void)arg;
    free(ptr);
}

static void *take_zeroed(size_t count, size_t size, void *arg)
{
    (void)arg;
    return calloc(count, size);
}

static void *resize(void *ptr, size_t size, void *arg)
{
    (void)arg;
    return realloc(ptr, size);
}

nghttp2_mem h2_memory(void)
{
    return (nghttp2_mem){
        .malloc = take, .free = give_back, .calloc = take_zeroed, .realloc = resize};
}
