#include <stdio.h>

#include "ai/openai.h"

// Close: at most a third of the letters differ, or one name is a part of the other.
enum { ALWAYS_CLOSE = 2, PART_SCORE = 3, PART_MIN = 3 };

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

// Levenshtein distance without regard to case; both at most OPENAI_CLOSE_NAMES_LENGTH long.
static unsigned edit_distance(struct slice a, struct slice b)
{
    unsigned row[OPENAI_CLOSE_NAMES_LENGTH + 1];
    for (size_t j = 0; j <= b.len; j++) {
        row[j] = (unsigned)j;
    }
    for (size_t i = 0; i < a.len; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i + 1;
        for (size_t j = 0; j < b.len; j++) {
            unsigned change = diagonal + (lower(a.ptr[i]) == lower(b.ptr[j]) ? 0 : 1);
            unsigned step = MIN_OF(row[j], row[j + 1]) + 1;
            diagonal = row[j + 1];
            row[j + 1] = MIN_OF(change, step);
        }
    }
    return row[b.len];
}

static bool is_part(struct slice whole, struct slice part)
{
    return part.len >= PART_MIN && slice_find(whole, part) >= 0;
}

void openai_close_names_init(struct openai_close_names *close, struct slice asked)
{
    *close = (struct openai_close_names){.asked = asked};
}

void openai_close_names_offer(struct openai_close_names *close, struct slice name)
{
    if (name.len == 0 || name.len > OPENAI_CLOSE_NAMES_LENGTH ||
        close->asked.len > OPENAI_CLOSE_NAMES_LENGTH) {
        return;
    }
    unsigned score = edit_distance(close->asked, name);
    size_t longer = MAX_OF(name.len, close->asked.len);
    unsigned limit = MAX_OF((unsigned)ALWAYS_CLOSE, (unsigned)longer / 3);
    if (is_part(name, close->asked) || is_part(close->asked, name)) {
        score = MIN_OF(score, (unsigned)PART_SCORE);
    } else if (score > limit || score >= name.len) {
        return;
    }
    size_t at = close->count < OPENAI_CLOSE_NAMES_MAX ? close->count++ : OPENAI_CLOSE_NAMES_MAX;
    for (; at > 0 && close->scores[at - 1] > score; at--) {
        if (at < OPENAI_CLOSE_NAMES_MAX) {
            close->scores[at] = close->scores[at - 1];
            close->names[at] = close->names[at - 1];
        }
    }
    if (at < OPENAI_CLOSE_NAMES_MAX) {
        close->scores[at] = score;
        close->names[at] = name;
    }
}

void openai_close_names_write(const struct openai_close_names *close, struct strbuf *out)
{
    for (size_t i = 0; i < close->count; i++) {
        const char *before = i == 0                  ? "; did you mean \""
                             : i + 1 < close->count ? ", \""
                                                    : " or \"";
        strbuf_printf(out, "%s%.*s\"", before, SLICE_FMT(close->names[i]));
    }
    if (close->count != 0) {
        strbuf_add_char(out, '?');
    }
}
