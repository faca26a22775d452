// Most events say null, which costs the look at one key.
#include "ai/finish.h"

static const struct key_pattern pattern = KEY_PATTERN("\"finish_reason\"", '"');

// Only what looks like a word: it goes into a log.
static void text_byte(struct finish_scan *scan, char c)
{
    if (c == '"') {
        scan->reason_len = scan->len;
        scan->search.state = KEY_SEARCH;
        return;
    }
    bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                c == '_' || c == '-';
    if (!word || scan->len == FINISH_REASON_MAX) {
        scan->search.state = KEY_SEARCH;
        return;
    }
    scan->reason[scan->len++] = c;
}

void finish_feed(struct finish_scan *scan, struct slice piece)
{
    if (piece.len == 0) {
        return;
    }
    const char *p = piece.ptr;
    const char *end = p + piece.len;
    while (p < end) {
        if (scan->search.state == KEY_FOUND) {
            text_byte(scan, *p++);
            continue;
        }
        p = key_scan_feed(&scan->search, pattern, p, end);
        if (scan->search.state == KEY_FOUND) {
            scan->len = 0;
            scan->reason_len = 0;
        }
    }
}
