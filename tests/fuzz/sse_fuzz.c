// Any bytes as an event stream: event ends are those of a plain reading, however the bytes arrive.
// The first byte picks the size of the pieces.
#include <stdlib.h>

#include "base/macros.h"
#include "http/sse.h"

#define CHECK(cond) BUG_ON(!(cond))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t count_ends(const uint8_t *data, size_t size, size_t step)
{
    struct sse_scan scan = {.state = 0};
    size_t count = 0;
    for (size_t at = 0; at < size; at += step) {
        size_t len = size - at < step ? size - at : step;
        char *piece = malloc(len);
        CHECK(piece != NULL);
        memcpy(piece, data + at, len);
        struct slice rest = slice_of(piece, len);
        size_t hit;
        while (rest.len > 0 && (hit = sse_scan_event_end(&scan, rest)) > 0) {
            CHECK(hit <= rest.len);
            struct slice payload = sse_event_data(slice_first(rest, hit));
            CHECK(payload.ptr == NULL ||
                  (payload.ptr >= rest.ptr && payload.ptr + payload.len <= rest.ptr + hit));
            rest = slice_skip(rest, hit);
            count++;
        }
        free(piece);
    }
    return count;
}

// Line by line: CR LF, LF or CR end a line; an empty line ends an event.
static size_t count_blank_lines(const uint8_t *data, size_t size)
{
    size_t count = 0;
    size_t line = 0;
    for (size_t i = 0; i < size; i++) {
        if (data[i] != '\n' && data[i] != '\r') {
            line++;
            continue;
        }
        if (data[i] == '\r' && i + 1 < size && data[i + 1] == '\n') {
            i++;
        }
        count += line == 0;
        line = 0;
    }
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    size_t step = 1 + data[0] % 40u;
    size_t want = count_blank_lines(data + 1, size - 1);
    CHECK(count_ends(data + 1, size - 1, size) == want);
    CHECK(count_ends(data + 1, size - 1, step) == want);
    return 0;
}
