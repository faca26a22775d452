// Bodies of errors: whatever they hold is read within bounds, and never said to be a farewell
// without the words.
#include "ai/shutdown_words.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = malloc(size != 0 ? size : 1);
    if (copy == NULL) {
        abort();
    }
    memcpy(copy, data, size);
    struct slice body = slice_of(copy, size);
    bool words = slice_find(body, SLICE("cannot schedule new futures after")) >= 0 ||
                 slice_find(body, SLICE("EngineCore encountered an issue")) >= 0;
    if (shutdown_words_found(499, body) || (shutdown_words_found(500, body) && !words)) {
        abort();
    }
    free(copy);
    return 0;
}
