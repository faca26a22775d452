// Any bytes as the answer of a server to headrace-bench: the outcome does not depend on how they
// arrive, and what is kept for people is printable. The first byte picks stream or not, status and
// the size of the pieces.
#include <stdlib.h>

#include "load/reply.h"

#define CHECK(cond) BUG_ON(!(cond))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_text(void *arg)
{
    (*(uint64_t *)arg)++;
}

static struct load_reply read_all(const uint8_t *data, size_t size, size_t step)
{
    struct load_reply reply;
    uint64_t texts = 0;
    load_reply_init(&reply, (data[0] & 2) != 0 ? 503 : 200, (data[0] & 1) != 0, on_text, &texts);
    for (size_t at = 1; at < size; at += step) {
        size_t len = size - at < step ? size - at : step;
        char *piece = malloc(len);
        CHECK(piece != NULL);
        memcpy(piece, data + at, len);
        load_reply_feed(&reply, slice_of(piece, len));
        free(piece);
    }
    load_reply_end(&reply, (data[0] & 4) != 0);
    CHECK(texts == reply.text_events);
    CHECK(reply.code < 1000);
    for (const char *c = reply.sample; *c != '\0'; c++) {
        CHECK(*c >= ' ' && *c <= '~');
    }
    load_reply_fini(&reply);
    return reply;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    struct load_reply whole = read_all(data, size, size);
    struct load_reply pieces = read_all(data, size, 1 + data[0] / 8u);
    CHECK(whole.failure == pieces.failure && whole.code == pieces.code);
    CHECK(whole.text_events == pieces.text_events && whole.done == pieces.done);
    CHECK(whole.usage.completion_tokens == pieces.usage.completion_tokens);
    CHECK(strcmp(whole.sample, pieces.sample) == 0);
    return 0;
}
