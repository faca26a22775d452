// Frames of HTTP/2 as they go by (RFC 9113 section 4.1): where each begins, and what its head says,
// in bytes that arrive in pieces of any size. For whoever counts all of them: nghttp2 does not tell
// of frames that it skips, as those of unknown types and those for streams that are closed.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { H2_FRAME_HEAD = 9 };

struct h2_frames {
    uint64_t skip; // bytes until the next frame begins
    uint8_t head[H2_FRAME_HEAD];
    uint8_t have; // of the head
};

struct h2_frame_seen {
    uint32_t length;
    uint8_t type;
    uint8_t flags;
};

// skip: bytes before the first frame, as the preface of a client.
static inline void h2_frames_init(struct h2_frames *frames, size_t skip)
{
    *frames = (struct h2_frames){.skip = skip};
}

// Looks at data[*at..len) and moves *at on. True: a head is complete (its payload may be still to
// come); look again. False: *at is len.
bool h2_frames_next(struct h2_frames *frames, const char *data, size_t len, size_t *at,
                    struct h2_frame_seen *ret_seen);
