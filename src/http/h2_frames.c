#include "http/h2_frames.h"

#include <string.h>

#include "base/macros.h"

bool h2_frames_next(struct h2_frames *frames, const char *data, size_t len, size_t *at,
                    struct h2_frame_seen *ret_seen)
{
    size_t skipped = (size_t)MIN_OF(frames->skip, (uint64_t)(len - *at));
    frames->skip -= skipped;
    *at += skipped;
    size_t n = MIN_OF((size_t)(H2_FRAME_HEAD - frames->have), len - *at);
    memcpy(frames->head + frames->have, data + *at, n);
    frames->have = (uint8_t)(frames->have + n);
    *at += n;
    if (frames->have < H2_FRAME_HEAD) {
        return false;
    }
    const uint8_t *head = frames->head;
    *ret_seen = (struct h2_frame_seen){
        .length = (uint32_t)head[0] << 16 | (uint32_t)head[1] << 8 | head[2],
        .type = head[3],
        .flags = head[4],
    };
    frames->skip = ret_seen->length;
    frames->have = 0;
    return true;
}
