#include "snapshot/regex.h"

#include <errno.h>
#include <stdlib.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

struct snap_regex {
    struct snap_regex *next;
    pcre2_code *code;
    pcre2_match_context *context;
};

// Match data is scratch space of the matching thread; one for all patterns, since only the yes or
// no is wanted.
static _Thread_local pcre2_match_data *thread_match_data;

static struct snap_regex *regex_fail(struct snap_regex *regex)
{
    regex->next = NULL;
    snap_regex_free_all(regex);
    return NULL;
}

struct snap_regex *snapshot_add_regex(struct snapshot *snapshot, struct slice pattern,
                                      struct error *err)
{
    if (pattern.len > SNAP_REGEX_PATTERN_MAX) {
        error_set(err, -EINVAL, "the pattern is longer than %d bytes", SNAP_REGEX_PATTERN_MAX);
        return NULL;
    }
    struct snap_regex *regex = calloc(1, sizeof(*regex));
    if (regex == NULL) {
        error_set(err, -ENOMEM, "out of memory");
        return NULL;
    }
    int code = 0;
    size_t at = 0;
    uint32_t options = PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C;
    regex->code = pcre2_compile((PCRE2_SPTR)pattern.ptr, pattern.len, options, &code, &at, NULL);
    if (regex->code == NULL) {
        PCRE2_UCHAR text[160];
        pcre2_get_error_message(code, text, sizeof(text));
        error_set(err, -EINVAL, "%s at offset %zu of the pattern", (const char *)text, at);
        return regex_fail(regex);
    }
    regex->context = pcre2_match_context_create(NULL);
    if (regex->context == NULL) {
        error_set(err, -ENOMEM, "out of memory");
        return regex_fail(regex);
    }
    pcre2_set_match_limit(regex->context, SNAP_REGEX_MATCH_LIMIT);
    pcre2_set_depth_limit(regex->context, SNAP_REGEX_DEPTH_LIMIT);
    pcre2_set_heap_limit(regex->context, SNAP_REGEX_HEAP_LIMIT_KIB);
    regex->next = snapshot->regexes;
    snapshot->regexes = regex;
    return regex;
}

bool snap_regex_matches(const struct snap_regex *regex, struct slice text)
{
    if (thread_match_data == NULL) {
        thread_match_data = pcre2_match_data_create(1, NULL);
        if (thread_match_data == NULL) {
            return false;
        }
    }
    // An error (limit reached, text not UTF-8) counts as no match.
    return pcre2_match(regex->code, (PCRE2_SPTR)(text.ptr != NULL ? text.ptr : ""), text.len, 0, 0,
                       thread_match_data, regex->context) >= 0;
}

void snap_regex_thread_fini(void)
{
    pcre2_match_data_free(thread_match_data);
    thread_match_data = NULL;
}

void snap_regex_free_all(struct snap_regex *list)
{
    while (list != NULL) {
        struct snap_regex *next = list->next;
        pcre2_match_context_free(list->context);
        pcre2_code_free(list->code);
        free(list);
        list = next;
    }
}
