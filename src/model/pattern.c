#include "model/pattern.h"

#include <pthread.h>
#include <regex.h>
#include <string.h>

#include "model/patterns.h"

enum { PATTERNS_MAX = 64 };

static struct {
    const char *pattern;
    regex_t compiled;
} cache[PATTERNS_MAX];
static size_t cached;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static const regex_t *compiled(const char *pattern)
{
    pthread_mutex_lock(&lock);
    size_t i = 0;
    while (i < cached && strcmp(cache[i].pattern, pattern) != 0) {
        i++;
    }
    if (i == cached) {
        BUG_ON(cached == PATTERNS_MAX);
        cache[i].pattern = pattern;
        BUG_ON(regcomp(&cache[i].compiled, pattern, REG_EXTENDED | REG_NOSUB) != 0);
        cached++;
    }
    pthread_mutex_unlock(&lock);
    return &cache[i].compiled;
}

bool pattern_matches(const char *pattern, const char *text)
{
    return regexec(compiled(pattern), text, 0, NULL, 0) == 0;
}

bool pattern_is_label_key(struct slice key)
{
    ptrdiff_t slash = slice_find_byte(key, '/');
    struct slice name = slash >= 0 ? slice_skip(key, (size_t)slash + 1) : key;
    return key.len - name.len <= 254 && name.len <= 63 &&
           pattern_matches(PATTERN_QUALIFIED_NAME, key.ptr);
}
