#include "http/sse.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

// Where the scanner stands. A CR ends a line at once; an LF that follows belongs to it, and may
// come in a later piece.
enum {
    AT_LINE_START = 0,
    IN_LINE,
    AFTER_CR,       // line start, but an LF now is the second half of the line end
    AFTER_BLANK_CR, // the same after a blank line, whose event was already reported
};

// First CR or LF in [p, end), or end.
static const char *find_line_end(const char *p, const char *end)
{
#ifdef __SSE2__
    const __m128i lf = _mm_set1_epi8('\n');
    const __m128i cr = _mm_set1_epi8('\r');
    while (end - p >= 16) {
        __m128i block = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i hit = _mm_or_si128(_mm_cmpeq_epi8(block, lf), _mm_cmpeq_epi8(block, cr));
        unsigned mask = (unsigned)_mm_movemask_epi8(hit);
        if (mask != 0) {
            return p + __builtin_ctz(mask);
        }
        p += 16;
    }
#endif
    while (p < end && *p != '\n' && *p != '\r') {
        p++;
    }
    return p;
}

size_t sse_scan_event_end(struct sse_scan *scan, struct slice data)
{
    const char *p = data.ptr;
    const char *end = data.len > 0 ? data.ptr + data.len : p;
    while (p < end) {
        if (scan->state == IN_LINE) {
            p = find_line_end(p, end);
            if (p == end) {
                break;
            }
            scan->state = *p++ == '\r' ? AFTER_CR : AT_LINE_START;
            continue;
        }
        char c = *p++;
        if (c == '\n' && scan->state != AT_LINE_START) {
            scan->state = AT_LINE_START;
        } else if (c == '\n') {
            return (size_t)(p - data.ptr);
        } else if (c == '\r') {
            scan->state = AFTER_BLANK_CR;
            if (p < end && *p == '\n') {
                p++;
                scan->state = AT_LINE_START;
            }
            return (size_t)(p - data.ptr);
        } else {
            scan->state = IN_LINE;
        }
    }
    return 0;
}

struct slice sse_event_data(struct slice event)
{
    const char *p = event.ptr;
    const char *end = event.len > 0 ? event.ptr + event.len : p;
    while (p < end) {
        const char *line_end = find_line_end(p, end);
        struct slice line = slice_of(p, (size_t)(line_end - p));
        if (slice_has_prefix(line, SLICE("data:"))) {
            size_t skip = line.len > 5 && line.ptr[5] == ' ' ? 6 : 5;
            return slice_skip(line, skip);
        }
        if (slice_eq(line, SLICE("data"))) {
            return slice_skip(line, line.len);
        }
        p = line_end < end ? line_end + 1 : end;
    }
    return SLICE_NULL;
}
