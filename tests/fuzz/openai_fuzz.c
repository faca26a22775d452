// What servers answer: the finders of usage and of the reason to stop give the same whatever pieces
// the answer comes in, and the reader of error events survives everything and names a status or
// none.
#include "ai/finish.h"
#include "ai/openai.h"

#include <stdlib.h>

static void feed_copy(struct openai_usage_scan *scan, const uint8_t *data, size_t size)
{
    char *copy = malloc(size != 0 ? size : 1);
    if (copy == NULL) {
        abort();
    }
    memcpy(copy, data, size);
    openai_usage_feed(scan, slice_of(copy, size));
    free(copy);
}

static void check_finish(const uint8_t *data, size_t size, size_t step)
{
    struct finish_scan whole = {0};
    struct finish_scan pieces = {0};
    struct slice text = slice_of((const char *)data, size);
    finish_feed(&whole, text);
    for (size_t at = 0; at < size; at += step) {
        finish_feed(&pieces, slice_first(slice_skip(text, at), step));
    }
    if (!slice_eq(finish_reason(&whole), finish_reason(&pieces)) ||
        whole.search.state != pieces.search.state) {
        abort();
    }
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
    struct openai_usage_scan whole = {.usage = {0}};
    struct openai_usage_scan pieces = {.usage = {0}};
    feed_copy(&whole, data, size);
    for (size_t at = 0; at < size; at += step) {
        feed_copy(&pieces, data + at, MIN_OF(step, size - at));
    }
    if (whole.usage.prompt_tokens != pieces.usage.prompt_tokens ||
        whole.usage.completion_tokens != pieces.usage.completion_tokens ||
        whole.usage.cached_tokens != pieces.usage.cached_tokens ||
        whole.usage.found != pieces.usage.found || whole.search.state != pieces.search.state) {
        abort();
    }
    check_finish(data, size, step);
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
