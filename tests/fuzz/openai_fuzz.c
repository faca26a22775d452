// What servers answer: usage and the reason to stop come out the same whatever pieces the answer
// comes in, and the reader of error events survives everything and names a status or
// none.
#include "ai/answer.h"
#include "ai/openai.h"

#include <stdlib.h>

static void feed_copy(struct answer_scan *scan, const uint8_t *data, size_t size)
{
    char *copy = malloc(size != 0 ? size : 1);
    if (copy == NULL) {
        abort();
    }
    memcpy(copy, data, size);
    answer_feed(scan, slice_of(copy, size));
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    size_t step = (size_t)data[0] % 61 + 1;
    data++;
    size--;
    struct answer_scan whole = {.usage = {0}};
    struct answer_scan pieces = {.usage = {0}};
    feed_copy(&whole, data, size);
    for (size_t at = 0; at < size; at += step) {
        feed_copy(&pieces, data + at, MIN_OF(step, size - at));
    }
    if (whole.usage.prompt_tokens != pieces.usage.prompt_tokens ||
        whole.usage.completion_tokens != pieces.usage.completion_tokens ||
        whole.usage.cached_tokens != pieces.usage.cached_tokens ||
        whole.usage.found != pieces.usage.found || whole.state != pieces.state ||
        !slice_eq(answer_reason(&whole), answer_reason(&pieces))) {
        abort();
    }
    char *copy = malloc(size != 0 ? size : 1);
    if (copy == NULL) {
        abort();
    }
    memcpy(copy, data, size);
    int status = openai_event_error_status(slice_of(copy, size));
    if (status != 0 && (status < 400 || status > 599)) {
        abort();
    }
    struct openai_close_names close;
    struct strbuf text;
    strbuf_init(&text, 4096);
    openai_close_names_init(&close, slice_of(copy, size / 2));
    openai_close_names_offer(&close, slice_of(copy + size / 2, size - size / 2));
    openai_close_names_offer(&close, slice_of(copy, size));
    openai_close_names_write(&close, &text);
    strbuf_fini(&text);
    free(copy);
    return 0;
}
