#include "model/closest.h"

#include <stdbool.h>
#include <string.h>

#include "base/macros.h"

enum { SUGGEST_MAX = 32 };

// Edit distance with swaps of neighbours; both at most SUGGEST_MAX long.
static size_t distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t rows[3][SUGGEST_MAX + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= b_len; j++) {
        last[j] = j;
    }
    for (size_t i = 1; i <= a_len; i++) {
        now[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            bool same = (a[i - 1] | 0x20) == (b[j - 1] | 0x20);
            size_t best = MIN_OF(last[j], now[j - 1]) + 1;
            best = MIN_OF(best, last[j - 1] + (same ? 0 : 1));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                best = MIN_OF(best, before[j - 2] + 1);
            }
            now[j] = best;
        }
        size_t *spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[b_len];
}

const char *closest_name(const char *name, const char *const *names)
{
    const char *best = NULL;
    size_t len = strlen(name);
    size_t least = len > 5 ? 4 : 3; // one less than this many edits is still a typing error
    if (len == 0 || len > SUGGEST_MAX) {
        return NULL;
    }
    for (; *names != NULL; names++) {
        size_t names_len = strlen(*names);
        if (names_len > SUGGEST_MAX) {
            continue;
        }
        size_t d = distance(name, len, *names, names_len);
        if (d < least && d < names_len) {
            least = d;
            best = *names;
        }
    }
    return best;
}
